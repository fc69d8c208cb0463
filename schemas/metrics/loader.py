"""Reads metric dictionaries: YAML in, `Dictionary` out, and a `ConfigError` with file, line and key for any fault."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pydantic
import yaml

from schemas.errors import ConfigError
from schemas.metrics.model import Dictionary

SHIPPED = Path(__file__).with_name("dictionary.yaml")


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML, but a key that stands twice is an error instead of a silent loss."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_dictionary(path: Path) -> Dictionary:
    """The dictionary in `path`; raises ConfigError naming file, line and key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", file=str(path)) from error
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(f"is not valid YAML: {error.problem}", file=str(path), line=line) from error
    try:
        return Dictionary.model_validate(data)
    except pydantic.ValidationError as error:
        raise _config_error(error, path, tree) from error


@cache
def shipped_dictionary() -> Dictionary:
    """The dictionary that ships with Headrace."""
    return load_dictionary(SHIPPED)


def _config_error(error: pydantic.ValidationError, path: Path, tree: yaml.Node | None) -> ConfigError:
    first = error.errors(include_url=False, include_input=False)[0]
    place = first["loc"]
    key = ".".join(map(str, place))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "is not a known key; check the spelling"
    return ConfigError(message, file=str(path), line=_line_of(tree, place), key=key)


def _line_of(node: yaml.Node | None, place: Sequence[int | str]) -> int | None:
    """The line (from 1) of the deepest part of `place` that the document holds."""
    if node is None:
        return None
    line = node.start_mark.line + 1
    for step in place:
        child = _child(node, step)
        if child is None:
            break
        node, line = child
    return line


def _child(node: yaml.Node, step: int | str) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item = node.value[step]
        return item, item.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return value, key.start_mark.line + 1
    return None
