"""Reads settings: defaults < config/config.yaml < each --config FILE in turn < key=value on the command line.

Pydantic checks the merged values. This module remembers which source each value came from, so that an error can name it.
"""

import argparse
import difflib
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo

from config.decimal_yaml import YAML_ERRORS, Dumper, EqualKeysError, Loader
from config.errors import UserError, first_line
from config.section import ROOT, ByKind, Share, question_kinds, relative_to_root
from config.settings import Settings
from config.text import allowed, default_text, is_section, parse

COMMAND_LINE = "command line"
CONFIG = ROOT / "config/config.yaml"
LONGEST = 80  # characters of a value in an error
BY_KIND = [name for name, field in Settings.model_fields.items() if ByKind in getattr(field.annotation, "__mro__", ())]
# What a key is called now. Old names still work.
RENAMED = {
    "data.workers": "machine.processes",
    "mapper.workers": "machine.loaders",
    "grpo.workers": "machine.loaders",
    "mapper.tracker": "machine.tracker",
    "grpo.tracker": "machine.tracker",
    "grpo.answer_tokens": "answers.tokens",
    "questions.answer_by": "answers.by",
    "questions.reasoning": "answers.reasoning",
    "questions.score_step": "answers.score_step",
    "understanding.reference": "mining.reference",
} | {
    f"grpo.{name}": f"tuning.{name}"
    for name in (
        "warmup_steps",
        "max_gradient_norm",
        "gradient_checkpointing",
        "log_every",
        "checkpoint_every",
        "checkpoints_kept",
    )
}
# Keys that are gone, with the one value that changes nothing.
GONE = {"grpo.vllm": False}
READ_BY_ALL = ("seed", "run", "check")


def load(arguments: list[str], description: str = "", reads: Iterable[str] | None = None) -> Settings:
    """Return the settings that the YAML files and the command line ask for.

    reads: the sections, or keys, that the script reads, which --help explains; None: all of them, as --help all does.
    Raises UserError for whatever cannot be read or is not allowed; prints the help and exits for --help.
    """
    fields = dict(leaf_fields(Settings))
    for place, argument in enumerate(arguments):
        if argument in ("-h", "--help"):
            everything = reads is None or arguments[place + 1 :] == ["all"]
            _parser(description, fields, None if everything else set(reads)).print_help()
            raise SystemExit(0)
    parser = _parser(description, fields, None)
    known, unknown = parser.parse_known_args(_as_options(arguments))
    if unknown:
        raise UserError("\n".join(dict.fromkeys(f"{COMMAND_LINE}: {_unknown(each, fields)}" for each in unknown)))
    sources = [(relative_to_root(CONFIG), _config_yaml())]
    sources += [(relative_to_root(Path(path)), _read_yaml(path)) for path in known.config]
    for key, text in vars(known).items():
        if key in fields:
            try:
                sources.append((COMMAND_LINE, _nest(key, parse(text, fields[key]))))
            except EqualKeysError as error:
                raise UserError(f"{COMMAND_LINE}: {key}: {error.problem} in {_cut(text)}; leave one out") from None
    return _validate(sources, fields)


def _unknown(argument: str, fields: dict[str, FieldInfo]) -> str:
    """Say what is wrong with an argument that is none of the settings."""
    key = argument.lstrip("-").split("=")[0]
    if not argument.startswith("-"):
        return f"a setting is written key=value, found {_cut(argument)}"
    if any(each.startswith(f"{key}.") for each in fields):
        return f"{key} is a section of keys; set {key}.<key>=value; --help lists them"
    return _unknown_key(key, fields)


def leaf_fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield (dotted key, field) for every setting below `model`."""
    for name, field in model.model_fields.items():
        if is_section(field.annotation):
            yield from leaf_fields(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field
    if issubclass(model, ByKind):
        stated = _config_yaml().get(prefix.rstrip(".")) or {}
        what = "Share of questions" if prefix == "questions." else "Weight of the reward for answers to questions"
        for kind in question_kinds():
            description = f"{what} of the kind {kind}, which understanding/kinds/{kind}.py describes. 0: none."
            yield prefix + kind, FieldInfo.from_annotated_attribute(Share, Field(stated.get(kind), description=description))


def dump(settings: Settings) -> str:
    """Return the settings as YAML that `load` reads back."""
    return yaml.dump(settings.model_dump(mode="json"), Dumper=Dumper, sort_keys=False, allow_unicode=True)


@cache
def _config_yaml() -> dict:
    """Return what config.yaml states; it also states the default of each kind of question, for --help."""
    return _read_yaml(CONFIG)


def _parser(description: str, fields: dict[str, FieldInfo], reads: set[str] | None) -> argparse.ArgumentParser:
    more = "" if reads is None else " --help all explains every key of the project."
    parser = argparse.ArgumentParser(
        description=description,
        usage="%(prog)s [--config FILE ...] [key=value ...]",
        epilog=f"A key is set as key=value, --key=value or --key value. The defaults stand in config/config.yaml.{more}",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=8, width=110),
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument(
        "--config", metavar="FILE", action="append", default=[], help="YAML read over config/config.yaml; repeatable"
    )
    groups = {}
    for key, field in fields.items():
        section = key.rpartition(".")[0]
        if reads is not None and key not in READ_BY_ALL and not {section, key} & reads:
            continue
        if section not in groups:
            doc = Settings.model_fields[section].annotation.__doc__ if section else "All scripts."
            groups[section] = parser.add_argument_group(section or "general", doc)
        help_text = f"{field.description} [{allowed(field)}; default: {default_text(field)}]".replace("%", "%%")
        groups[section].add_argument(f"--{key}", dest=key, metavar="", help=help_text, default=argparse.SUPPRESS)
    for old, new in RENAMED.items():
        parser.add_argument(f"--{old}", dest=new, help=argparse.SUPPRESS, default=argparse.SUPPRESS)
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


def _read_yaml(path: str | os.PathLike) -> dict:
    name = relative_to_root(Path(path))
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), Loader)
    except FileNotFoundError:
        raise UserError(f"{name}: no such config file (looked from {Path.cwd()})") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read as a config file: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{name}: not a text file in UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise UserError(f"{name}, line {mark.line + 1}, column {mark.column + 1}: not valid YAML: {error.problem}") from None
    except YAML_ERRORS as error:
        reason = first_line(error)
        raise UserError(f"{name}: not valid YAML: {_cut(reason, quote=False)}") from None
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
        is_known = not prefix and name in Settings.model_fields and is_section(Settings.model_fields[name].annotation)
        if is_known and not isinstance(value, dict | None):
            raise UserError(f"{source}: {key}: expected a section of keys, found {_cut(value)}")
        if is_known:
            _merge(into[name], value or {}, source, origin, f"{key}.")  # null: a section with every key commented out
        else:
            into[name] = value


def _renamed(values: dict, source: str) -> dict:
    """Return what a source states, with today's names of the keys that were renamed."""
    values = {name: dict(value) if isinstance(value, dict) else value for name, value in values.items()}
    for old, harmless in GONE.items():
        section, key = old.split(".")
        if isinstance(values.get(section), dict) and values[section].get(key) is harmless:
            del values[section][key]
    for old, new in RENAMED.items():
        section, key = old.split(".")
        if isinstance(values.get(section), dict) and key in values[section]:
            moved, name = new.split(".")
            target = values.setdefault(moved, {}) or {}
            if not isinstance(target, dict):
                continue  # which is an error of its own
            value = values[section].pop(key)
            if target.get(name, value) != value:
                raise UserError(f"{source}: {old} is an older name of {new}, which has another value; keep one of the two")
            values[moved] = target | {name: value}
    return values


def _validate(sources: list[tuple[str, dict]], fields: dict[str, FieldInfo]) -> Settings:
    merged: dict = {name: {} for name, field in Settings.model_fields.items() if is_section(field.annotation)}
    origin: dict[str, str] = {}
    for source, values in sources:
        _merge(merged, _renamed(values, source), source, origin)
    stated = [f"{section}.{name}" for section in BY_KIND for name in merged[section]]  # these sections take any key
    no_kinds = [f"{origin[key]}: {_unknown_key(key, fields)}" for key in stated if key not in fields]
    try:
        settings = Settings.model_validate(merged)
        errors = []
    except ValidationError as invalid:
        errors = invalid.errors()
    if not errors and not no_kinds:
        return settings
    # Pydantic compares sections with one another where each is right by itself. They all read `data`.
    wrong = {str(error["loc"][0]) for error in errors if error["loc"]}
    if wrong and "data" not in wrong:
        try:
            Settings.model_validate({name: value for name, value in merged.items() if name not in wrong})
        except ValidationError as invalid:
            errors += invalid.errors()
    lines = no_kinds + [line for error in errors for line in _explain(error, fields, origin)]
    raise UserError("\n".join(dict.fromkeys(lines)))


def _explain(error: dict, fields: dict[str, FieldInfo], origin: dict[str, str]) -> list[str]:
    """Return the lines that an error of pydantic's amounts to."""
    setting = ".".join(map(str, error["loc"]))
    if error["type"] == "value_error" and setting not in fields:  # a section, or all of them, by Section.contradictions
        lines = str(error["ctx"]["error"]).splitlines()
        if all(line.partition(":")[0] in fields for line in lines):
            named = [(origin.get(line.partition(":")[0]), line) for line in lines]
            return [f"{source}: {line}" if source else line for source, line in named]
    return [_explain_value(error, fields, origin)]


def _explain_value(error: dict, fields: dict[str, FieldInfo], origin: dict[str, str]) -> str:
    location = [str(part) for part in error["loc"]]
    key = ".".join(location)
    while location and ".".join(location) not in origin:
        location.pop()
    source = origin.get(".".join(location), COMMAND_LINE)
    if error["type"] == "extra_forbidden":
        return f"{source}: {_unknown_key(key, fields)}"
    setting = ".".join(location)
    if error["type"] == "value_error" and setting == "data.taxonomy":
        return f"{source}: {setting}: {error['ctx']['error']}"
    if setting in fields:
        given = "null" if error["input"] is None else _cut(error["input"])
        if isinstance(error.get("ctx", {}).get("error"), UnicodeEncodeError):
            return f"{source}: {setting}: {given} is no name in UTF-8; rename it"
        return f"{source}: {setting}: {given} is not allowed; allowed: {allowed(fields[setting])}"
    return f"{source}: {key}: expected a section of keys, found {_cut(error['input'])}"


def _cut(value: Any, quote: bool = True) -> str:
    """Return a value as an error shows it, in at most LONGEST characters."""
    text = repr(value) if quote else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _unknown_key(key: str, fields: dict[str, FieldInfo]) -> str:
    by_leaf = {known.rpartition(".")[2]: known for known in fields}
    near = difflib.get_close_matches(key, fields, 1, 0.75)
    near = near or [by_leaf[leaf] for leaf in difflib.get_close_matches(key.rpartition(".")[2], by_leaf, 1)]
    return f"{_cut(key, quote=False)}: no such key; " + (f"did you mean {near[0]}?" if near else "--help lists every key")
