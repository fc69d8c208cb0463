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
_Loader: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # C where built in
MAX_DEPTH = 32
MAX_NODES = 200_000
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
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is not None:
            document.data = _Builder(loader, document).build(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(
            f"is not valid YAML: {error.problem or error.context}", file=file, line=mark.line + 1 if mark else None
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"is not valid YAML: {error}", file=file) from error
    if document.data is None:
        raise ConfigError("is empty", file=file)
    return document


class _Builder:
    """Turns YAML nodes into plain data, noting the line of each."""

    def __init__(self, loader: yaml.SafeLoader | yaml.CSafeLoader, document: Document) -> None:
        self._loader, self._document = loader, document
        self._open: set[int] = set()
        self._nodes = 0

    def build(self, node: yaml.Node, key: Key) -> object:
        document = self._document
        document.lines.setdefault(key, node.start_mark.line + 1)
        self._nodes += 1
        if id(node) in self._open or len(key) > MAX_DEPTH or self._nodes > MAX_NODES:
            raise document.fault(key, "is nested too deep, too large, or refers to itself; write it out")
        self._open.add(id(node))
        try:
            return self._value(node, key)
        except ValueError as error:
            raise document.fault(key, f"is not a value: {error}; put it in quotes if it is text") from error
        finally:
            self._open.discard(id(node))

    def _value(self, node: yaml.Node, key: Key) -> object:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*key, index)) for index, item in enumerate(node.value)]
        return self._loader.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, object]:
        built: dict[str, object] = {}
        document = self._document
        for name_node, value_node in node.value:
            name = self._loader.construct_object(name_node, deep=True)
            path, at = (*key, str(name)), name_node.start_mark.line + 1
            first = document.lines.get(path)
            document.lines[path] = at
            if not isinstance(name, str):
                raise document.fault(path, "is not text as a key; put it in quotes")
            if name in built:
                raise document.fault(path, f"is given twice, first on line {first}; remove one")
            built[name] = self.build(value_node, path)
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
    unknown = any(detail["type"] == "extra_forbidden" for detail in faults)
    for detail in faults:
        if unknown and detail["type"] == "missing":
            continue  # a misspelt key is told as such, not as the absence of the right one
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


_PLAIN = {
    "dict_type": "must be a mapping (key: value)",
    "model_type": "must be a mapping (key: value)",
    "list_type": "must be a list",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}


def _say(detail: ErrorDetails, model: type[BaseModel]) -> str:
    if detail["type"] == "extra_forbidden":
        known = sorted(_allowed(model, detail["loc"][:-1]))
        guess = hint(str(detail["loc"][-1]), known)
        return "is not a known key" + (guess or f"; known here: {', '.join(known)}")
    if detail["type"] == "missing":
        return "is missing; add it"
    message = _PLAIN.get(detail["type"]) or detail["msg"].removeprefix("Value error, ").replace(
        "Input should be", "must be"
    )
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
