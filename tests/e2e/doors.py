"""A tenant's two doors, as any client sees them: the collector with a write key, the API with a secret key."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TypeVar

import httpx
import orjson

from schemas.taxonomy import shipped_packs

T = TypeVar("T")

EVENTS = "/api/analytics/events"
ANALYTICS = "/api/v1/analytics"
PATIENCE = 90.0
"""Seconds after which something that must happen soon counts as never: far above what a busy machine needs."""

OWN = frozenset(ref.event_type for ref in shipped_packs()["marketing"].roles["system"])
"""Types of the events that the pipeline itself publishes: an anomaly, a prediction. They may come at any moment."""


def eventually(
    probe: Callable[[], T], right: Callable[[T], bool] = bool, *, within: float = PATIENCE, every: float = 0.05
) -> T:
    """What `probe` gives as soon as that is `right`; AssertionError with the last of it when that never comes."""
    deadline = time.monotonic() + within
    while True:
        found = probe()
        if right(found):
            return found
        assert time.monotonic() < deadline, f"not within {within:.0f} s; the last was: {found!r}"
        time.sleep(every)


class Doors:
    """`send` goes to the collector, `get` and `post` to the API. `accepted`: events that it took. A context manager."""

    def __init__(self, collector: str, api: str, write_key: str, secret_key: str, tenant: str = "demo") -> None:
        self.tenant, self.write_key, self.secret_key = tenant, write_key, secret_key
        self.accepted = 0
        self.collector = httpx.Client(
            base_url=collector, headers={"Authorization": f"Bearer {write_key}"}, timeout=60, trust_env=False
        )
        self.api = httpx.Client(
            base_url=api, headers={"Authorization": f"Bearer {secret_key}"}, timeout=60, trust_env=False
        )

    def __enter__(self) -> Doors:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.collector.close()
        self.api.close()

    def send(self, body: object, **headers: str) -> httpx.Response:
        """POST to the collector: bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        fields = {"Content-Type": "application/json"}
        fields.update({name.replace("_", "-"): value for name, value in headers.items()})
        answer = self.collector.post(EVENTS, content=data, headers=fields)
        if answer.status_code == 200:
            self.accepted += answer.json()["accepted"]
        return answer

    def send_all(self, events: Sequence[object], size: int = 500) -> int:
        """Send in batches; every event must be accepted. Gives how many."""
        accepted = 0
        for start in range(0, len(events), size):
            answer = self.send(events[start : start + size])
            assert answer.status_code == 200, answer.text
            assert answer.json()["rejected"] == []
            accepted += answer.json()["accepted"]
        assert accepted == len(events)
        return accepted

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """The object at `path` below /api/v1/analytics."""
        answer = self.api.get(ANALYTICS + path, params=params)
        assert answer.status_code == 200, f"{path} {params}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    def post(self, path: str, body: object = None) -> dict[str, Any]:
        """POST to the API, which must take it."""
        answer = self.api.post(ANALYTICS + path, json=body)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    def metric(self, metric: str, **params: Any) -> dict[str, Any]:
        """A metric over everything that a collector takes (60 days), if `params` do not say another range."""
        return self.get(f"/metrics/{metric}", **(recent() | params))

    def value(self, metric: str, **params: Any) -> float | None:
        """The value alone."""
        value: float | None = self.metric(metric, **params)["value"]
        return value

    def pipeline(self) -> dict[str, Any]:
        """The ledger of the last day."""
        return self.get("/pipeline", start="-24h")

    def own(self) -> int:
        """How many events of the tenant the pipeline itself published."""
        groups = self.metric("events", group_by="event_type")["groups"]
        return sum(one["value"] for one in groups if one["group"] in OWN)

    def settled(self) -> dict[str, Any]:
        """The ledger without the pipeline's own events, once it knows what was accepted here and all is stored."""

        def read() -> dict[str, Any]:
            own, found = self.own(), self.pipeline()
            return found | {name: found[name] - own for name in ("received", "accepted", "stored")}

        return eventually(read, lambda got: got["accepted"] == self.accepted and balanced(got), every=0.2)


def recent() -> dict[str, str]:
    """A range that holds every event a collector takes: up to 30 days old, or some minutes ahead."""
    return {"start": "-60d", "end": datetime.fromtimestamp(time.time() + 3600, UTC).isoformat(timespec="seconds")}


def balanced(pipeline: dict[str, Any]) -> bool:
    """Whether nothing is on its way and nothing is missing, the open minutes included."""
    return balance(pipeline) == (0, 0)


def balance(pipeline: dict[str, Any]) -> tuple[int, int]:
    """received - accepted - rejected, and accepted - stored - duplicates; of all minutes, not only the closed ones."""
    rejected = sum(pipeline["rejected"].values())
    return (
        pipeline["received"] - pipeline["accepted"] - rejected,
        pipeline["accepted"] - pipeline["stored"] - pipeline["duplicates"],
    )
