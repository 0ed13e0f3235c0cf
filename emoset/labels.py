"""The kinds of attribute and the splits of EmoSet, and one spelling for the attributes that it spells in several."""

import re
from collections.abc import Mapping
from typing import get_args
from urllib.parse import unquote

from config.data_settings import AttributeKind, Split

KINDS = get_args(AttributeKind)
SPLITS = get_args(Split)

_UNSAFE = re.compile(r'[%/\\:*?"<>|\x00-\x1f\x7f]|[. ]$')
_FOLDER = re.compile(r"\((\d+)\) ?(.+)", re.DOTALL)


def attribute_name(label: str) -> str:
    """Return the one spelling of an attribute label: lower case, words apart (`Alarm clock`, `alarm_clock`: alarm clock)."""
    return " ".join(label.lower().replace("_", " ").split())


def contradiction(classes: Mapping[str, str]) -> str:
    """Return in words which two classes are the same, in upper or lower case, and have different emotions; "" for none."""
    first: dict[str, str] = {}
    for name, emotion in classes.items():
        other = first.setdefault(name.casefold(), name)
        if classes[other] != emotion:
            return f"{other} and {name} are one class, for upper and lower case are the same, and have two emotions"
    return ""


def folder_name(attribute: str, images: int) -> str:
    """Return an attribute's folder, `(13094) plant`; characters that file systems refuse become %XX (`bakery%2Fshop`)."""
    return f"({images}) {_UNSAFE.sub(lambda unsafe: f'%{ord(unsafe.group()):02X}', attribute)}"


def parse_folder_name(folder: str) -> tuple[str, int] | None:
    """Return (attribute, images) of a folder named by `folder_name` or as published, `(13094)Plant`; None for any other."""
    match = _FOLDER.fullmatch(folder)
    return (attribute_name(unquote(match[2])), int(match[1])) if match else None
