"""The processor of a vision-language model, loaded with torchvision or without, and one that has run before."""

from contextlib import suppress
from inspect import Parameter, signature
from types import SimpleNamespace
from typing import Any

import transformers
from transformers import PROCESSOR_MAPPING, AutoConfig, AutoProcessor, ProcessorMixin
from transformers.video_processing_utils import VideoProcessorMixin

from config.errors import UserError, first_line


def load_processor(name: str, setting: str = "understanding.model") -> ProcessorMixin:
    """Return the processor of a model, with padding on the left, which sampling needs. name: on the Hub, or a folder.

    A processor that also takes videos does not load without torchvision, and no torchvision fits the CPU builds of torch. We
    show no videos, so the processor is then loaded without its video part. A saved copy still describes that part, and
    loads whole where torchvision is installed.
    Raises UserError, which names `setting`, if there is no processor or if it needs a package that is not installed.
    """
    try:
        processor = _load(name)
    except ImportError as error:
        raise UserError(f"{setting}: the processor of {name!r} needs a package ({first_line(error)})") from None
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise UserError(
            f"{setting}: {name!r} is neither a folder with a processor nor a name on the Hub ({reason})"
        ) from None
    if not {"image_processor", "tokenizer"} <= set(getattr(processor, "get_attributes", list)()):
        raise UserError(f"{setting}: {name!r} has no processor of images and text; name a model that answers about images")
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def _load(name: str) -> ProcessorMixin:
    try:
        return AutoProcessor.from_pretrained(name, padding_side="left")
    except (ImportError, OSError) as missing:  # OSError: saved without its video part
        if not any(part in str(missing) for part in ("torchvision", "Torchvision", "video processor")):
            raise
    named = ProcessorMixin.get_processor_dict(name)[0].get("processor_class")
    whole = getattr(transformers, named) if named else PROCESSOR_MAPPING[type(AutoConfig.from_pretrained(name))]
    saved = {}
    with suppress(OSError):  # it was saved without
        saved["video_processor"], _ = VideoProcessorMixin.get_video_processor_dict(name)
    return without_video(whole, saved).from_pretrained(name, padding_side="left")


def without_video(processor: type[ProcessorMixin], saved: dict | None = None) -> type[ProcessorMixin]:
    """Return a processor class of the same name with all parts but the video processor; saved: what it writes besides."""
    parts = [part for part in processor.get_attributes() if part != "video_processor"]
    methods = {
        "get_attributes": classmethod(lambda cls: parts),
        "to_dict": lambda self: processor.to_dict(self) | (saved or {}),
    }
    part = signature(processor.__init__).parameters.get("video_processor")
    if part is not None and part.default is Parameter.empty:  # SmolVLM's demands it, and two of its numbers
        parts_of = ProcessorMixin._get_arguments_from_pretrained.__func__
        methods["_get_arguments_from_pretrained"] = classmethod(lambda *args, **kwargs: [*parts_of(*args, **kwargs), None])
        methods["video_processor"] = SimpleNamespace(num_frames=None, fps=None)
    return type(processor.__name__, (processor,), methods)


class Processed:
    """A processor, except that calling it returns what it has made of these prompts before."""

    def __init__(self, processor: ProcessorMixin, fields: dict[str, Any]):
        self.processor, self.fields = processor, fields

    def __call__(self, **_: Any) -> dict[str, Any]:
        return dict(self.fields)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.processor, name)
