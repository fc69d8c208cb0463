"""Write keys and secret keys: who may send events, and who may read them.

Reads and writes one JSON file, `{"keys": [...]}`. A secret is shown once, when it is made; the file holds its SHA-256
only. That is enough because a secret carries 244 random bits: there is nothing to guess, so no slow hash is needed.
The file is written to a temporary name, flushed and renamed, under a lock; a running process takes a change within
about a second. A file that turned unreadable while running is reported and the last good keys stay in force.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

import pydantic

from schemas.clock import Clock, random_id
from schemas.errors import ConfigError, Permanent

DEV_WRITE_KEY: Final = "dev-write-key"
DEV_SECRET_KEY: Final = "dev-secret-key"  # noqa: S105 - public by intent
DEV_TENANT: Final = "demo"
DEV_PACK: Final = "marketing"

_RELOAD_SECONDS: Final = 1.0
_NAME: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_log = logging.getLogger(__name__)


class Kind(StrEnum):
    """What a key opens: `write` the collector only, `secret` the API only."""

    WRITE = "write"
    SECRET = "secret"  # noqa: S105 - the name of a kind, not a password


class Role(StrEnum):
    """What a secret key may do in the API; each role includes those before it."""

    VIEWER = "viewer"
    ANALYST = "analyst"
    ADMIN = "admin"


class KeyRefused(Permanent):
    """The key opens nothing here. `code` is machine-readable: missing_key, unknown_key, revoked_key or wrong_kind."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Key(pydantic.BaseModel):
    """One key. `sha256`: hex digest of the secret. Times: Unix seconds. `role` stands on secret keys only."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    id: str = pydantic.Field(min_length=1, max_length=64)
    kind: Kind
    tenant: str = pydantic.Field(pattern=_NAME)
    pack: str = pydantic.Field(pattern=_NAME)
    role: Role | None = None
    sha256: str = pydantic.Field(pattern=r"^[0-9a-f]{64}$")
    created_at: float
    revoked_at: float | None = None

    @pydantic.model_validator(mode="after")
    def _role_fits_kind(self) -> Key:
        if (self.kind is Kind.SECRET) != (self.role is not None):
            raise ValueError("a secret key needs a role (viewer, analyst or admin), a write key has none")
        return self


class _File(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    keys: list[Key] = []


def digest(secret: str) -> str:
    """SHA-256 of a secret, hex."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def dev_keys() -> tuple[Key, Key]:
    """The two well-known keys of a development machine. Only `deploy` may let them in, and only on loopback."""
    common = {"tenant": DEV_TENANT, "pack": DEV_PACK, "created_at": 0.0}
    return (
        Key(id="dev-write", kind=Kind.WRITE, sha256=digest(DEV_WRITE_KEY), **common),
        Key(id="dev-secret", kind=Kind.SECRET, role=Role.ADMIN, sha256=digest(DEV_SECRET_KEY), **common),
    )


def load_keys(path: Path) -> list[Key]:
    """The keys of a file, revoked ones too; none where there is no file. Raises ConfigError naming file and key."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from error
    try:
        keys = _File.model_validate_json(text).keys
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{first['msg']}; fix the key file or restore a copy", file=str(path), key=place) from error
    _check_unique(keys, path)
    return keys


def _check_unique(keys: list[Key], path: Path) -> None:
    ids, secrets = set[str](), {digest(DEV_WRITE_KEY), digest(DEV_SECRET_KEY)}
    for position, key in enumerate(keys):
        if key.id in ids or key.sha256 in secrets:
            raise ConfigError("the id or the secret is used twice; remove one", file=str(path), key=f"keys.{position}")
        ids.add(key.id)
        secrets.add(key.sha256)


class KeyStore:
    """Keys by their secret, for processes that check them.

    `dev_keys`: let the development keys in. A change of the file is noticed at most a second later. Raises ConfigError
    when the file is unusable at the start.
    """

    def __init__(self, path: Path | None, clock: Clock, *, dev_keys: bool = False) -> None:
        self._path, self._clock, self._dev = path, clock, dev_keys
        self._stamp = self._read_stamp()
        self._by_digest = self._load()
        self._checked = clock.monotonic()

    def find(self, secret: str, kind: Kind) -> Key:
        """The key of a secret; raises KeyRefused when it is missing, unknown, revoked, or of the other kind."""
        self._reload()
        if not secret:
            raise KeyRefused("missing_key", "No key was sent: use the header 'Authorization: Bearer KEY'.")
        key = self._by_digest.get(digest(secret))
        if key is None:
            raise KeyRefused("unknown_key", "This key is not known here. `headrace keys list` shows the valid ones.")
        if key.revoked_at is not None and key.revoked_at <= self._clock.now():
            raise KeyRefused("revoked_key", "This key was revoked. `headrace keys create` makes a new one.")
        if key.kind is not kind:
            doors = {Kind.WRITE: "A secret key was sent; the collector takes write keys only."}
            raise KeyRefused("wrong_kind", doors.get(kind, "A write key was sent; the API takes secret keys only."))
        return key

    def all(self) -> list[Key]:
        """Every key that is loaded, revoked ones included."""
        return list(self._by_digest.values())

    def _reload(self) -> None:
        now = self._clock.monotonic()
        if now - self._checked < _RELOAD_SECONDS:
            return
        self._checked = now
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._by_digest = self._load()
        except ConfigError as error:
            _log.error("the key file changed and cannot be used; the keys from before stay in force: %s", error)

    def _load(self) -> dict[str, Key]:
        keys = load_keys(self._path) if self._path is not None else []
        return {key.sha256: key for key in (*keys, *(dev_keys() if self._dev else ()))}

    def _read_stamp(self) -> tuple[int, int, int] | None:
        if self._path is None:
            return None
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def create_key(
    path: Path, clock: Clock, *, kind: Kind, tenant: str, pack: str, role: Role | None = None
) -> tuple[Key, str]:
    """Add a key to the file and return it with its secret, which exists nowhere else. Raises ConfigError."""
    prefix = "hrw" if kind is Kind.WRITE else "hrs"
    secret = f"{prefix}_{random_id()}{random_id()}".replace("-", "")
    fields = {"kind": kind, "tenant": tenant, "pack": pack, "role": role, "created_at": round(clock.now(), 3)}
    try:
        key = Key.model_validate({"id": f"{prefix}-{random_id()[:13]}", "sha256": digest(secret), **fields})
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigError(first["msg"], key=".".join(str(part) for part in first["loc"])) from error
    with _locked(path):
        _write(path, [*load_keys(path), key])
    return key, secret


def revoke_key(path: Path, clock: Clock, key_id: str) -> Key:
    """Revoke a key from now on; a key that is revoked already stays as it is. Raises ConfigError for an unknown id."""
    with _locked(path):
        keys = load_keys(path)
        for position, key in enumerate(keys):
            if key.id == key_id:
                if key.revoked_at is None:
                    keys[position] = key.model_copy(update={"revoked_at": round(clock.now(), 3)})
                    _write(path, keys)
                return keys[position]
    raise ConfigError("there is no key with this id; `headrace keys list` shows them", file=str(path), key=key_id)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(path: Path, keys: list[Key]) -> None:
    temporary = path.with_name(path.name + ".new")
    handle = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({"keys": [key.model_dump(mode="json", exclude_none=True) for key in keys]}, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
