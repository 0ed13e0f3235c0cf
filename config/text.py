"""What a setting takes, in words, and what the text of a command line means for it."""

import os
import types
import typing
from pathlib import Path
from typing import Any

import annotated_types
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from config.decimal_yaml import DIGITS, NUMBER, WHOLE, YAML_ERRORS, EqualKeysError, Loader, TextLoader
from config.taxonomy import Taxonomy


def allowed(field: FieldInfo) -> str:
    """Say in a few words which values a setting takes, for example `number, 0 to below 1`."""
    return _words(field.annotation, _bounds(field.metadata))


def default_text(field: FieldInfo) -> str:
    """Return the default of a setting as a command line says it."""
    default = field.get_default(call_default_factory=True)
    if isinstance(default, list):
        return ",".join(map(str, default)) or "[]"
    return {None: "null", True: "true", False: "false"}.get(default, str(default)) if _plain(default) else str(default)


def parse(text: str, field: FieldInfo) -> Any:
    """Return the value that `text` in `key=text` gives a setting. If it gives none, the result has the wrong type.

    Text is taken literally. An empty text empties a text or a list. Numbers are decimal. Lists are written `a,b` or
    `[a, b]`. Mappings, and lists of mappings, are written as in YAML. Paths count from the user's working folder.
    Raises EqualKeysError for a mapping that has a key twice.
    """
    return _parse(text, field.annotation)


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _bounds(metadata: list) -> str:
    low = high = step = ""
    for bound in metadata:
        match bound:
            case annotated_types.Ge(ge=limit):
                low = f"{limit:.12g}"
            case annotated_types.Gt(gt=limit):
                low = f"above {limit:.12g}"
            case annotated_types.Le(le=limit):
                high = f"{limit:.12g}"
            case annotated_types.Lt(lt=limit):
                high = f"below {limit:.12g}"
            case annotated_types.MultipleOf(multiple_of=factor):
                step = f", a multiple of {factor:.12g}"
    return f", {low} to {high}{step}" if low else ""  # every number has both


def _words(annotation, bounds: str) -> str:
    arguments = typing.get_args(annotation)
    match typing.get_origin(annotation):
        case typing.Annotated:
            return _words(arguments[0], _bounds(getattr(arguments[1], "metadata", [])))
        case typing.Literal:
            return " | ".join(map(str, arguments))
        case types.UnionType | typing.Union:
            return " or ".join("null" if each is type(None) else _words(each, bounds) for each in arguments)
        case origin if origin is list:
            return f"list of {_words(arguments[0], '')}"
        case origin if origin is dict:
            return f"{{{_words(arguments[0], '')}: {_words(arguments[1], '')}, ...}}"
    names = {bool: "true | false", int: "whole number", float: "number", str: "text", Path: "path", Taxonomy: "path"}
    return names[annotation] + bounds


def _parse(text: str, annotation) -> Any:
    arguments = typing.get_args(annotation)
    match typing.get_origin(annotation):
        case typing.Annotated:
            return _parse(text, arguments[0])
        case types.UnionType | typing.Union:
            (kind,) = (each for each in arguments if each is not type(None))
            is_list = typing.get_origin(kind) is list
            return None if text == "null" or not (text or is_list) else _parse(text, kind)
        case origin if origin is list:
            return _parse_list(text, arguments[0])
        case origin if origin is dict:
            return _parse_yaml(text, TextLoader if str in arguments[1:] else Loader)
    if _is_path(annotation):
        return _from_here(text) if text else None
    if annotation is int and WHOLE.fullmatch(text):
        return int(text) if len(text) <= DIGITS else text
    if annotation is float and NUMBER.fullmatch(text):
        return float(text)
    return {"true": True, "false": False}.get(text.lower(), text) if annotation is bool else text


def _parse_list(text: str, item) -> Any:
    base = typing.get_args(item)[0] if typing.get_origin(item) is typing.Annotated else item
    if typing.get_origin(base) is dict:
        return _parse_yaml(text) if text else []
    is_text = base in (str, Path)
    content = _parse_yaml(text, TextLoader if is_text else Loader) if text.startswith("[") else text
    if isinstance(content, list) and is_text and not all(isinstance(each, str) for each in content):
        content = [each.strip() for each in text.strip("[]").split(",")]  # what only looks like YAML
    if isinstance(content, list):
        listed = content
    elif base is str:
        return text or []  # split at commas, or not, by the setting's own type
    else:
        listed = [_parse(each.strip(), item) for each in text.split(",") if each.strip()]
    return [_from_here(each) if os.path.isabs(each) is False else each for each in listed] if base is Path else listed


def _is_path(annotation) -> bool:
    base = typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation
    return isinstance(base, type) and issubclass(base, Path | Taxonomy)


def _from_here(path: str) -> str:
    """Return a path of the command line, which counts from where the user stands."""
    return os.path.join(os.getcwd(), os.path.expanduser(path))


def _parse_yaml(text: str, loader: type = Loader) -> Any:
    """Return what a text is in YAML; itself, where it is none. loader: TextLoader takes numbers and the rest as typed.

    Raises EqualKeysError for a mapping that has a key twice.
    """
    try:
        return yaml.load(text, loader)
    except EqualKeysError:
        raise
    except YAML_ERRORS:
        return text


def is_section(annotation) -> bool:
    """Tell whether a field is a section of settings, and not a setting."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation is not Taxonomy
