"""An error of one request as one line for its user: the page lives on, and others notice nothing."""

import html
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
import torch
from fastapi import Request
from fastapi.responses import PlainTextResponse
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from app.work import Stopped
from config.errors import UserError, first_line
from runtime.full_disk import no_room
from runtime.processes import free_memory
from runtime.run_folder import log


@contextmanager
def one_line() -> Iterator[None]:
    """Raise whatever the block raises as an error that Gradio shows, as text, to the one who asked. Stopped is not shown."""
    try:
        yield
    except Stopped as stopped:  # an error to Gradio, which would empty what a request shows that ends without a word
        raise gr.Error(str(stopped), visible=False, print_exception=False) from None
    except Exception as error:
        line = html.escape(" ".join(_line(error).split()), quote=False)
        raise gr.Error(line, print_exception=False) from None


def copied(file: Path) -> str:
    """Return Gradio's copy of a file that it will show. Made later, by Gradio, a full disk would be a mere "Error"."""
    return save_file_to_cache(file, get_upload_folder())


def refuse_upload(_request: Request, error: OSError) -> PlainTextResponse:
    """Answer an upload for which the disk has no room, which Gradio writes before any function of ours, with one line."""
    if full := _full_disk(error):
        return PlainTextResponse(full, status_code=507)
    raise error


def _line(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError):
        free_memory()
        return "The memory of the graphics card is full. Try again in a moment, or close what else uses it."
    if full := _full_disk(error):
        return full
    log.exception("a request failed")
    if isinstance(error, OSError) and error.strerror:
        return f"This did not work: {error.strerror}."  # else places on this machine are told
    return f"This did not work: {type(error).__name__}: {first_line(error)[:200]}"


def _full_disk(error: Exception) -> str | None:
    full = no_room(error, [Path(tempfile.gettempdir())])
    return full and f"The disk is full ({full.strerror}). Ask the owner of this page to make room, and try again."
