"""Signatures of webhooks: `X-Headrace-Signature: t=<unix seconds>,v1=<hex>`, HMAC-SHA256 over "<t>.<body>".

A receiver computes the same over the raw body with the shared key, compares in constant time, and refuses a `t` that is
minutes old, so that a recorded request cannot be sent again later.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

HEADER: Final = "X-Headrace-Signature"
TOLERANCE_SECONDS: Final = 300.0


def sign(key: bytes, body: bytes, at: float) -> str:
    """The header's value for `body`, sent at `at` (Unix seconds)."""
    moment = str(int(at))
    return f"t={moment},v1={_digest(key, moment, body)}"


def verify(key: bytes, header: str, body: bytes, now: float, tolerance: float = TOLERANCE_SECONDS) -> bool:
    """Whether `header` is a signature of `body` under `key`, made within `tolerance` seconds of `now`."""
    parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    moment, given = parts.get("t", ""), parts.get("v1", "")
    if not (moment.isascii() and moment.isdigit() and len(moment) <= 12) or not given.isascii():
        return False
    return abs(now - int(moment)) <= tolerance and hmac.compare_digest(_digest(key, moment, body), given)


def _digest(key: bytes, moment: str, body: bytes) -> str:
    return hmac.new(key, moment.encode() + b"." + body, hashlib.sha256).hexdigest()
