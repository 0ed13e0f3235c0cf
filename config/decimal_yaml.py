"""YAML as the settings are written in it: decimal numbers, and words that stay words."""

import re

import yaml

WHOLE = re.compile(r"[-+]?[0-9]+")
NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
MERGE, TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"  # `<<` as a key, and text
DIGITS = 4000  # the most that Python reads as one number


class EqualKeysError(yaml.constructor.ConstructorError):
    """A mapping that has a key twice. PyYAML drops the first of them without a word."""


class _OneOfEachKey:
    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise EqualKeysError(None, None, f"the key '{key.value}' stands twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else key)
        return super().construct_mapping(node, deep)


class TextLoader(_OneOfEachKey, yaml.BaseLoader):
    """PyYAML that takes numbers and the rest as typed. Two equal keys are an error."""


class Loader(_OneOfEachKey, yaml.SafeLoader):
    """PyYAML with decimal numbers (010 is 10, 1:30 and 2024-01-01 are words, 1e-3 is a number), and `no` a word.

    Keys are text as typed (010, null). Two equal keys are an error. So is a value that does not fit its tag (`!!bool x`),
    with the line that it stands in.
    """

    def construct_mapping(self, node, deep=False):
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                key.tag = TEXT
        return super().construct_mapping(node, deep)

    def construct_object(self, node, deep=False):
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, AttributeError, KeyError):
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise yaml.constructor.ConstructorError(None, None, f"{tag} does not fit this value", node.start_mark) from None


_DROPPED = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "timestamp")}
Loader.yaml_implicit_resolvers = {
    letter: [(tag, form) for tag, form in known if tag not in _DROPPED]
    for letter, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(rf"{WHOLE.pattern}$"), list("-+0123456789"))
Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"{NUMBER.pattern}$"), list("-+.0123456789"))
Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: _whole(loader.construct_scalar(node)))


class Dumper(yaml.SafeDumper):
    """PyYAML that quotes the words which Loader, or PyYAML's own, would read as something else."""


Dumper.yaml_implicit_resolvers = {
    letter: yaml.SafeDumper.yaml_implicit_resolvers.get(letter, []) + Loader.yaml_implicit_resolvers.get(letter, [])
    for letter in {*yaml.SafeDumper.yaml_implicit_resolvers, *Loader.yaml_implicit_resolvers}
}


def _whole(text: str) -> int | str:
    return int(text) if len(text) <= DIGITS else text


# What constructing a value may raise, of text that only looks like YAML.
YAML_ERRORS = (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError, RecursionError)
