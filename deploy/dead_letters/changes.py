"""What a patch changed in an event, place by place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from deploy.dead_letters.originals import lenient

MOST: Final = 50


def changes(before: bytes, after: bytes) -> list[dict[str, str]]:
    """Places whose values differ, each with the JSON of both ("": nothing stands there); texts when one is no JSON."""
    if before == after:
        return []
    try:
        old, new = dict(_leaves(lenient(before), "")), dict(_leaves(lenient(after), ""))
    except (ValueError, RecursionError):
        old, new = ({"": data.decode("utf-8", "backslashreplace")[:1000]} for data in (before, after))
    paths = [path for path in {**old, **new} if old.get(path) != new.get(path)]
    return [{"path": path, "before": old.get(path, ""), "after": new.get(path, "")} for path in paths[:MOST]]


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not items:
        yield path, json.dumps(value)
    for key, inner in items:
        name = str(key).replace(".", "\\.")
        yield from _leaves(inner, f"{path}.{name}" if path else name)
