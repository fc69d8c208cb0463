"""What a running `headrace up` tells other commands on the same data folder: where its servers are.

`DIR/running.json` holds settings by dotted name, and counts only while the lock `DIR/lock` is held by that `up`.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from schemas.errors import Fatal

_FILE: Final = "running.json"


def lock(data_dir: Path) -> int:
    """Take the data folder for this process; the handle to close at the end. Raises Fatal when it is taken."""
    data_dir.mkdir(parents=True, exist_ok=True)
    handle = os.open(data_dir / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise Fatal(f"{data_dir} is in use by another headrace; stop it, or choose another --data-dir") from error
    return handle


def announce(data_dir: Path, addresses: Mapping[str, str | int]) -> None:
    """Write the addresses; only the holder of the lock may."""
    draft = data_dir / f"{_FILE}.new"
    draft.write_text(json.dumps(dict(addresses), indent=2) + "\n", encoding="utf-8")
    draft.replace(data_dir / _FILE)


def withdraw(data_dir: Path) -> None:
    """Take the addresses back."""
    (data_dir / _FILE).unlink(missing_ok=True)


def addresses(data_dir: Path) -> dict[str, str | int]:
    """The addresses of the `up` that runs on this folder; empty when none does."""
    try:
        handle = os.open(data_dir / "lock", os.O_RDONLY)
    except OSError:
        return {}
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(data_dir / _FILE)
    finally:
        os.close(handle)
    return {}


def _read(path: Path) -> dict[str, str | int]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
