"""The collector's public door, as a careful client uses it: keep-alive, batches, the same ids again after trouble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import httpx
import orjson

from deploy.simulator.faults import MALFORMED, Send
from schemas.clock import Clock
from schemas.errors import Permanent, Retryable

BATCH: Final = 500
_AGAIN: Final = {429, 502, 503, 504}
_OVERLOADED: Final = 429
_NONE_ACCEPTED: Final = 422


class Posted(NamedTuple):
    """The answer to one batch. `uncertain`: events that may be stored twice, because an attempt ended in the dark."""

    accepted: int
    rejected: list[dict[str, Any]]
    uncertain: int


class HttpDoor:
    """`POST /api/analytics/events` of the collector at `url` with a write key. `patience`: seconds to keep trying."""

    def __init__(self, url: str, key: str, clock: Clock, *, patience: float = 60.0) -> None:
        self._clock, self._patience = clock, patience
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=10.0, trust_env=False)

    def close(self) -> None:
        self._client.close()

    def post(self, sends: Sequence[Send]) -> Posted:
        """Send one batch until the collector has it. Raises Retryable after `patience`, Permanent when it says no."""
        body = orjson.dumps([send.payload for send in sends])
        until, uncertain, trouble = self._clock.monotonic() + self._patience, 0, ""
        while self._clock.monotonic() < until:
            try:
                answer = self._client.post("/api/analytics/events", content=body)
            except httpx.HTTPError as error:
                trouble, wait = str(error) or type(error).__name__, 0.5
                uncertain = len(sends)
            else:
                if answer.status_code not in _AGAIN:
                    return self._read(answer, uncertain)
                trouble, wait = f"status {answer.status_code}", float(answer.headers.get("Retry-After", 1))
                uncertain = uncertain if answer.status_code == _OVERLOADED else len(sends)
            self._clock.sleep(wait)
        raise Retryable(f"the collector at {self._client.base_url} does not take events: {trouble}")

    def _read(self, answer: httpx.Response, uncertain: int) -> Posted:
        if answer.status_code not in (200, _NONE_ACCEPTED):
            raise Permanent(f"the collector answered {answer.status_code}: {answer.text[:300]}")
        verdicts = answer.json()
        return Posted(verdicts["accepted"], verdicts["rejected"], uncertain)


def surprises(sends: Sequence[Send], posted: Posted) -> list[str]:
    """Verdicts that are not what the simulator knows to be right, in words."""
    wanted = {index: send.reason for index, send in enumerate(sends) if send.fate == MALFORMED}
    got = {verdict["index"]: verdict["reason"] for verdict in posted.rejected}
    wrong = [index for index in sorted(wanted.keys() | got.keys()) if wanted.get(index) != got.get(index)]
    return [
        f"expected {wanted.get(index, 'accepted')}, the collector says {got.get(index, 'accepted')}: "
        f"{sends[index].payload}"
        for index in wrong
    ]
