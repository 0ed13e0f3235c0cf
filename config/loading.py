"""Reads settings: defaults < config/config.yaml < each --config FILE in turn < key=value on the command line.

Pydantic checks the merged values; this module remembers which source each value came from, so that an error can name it.
"""

import argparse
import difflib
import os
import re
import types
import typing
from pathlib import Path
from typing import Any

import annotated_types
import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from config.settings import ROOT, Settings

COMMAND_LINE = "command line"


class UserError(Exception):
    """Something that the user can mend; its text is one line that says what is wrong, where, and what to do."""


def load(arguments: list[str], description: str = "") -> Settings:
    """Return the settings that the YAML files and the command line ask for.

    Raises UserError for whatever cannot be read or is not allowed; prints the help and exits for --help.
    """
    fields = dict(leaf_fields(Settings))
    parser = _parser(description, fields)
    known, unknown = parser.parse_known_args(_as_options(arguments))
    if unknown and not unknown[0].startswith("-"):
        raise UserError(f"{COMMAND_LINE}: a setting is written key=value, found {unknown[0]!r}")
    if unknown:
        key = unknown[0].lstrip("-").split("=")[0]
        raise UserError(f"{COMMAND_LINE}: {_unknown_key(key, fields)}")
    sources = [(_name(path), _read_yaml(path)) for path in [ROOT / "config/config.yaml", *known.config]]
    for key, text in vars(known).items():
        if key in fields:
            sources.append((COMMAND_LINE, _nest(key, _parse(text, fields[key]))))
    return _validate(sources, fields)


def leaf_fields(model: type[BaseModel], prefix: str = ""):
    """Yield (dotted key, field) for every setting below `model`."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaf_fields(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def allowed(field: FieldInfo) -> str:
    """Say in a few words which values a setting takes, for example `number, 0 to below 1`."""
    return _type_words(field.annotation, _bounds(field.metadata))


def dump(settings: Settings) -> str:
    """Return the settings as YAML that `load` reads back."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


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


def _type_words(annotation, bounds: str) -> str:
    arguments = typing.get_args(annotation)
    match typing.get_origin(annotation):
        case typing.Annotated:
            return _type_words(arguments[0], _bounds(arguments[1].metadata))
        case typing.Literal:
            return " | ".join(map(str, arguments))
        case types.UnionType | typing.Union:
            return " or ".join("null" if each is type(None) else _type_words(each, bounds) for each in arguments)
        case origin if origin is list:
            return f"list of {_type_words(arguments[0], '')}"
        case origin if origin is dict:
            return f"{{{_type_words(arguments[0], '')}: {_type_words(arguments[1], '')}, ...}}"
    return {bool: "true | false", int: "whole number", float: "number", str: "text", Path: "path"}[annotation] + bounds


def _parser(description: str, fields: dict[str, FieldInfo]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description,
        usage="%(prog)s [--config FILE ...] [key=value ...]",
        epilog="A key is set as key=value, --key=value or --key value. The defaults stand in config/config.yaml.",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=8, width=110),
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", metavar="FILE", action="append", default=[], help="YAML read over config/config.yaml; repeatable"
    )
    groups = {}
    for key, field in fields.items():
        section = key.rpartition(".")[0]
        if section not in groups:
            doc = Settings.model_fields[section].annotation.__doc__ if section else "All scripts."
            groups[section] = parser.add_argument_group(section or "general", doc)
        default = field.get_default(call_default_factory=True)
        shown = "null" if default is None else ",".join(default) if isinstance(default, list) else str(default)
        shown = shown.lower() if isinstance(default, bool) else shown
        help_text = f"{field.description} [{allowed(field)}; default: {shown}]".replace("%", "%%")
        groups[section].add_argument(f"--{key}", dest=key, metavar="", help=help_text, default=argparse.SUPPRESS)
    parser.error = _argument_error
    return parser


def _argument_error(message: str):
    raise UserError(f"{COMMAND_LINE}: {message}; --help lists every key")


def _as_options(arguments: list[str]) -> list[str]:
    """Write key=value as --key=value, but not where it is the value of the option before it."""
    options = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        is_value = before.startswith("-") and "=" not in before
        options.append(argument if is_value or argument.startswith("-") or "=" not in argument else f"--{argument}")
    return options


def _name(path: str | os.PathLike) -> str:
    path = Path(path)
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _parse(text: str, field: FieldInfo) -> Any:
    takes = _type_words(field.annotation, "").split(" or ")
    if "path" in takes and not (text == "null" and "null" in takes):
        return _from_here(text) if text else None
    try:
        value = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, TypeError):  # what only looks like a number, a date or a tag
        value = text
    if "list of path" in takes:
        return [_from_here(str(path)) for path in (value if isinstance(value, list) else text.split(","))]
    return value


def _from_here(path: str) -> str:
    """Return a path of the command line, which counts from where the user stands."""
    return os.path.join(os.getcwd(), os.path.expanduser(path))


class _Loader(yaml.SafeLoader):
    """PyYAML, but 1e-3 is a number, `no` a word, and of two equal keys the first is not dropped without a word."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key.value}' stands twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, form) for tag, form in known if tag != "tag:yaml.org,2002:bool"]
    for letter, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def _read_yaml(path: str | os.PathLike) -> dict:
    name = _name(path)
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise UserError(f"{name}: no such config file (looked from {Path.cwd()})") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read as a config file: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{name}: not a text file in UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise UserError(f"{name}, line {mark.line + 1}, column {mark.column + 1}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict | None):
        raise UserError(f"{name}: expected lines of `key: value`, found {type(content).__name__}")
    return content or {}


def _nest(key: str, value: Any) -> dict:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _merge(into: dict, new: dict, source: str, origin: dict[str, str], prefix: str = "") -> None:
    for name, value in ((str(name), value) for name, value in new.items()):
        key = f"{prefix}{name}"
        origin[key] = source
        if isinstance(value, dict):
            if not isinstance(into.get(name), dict):
                into[name] = {}
            _merge(into[name], value, source, origin, f"{key}.")
        elif value is not None or not isinstance(into.get(name), dict):  # null: a section with every key commented out
            into[name] = value


def _validate(sources: list[tuple[str, dict]], fields: dict[str, FieldInfo]) -> Settings:
    merged: dict = {name: {} for name, field in Settings.model_fields.items() if name not in fields}
    origin: dict[str, str] = {}
    for source, values in sources:
        try:
            _merge(merged, values, source, origin)
        except RecursionError:
            raise UserError(f"{source}: not valid YAML: an anchor stands within itself") from None
    try:
        return Settings.model_validate(merged)
    except ValidationError as invalid:
        lines = [_explain(error, fields, origin) for error in invalid.errors()]
        raise UserError("\n".join(dict.fromkeys(lines))) from None


def _explain(error: dict, fields: dict[str, FieldInfo], origin: dict[str, str]) -> str:
    location = [str(part) for part in error["loc"]]
    key = ".".join(location)
    while location and ".".join(location) not in origin:
        location.pop()
    source = origin.get(".".join(location), COMMAND_LINE)
    if error["type"] == "extra_forbidden":
        return f"{source}: {_unknown_key(key, fields)}"
    setting = ".".join(location)
    if setting in fields:
        given = "null" if error["input"] is None else repr(error["input"])
        return f"{source}: {setting}: {given} is not allowed; allowed: {allowed(fields[setting])}"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return f"{source}: {key}: expected a section of keys, found {error['input']!r}"


def _unknown_key(key: str, fields: dict[str, FieldInfo]) -> str:
    by_leaf = {known.rpartition(".")[2]: known for known in fields}
    near = difflib.get_close_matches(key, fields, 1, 0.75)
    near = near or [by_leaf[leaf] for leaf in difflib.get_close_matches(key.rpartition(".")[2], by_leaf, 1)]
    return f"{key}: no such key; " + (f"did you mean {near[0]}?" if near else "--help lists every key")
