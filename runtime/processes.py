"""One process or many: how they start, and how they share work that each could do alone."""

import gc
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import transformers
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object, reduce

from runtime.hub import hide_loading
from runtime.threads import tell_threads

Item, Found = TypeVar("Item"), TypeVar("Found")


def start_process() -> PartialState:
    """Return the state of this process among those that were launched, and switch off the libraries' own messages."""
    hide_loading(transformers)
    tell_threads()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|trl")
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or DeepSpeed, which accelerate imports, warns that it finds no GPU
    # Without a GPU accelerate needs cpu=True, or each process sees itself alone.
    return PartialState(cpu=not torch.cuda.is_available())


@contextmanager
def shared_work(items: Sequence[Item], is_missing: Callable[[Item], bool]) -> Iterator[tuple[list[Item], list[Item]]]:
    """Yield the items that are missing, and those of them that this process makes. All processes call it together.

    Each looks at its share of the items. Nobody writes before all have looked, so all agree on what is missing; and all
    leave the block together, when everything is written.
    """
    state = start_process()
    places = range(len(items))[state.process_index :: state.num_processes]
    found = set(gather_object([place for place in places if is_missing(items[place])]))
    missing = [item for place, item in enumerate(items) if place in found]
    yield missing, missing[state.process_index :: state.num_processes]
    state.wait_for_everyone()


def of_first(find: Callable[[], Found]) -> Found:
    """Return what `find` gives on the main process, to all of them. All processes call it together."""
    found = [find() if start_process().is_main_process else None]
    return broadcast_object_list(found)[0]


def any_of(answer: bool) -> bool:
    """Tell whether the answer of any process is yes. All processes call it together."""
    state = start_process()
    if state.num_processes == 1:
        return answer
    return bool(reduce(torch.tensor([int(answer)], device=state.device), "sum").item())


def free_memory() -> None:
    """Give back the memory of models that nobody holds any more; trainers hold theirs in cycles."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
