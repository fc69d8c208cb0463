"""Where a request carries its key: Bearer, Basic (the user name), or X-Api-Key."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping

from ingest.refusals import Refusal
from schemas.keys import Key, KeyRefused, KeyStore, Kind


def credential(headers: Mapping[bytes, bytes]) -> str:
    """The key of a request, or "" where there is none. Header names in lower case."""
    scheme, _, value = headers.get(b"authorization", b"").partition(b" ")
    match scheme.lower():
        case b"bearer":
            return value.strip().decode("latin-1")
        case b"basic":
            return _basic_user(value.strip())
        case _:
            return headers.get(b"x-api-key", b"").strip().decode("latin-1")


def _basic_user(value: bytes) -> str:
    try:
        return base64.b64decode(value, validate=True).partition(b":")[0].decode("latin-1")
    except binascii.Error:
        return ""


def authenticate(keys: KeyStore, headers: Mapping[bytes, bytes], packs: Collection[str]) -> Key:
    """The write key of a request; raises a 401 Refusal that says what is wrong with it."""
    try:
        key = keys.find(credential(headers), Kind.WRITE)
    except KeyRefused as refused:
        raise Refusal(401, refused.code, refused.message) from refused
    if key.pack not in packs:
        text = f"The key {key.id} belongs to the pack {key.pack!r}, which is not loaded here."
        raise Refusal(401, "unknown_pack", text)
    return key
