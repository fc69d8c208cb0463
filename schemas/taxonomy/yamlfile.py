"""YAML that remembers its lines: every fault of a declared file names the file, the line and the key.

`read` parses (duplicate keys and keys that are not text are faults), `conform` validates against a pydantic model whose
`extra` is "forbid" and turns its errors into one `ConfigError` with a did-you-mean hint.
"""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from schemas.errors import ConfigError

Key = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)


@dataclass
class Document:
    """A parsed file: plain data, and the line (from 1) of every key and list item."""

    file: str
    data: object = None
    lines: dict[Key, int] = field(default_factory=dict)

    def line(self, key: Key) -> int | None:
        """The line of `key`, or of its nearest ancestor that stands in the file."""
        for end in range(len(key), -1, -1):
            if key[:end] in self.lines:
                return self.lines[key[:end]]
        return None

    def fault(self, key: Key, message: str) -> ConfigError:
        """The error to raise for what stands at `key`."""
        return ConfigError(message, file=self.file, line=self.line(key), key=".".join(map(str, key)))


def read(path: Path) -> Document:
    """Parse the YAML file at `path`. Raises `ConfigError` when it cannot be read or parsed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", file=str(path)) from error
    return parse(text, str(path))


def parse(text: str, file: str) -> Document:
    """Parse YAML `text`; `file` is the name that errors carry."""
    document = Document(file)
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is not None:
            document.data = _build(loader, root, (), document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(
            f"is not valid YAML: {error.problem or error.context}", file=file, line=mark.line + 1 if mark else None
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"is not valid YAML: {error}", file=file) from error
    except RecursionError as error:
        raise ConfigError("is nested too deep", file=file) from error
    if document.data is None:
        raise ConfigError("is empty", file=file)
    return document


def _build(loader: yaml.SafeLoader, node: yaml.Node, key: Key, document: Document) -> object:
    document.lines.setdefault(key, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _build_mapping(loader, node, key, document)
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*key, index), document) for index, item in enumerate(node.value)]
    try:
        return loader.construct_object(node)
    except ValueError as error:
        raise document.fault(key, f"is not a value: {error}; put it in quotes if it is text") from error


def _build_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode, key: Key, document: Document) -> dict[str, object]:
    built: dict[str, object] = {}
    for name_node, value_node in node.value:
        name = loader.construct_object(name_node, deep=True)
        at = name_node.start_mark.line + 1
        if not isinstance(name, str):
            raise ConfigError(
                f"the key {name!r} is not text; put it in quotes",
                file=document.file,
                line=at,
                key=".".join(map(str, key)),
            )
        path = (*key, name)
        if name in built:
            first = document.lines[path]
            document.lines[path] = at
            raise document.fault(path, f"is given twice, first on line {first}; remove one")
        document.lines[path] = at
        built[name] = _build(loader, value_node, path, document)
    return built


def hint(name: str, known: Iterable[str]) -> str:
    """'; did you mean …?' when `known` holds something close to `name`, else ''."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def conform(model: type[M], document: Document) -> M:
    """`document` as an instance of `model`. Raises `ConfigError` for the first fault in the file."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    by_key: dict[Key, list[str]] = {}
    for detail in faults:
        by_key.setdefault(_real_key(detail, document), []).append(_say(detail, model))
    key = min(by_key, key=lambda k: document.line(k) or 0)
    others = len(by_key) - 1
    more = f" ({others} more fault{'s' if others > 1 else ''} in this file)" if others else ""
    raise document.fault(key, " or ".join(dict.fromkeys(by_key[key])) + more)


def _real_key(detail: ErrorDetails, document: Document) -> Key:
    """The error's location without the tags that pydantic adds for unions."""
    key: Key = ()
    for part in detail["loc"]:
        if (*key, part) in document.lines:
            key = (*key, part)
    return (*key, detail["loc"][-1]) if detail["type"] == "missing" else key


def _say(detail: ErrorDetails, model: type[BaseModel]) -> str:
    if detail["type"] == "extra_forbidden":
        known = sorted(_allowed(model, detail["loc"][:-1]))
        guess = hint(str(detail["loc"][-1]), known)
        return "is not a known key" + (guess or f"; known here: {', '.join(known)}")
    if detail["type"] == "missing":
        return "is missing; add it"
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if detail["type"] in {"string_type", "string_sub_type"} and not isinstance(detail["input"], dict | list):
        message += f", not {detail['input']!r}; put it in quotes"
    elif detail["type"] == "literal_error":
        message += hint(str(detail["input"]), _options(detail))
    return message


def _options(detail: ErrorDetails) -> list[str]:
    return [part.strip(" '") for part in str(detail.get("ctx", {}).get("expected", "")).replace(" or ", ",").split(",")]


def _allowed(model: type[BaseModel], loc: tuple[str | int, ...]) -> set[str]:
    """The keys that the model at `loc` below `model` declares."""
    current = model
    for part in loc:
        info = current.model_fields.get(str(part))
        inner = next(_models(info.annotation), None) if info else None
        current = inner or current
    return set(current.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and typing.get_origin(annotation) is None and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)
