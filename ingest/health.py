"""Is the process alive, can it reach Kafka, and how is it doing."""

from __future__ import annotations

import asyncio
from typing import Final

from ingest.asgi import Request, Response, json_response
from ingest.collector import Collector
from ingest.refusals import Refusal
from schemas.clock import Clock
from schemas.errors import Retryable
from schemas.topics import EVENTS

_ASK_SECONDS: Final = 2.0
_FRESH_SECONDS: Final = 1.0
_TEXT: Final = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


class Health:
    """The three operational endpoints. Kafka is asked at most once a second, whoever calls."""

    def __init__(self, collector: Collector, clock: Clock) -> None:
        self._collector, self._clock = collector, clock
        self._asking = asyncio.Lock()
        self._asked = float("-inf")
        self._problem = ""

    async def live(self, _: Request) -> Response:
        """200 while the process answers."""
        return json_response(200, {"status": "live"})

    async def ready(self, _: Request) -> Response:
        """200 when events are taken: Kafka answers and has the event topic, or the spool takes them. Else 503, and why.

        While chunks go to the spool the status says so, with how many wait there.
        """
        outlet = self._collector.gateway.outlet
        if outlet.spooling and not outlet.problem:
            return json_response(200, {"status": "spooling", **outlet.waiting()})
        async with self._asking:
            if self._clock.monotonic() - self._asked >= _FRESH_SECONDS:
                self._problem = await asyncio.to_thread(self._ask)
                self._asked = self._clock.monotonic()
        problem = self._problem or (f"{outlet.problem}." if outlet.problem else "")
        if problem:
            raise Refusal(503, "not_ready", problem, retry_after=self._collector.settings.retry_after_seconds)
        return json_response(200, {"status": "ready"})

    async def metrics(self, _: Request) -> Response:
        """The self-metrics, for Prometheus."""
        return Response(200, self._collector.gateway.metrics.text(), (_TEXT,))

    def _ask(self) -> str:
        try:
            found = self._collector.producer.partitions(EVENTS, _ASK_SECONDS)
        except Retryable as error:
            return f"{error}."
        return "" if found else f"Kafka answers but has no topic {EVENTS}; create it with `headrace up` or deploy."
