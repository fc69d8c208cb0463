"""River objects to bytes and back; the only place that unpickles anything.

A pickle can name any importable function. The reader here resolves classes of River and of this package and a
short list of harmless containers, nothing else, so a planted file is refused rather than run. Whether the bytes are
*ours* and of *this* River version is the snapshot's business (`online_models.snapshots`): checksum and version are
checked before this is called.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

_TRUSTED = {"river", "online_models"}
_HARMLESS = {
    ("collections", "Counter"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("collections", "deque"),
    ("functools", "partial"),
    ("random", "Random"),
    ("builtins", "float"),
    ("builtins", "int"),
    ("builtins", "list"),
    ("builtins", "set"),
    ("builtins", "tuple"),
}


class _RiverUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.split(".", 1)[0] in _TRUSTED or (module, name) in _HARMLESS:
            found = super().find_class(module, name)
            if isinstance(found, type):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is not a class of a model")


def dump(river_object: object) -> bytes:
    """`river_object` as bytes, for this version of River only."""
    return pickle.dumps(river_object, protocol=5)


def load(data: bytes) -> Any:
    """Inverse of `dump`; raises `pickle.UnpicklingError` for anything that is not River's."""
    return _RiverUnpickler(io.BytesIO(data)).load()
