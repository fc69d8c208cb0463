"""How far each file is sent, in one small JSON file for each, so that a killed run goes on where it was.

Written about once a second, whole or not at all (a temporary file, fsynced, renamed). A place is kept only when Kafka
has acknowledged everything before it, so a run that goes on there loses nothing; what was on its way when it was
killed is sent again with the same ids, which deduplication recognises.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping as Items
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from deploy.backfill.mapping import Mapping
from deploy.backfill.pieces import Place
from schemas.errors import ConfigError

_HEAD: Final = 1 << 16
_VERSION: Final = 1
_CHANGED: Final = {
    "size": "has another size than when it was sent",
    "mtime_ns": "was written to after it was sent",
    "head": "begins otherwise than when it was sent",
    "mapping": "was sent with another mapping",
    "ids": "was sent with another --derive-ids",
}


@dataclass(frozen=True)
class Purpose:
    """What makes a run another one, beside the file: where the events go, and how rows become events."""

    kafka: str
    tenant: str
    pack: str
    mapping: Mapping | None
    ids: str


@dataclass
class Sent:
    """How far a file is sent, over all runs. `rejected`: by reason."""

    place: Place = field(default_factory=Place)
    events: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    done: bool = False

    def fields(self) -> dict[str, Any]:
        """As the file keeps it."""
        return {
            "place": self.place._asdict(),
            "events": self.events,
            "accepted": self.accepted,
            "rejected": dict(self.rejected),
            "done": self.done,
        }


class State:
    """The state of one file. `load` first; `save` as it goes. `folder`: where the small files are."""

    def __init__(self, folder: Path, path: Path, purpose: Purpose) -> None:
        self._source = path
        self._identity = _identity(path, purpose)
        name = "\0".join((str(path.resolve()), purpose.kafka, purpose.tenant, purpose.pack))
        readable = re.sub(r"[^\w.-]", "_", path.name)[:80]
        self.path = folder / f"{readable}-{_hash(name.encode('utf-8', 'surrogateescape'))[:12]}.json"

    def load(self) -> Sent:
        """How far it was sent. Raises ConfigError when the file, or what is to be done with it, is another now."""
        try:
            found = orjson.loads(self.path.read_bytes())
            if found["version"] != _VERSION:
                raise ConfigError("was written by another version; --restart sends the file anew", file=str(self.path))
            self._compare(found["identity"])
            rest = {name: found[name] for name in ("events", "accepted", "done")}
            return Sent(place=Place(**found["place"]), rejected=Counter(found["rejected"]), **rest)
        except FileNotFoundError:
            return Sent()
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(
                f"cannot be read ({error}); --restart sends the file anew", file=str(self.path)
            ) from error

    def save(self, sent: Sent) -> None:
        """Keep it, on disk when this returns. Raises ConfigError when it cannot be written."""
        content = {"version": _VERSION, "file": str(self._source), "identity": self._identity, **sent.fields()}
        new = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as out:
                out.write(orjson.dumps(content, option=orjson.OPT_INDENT_2))
                out.flush()
                os.fsync(out.fileno())
            new.replace(self.path)
            _sync(self.path.parent)
        except OSError as error:
            message = f"how far the file is sent cannot be written ({error.strerror}); --state names another folder"
            raise ConfigError(message, file=str(self.path)) from error

    def _compare(self, then: Items[str, object]) -> None:
        for name, now in self._identity.items():
            if then.get(name) != now:
                raise ConfigError(
                    f"{_CHANGED[name]} (in part or whole); --restart sends it from the beginning (rows keep their ids"
                    " unless the file, or how ids are made, has changed)",
                    file=str(self._source),
                )


def _identity(path: Path, purpose: Purpose) -> dict[str, object]:
    try:
        found = path.stat()
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from error
    rules = "" if purpose.mapping is None else _hash(purpose.mapping.model_dump_json().encode())
    return {
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "head": _hash(head),
        "mapping": rules,
        "ids": purpose.ids,
    }


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
