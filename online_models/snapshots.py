"""Snapshots of models in a directory: whole or not at all, checked before they are believed, never a reason to crash.

A snapshot is one file, `00000042.snapshot`: a line with the SHA-256 of everything after it, a line with the manifest
(JSON), and the payload (msgpack). It is written to a temporary file, fsynced, renamed, and the directory fsynced, so a
crash leaves the old ones. The newest `KEEP` stay. `load` goes from newest to oldest and skips, with a reason, whatever
is damaged or was written by another River, Python, model version or feature list; with none left the caller rebuilds
the state by replay. A checksum guards against damage, not against somebody who can write to the directory; the reader
of the River pickle inside (`online_models.pickles`) refuses everything but model classes.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec
import river

from online_models.contract import Model, ModelState
from schemas.errors import Retryable

KEEP: Final = 3
_MAGIC: Final = b"headrace-snapshot-1 "
_NAME: Final = re.compile(r"(\d{8,})\.snapshot")

T = TypeVar("T")


class Manifest(msgspec.Struct, frozen=True):
    """What a snapshot is of. `as_of`: Unix seconds of the data it covers; `offsets`: how far each input was read."""

    model: str
    version: str
    feature_hash: str
    as_of: float
    offsets: dict[str, int] = {}
    river: str = river.__version__
    python: str = ".".join(platform.python_version_tuple()[:2])


@dataclass(frozen=True, slots=True)
class Skipped:
    """A snapshot that was not used, and why."""

    path: Path
    reason: str


@dataclass(slots=True)
class Loaded(Generic[T]):
    """What `load` found: the newest usable snapshot (or None), and every newer one that was passed over."""

    value: T | None
    manifest: Manifest | None
    skipped: list[Skipped] = field(default_factory=list)


def manifest_of(model: Model, as_of: float, offsets: dict[str, int] | None = None) -> Manifest:
    """The manifest of a snapshot of `model`, by this River and Python."""
    return Manifest(model.name, model.version, model.feature_hash, as_of, offsets or {})


def encode(plain: dict[str, Any], state: ModelState) -> bytes:
    """A payload: the caller's own state beside the model's."""
    return msgspec.msgpack.encode({"plain": plain, "data": state.data, "river": state.river})


def decode(payload: bytes) -> tuple[dict[str, Any], ModelState]:
    """Inverse of `encode`; raises `msgspec.DecodeError`, `KeyError` or `TypeError`."""
    raw = msgspec.msgpack.decode(payload)
    return raw["plain"], ModelState(raw["data"], raw["river"])


class SnapshotStore:
    """The snapshots of one model in `directory`, which is made when it does not exist."""

    def __init__(self, directory: Path, keep: int = KEEP) -> None:
        self.directory, self.keep = directory, keep

    def save(self, manifest: Manifest, payload: bytes) -> Path:
        """Durable when it returns; raises `Retryable` when the disk refuses; the older snapshots then still hold."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            existing = self._files()
            path = self.directory / f"{(existing[-1][0] if existing else 0) + 1:08d}.snapshot"
            _write(path, _seal(manifest, payload))
            for _, old in existing[: max(0, len(existing) + 1 - self.keep)]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise Retryable(
                f"cannot write a snapshot to {self.directory}: {error}; free space or fix rights"
            ) from error
        return path

    def load(self, expected: Manifest, build: Callable[[bytes], T]) -> Loaded[T]:
        """The newest snapshot that `build` accepts and that fits `expected` (`as_of` and `offsets` do not matter)."""
        skipped: list[Skipped] = []
        for _, path in reversed(self._files()):
            try:
                manifest, payload = _open(path.read_bytes())
                if reason := _mismatch(manifest, expected):
                    skipped.append(Skipped(path, reason))
                    continue
                return Loaded(build(payload), manifest, skipped)
            # Unpickling foreign bytes may raise anything; a snapshot is never worth a crash.
            except Exception as error:
                skipped.append(Skipped(path, f"{type(error).__name__}: {error}"))
        return Loaded(None, None, skipped)

    def _files(self) -> list[tuple[int, Path]]:
        if not self.directory.is_dir():
            return []
        found = [(match, path) for path in self.directory.iterdir() if (match := _NAME.fullmatch(path.name))]
        return sorted((int(match[1]), path) for match, path in found)


def _seal(manifest: Manifest, payload: bytes) -> bytes:
    body = msgspec.json.encode(manifest) + b"\n" + payload
    return _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _open(data: bytes) -> tuple[Manifest, bytes]:
    head, _, body = data.partition(b"\n")
    if not head.startswith(_MAGIC):
        raise ValueError("not a snapshot of this format")
    if hashlib.sha256(body).hexdigest().encode() != head[len(_MAGIC) :]:
        raise ValueError("checksum does not match: the file is damaged or cut short")
    line, _, payload = body.partition(b"\n")
    return msgspec.json.decode(line, type=Manifest), payload


def _mismatch(found: Manifest, expected: Manifest) -> str:
    for name in ("model", "version", "feature_hash", "river", "python"):
        was, now = getattr(found, name), getattr(expected, name)
        if was != now:
            return f"{name} is {was}, this process has {now}"
    return ""


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
