"""How the API itself does, kept for later: what uptime and cost per query are made of.

Reads: `/metrics` of each API. Writes: `operations`, a row an address, process and minute: totals since the process
began, so that a row written twice, or a look that was missed, changes nothing. Each look is a probe, too: a call that
was good when the page came within a second. So there is an uptime when nobody asks, and it falls when nobody answers.
On failure: what cannot be stored waits for the next look, in which totals have grown.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from prometheus_client.parser import text_string_to_metric_families

from schemas.clock import Clock
from schemas.errors import Permanent, Retryable
from stream_processors.ports import PagePort, WarehousePort
from stream_processors.routes import Background
from stream_processors.watch.outages import Outages

log = logging.getLogger("headrace.watcher")

LOOK_SECONDS: Final = 20.0
GOOD_SECONDS: Final = 1.0
_PREFIX: Final = "headrace_api_"
REFUSED: Final = "refused"
"""Outcome of calls that were a fault of the caller: they say nothing about the API."""


@dataclass
class Totals:
    """What one process has counted since it began (Unix seconds)."""

    started: float
    calls: int = 0
    good_calls: int = 0
    queries: int = 0
    query_micros: int = 0
    query_bytes: int = 0


class Operations:
    """Looks at all APIs. `urls`: their addresses; `tenant`: whose metrics these are."""

    def __init__(
        self, pages: PagePort, urls: Sequence[str], tenant: str, warehouse: WarehousePort, clock: Clock
    ) -> None:
        self._pages, self._tenant, self._warehouse, self._clock = pages, tenant, warehouse, clock
        self._probes = {url: Totals(clock.now()) for url in urls}
        self._outages = Outages()

    def background(self) -> tuple[Background, ...]:
        """The looks; none without an address."""
        return (Background("operations", LOOK_SECONDS, self.look),) if self._probes else ()

    def look(self) -> None:
        """Read every page, and store the totals; a fault is said once."""
        rows = [row for url, probes in self._probes.items() for row in self._rows(url, probes)]
        try:
            self._warehouse.insert_lines("operations", b"".join(orjson.dumps(row) + b"\n" for row in rows))
            self._outages.answered("the table operations")
        except (Retryable, Permanent) as error:
            self._outages.failed("the table operations", error)

    def _rows(self, url: str, probes: Totals) -> Iterator[dict[str, Any]]:
        began = self._clock.monotonic()
        probes.calls += 1
        found = None
        try:
            found = read_totals(self._pages.text(f"{url}/metrics"))
            probes.good_calls += self._clock.monotonic() - began < GOOD_SECONDS
            self._outages.answered(f"the API at {url}")
        except Retryable as error:
            self._outages.failed(f"the API at {url}", error)
        yield self._row(f"probe of {url}", probes)
        if found is not None:
            yield self._row(url, found)

    def _row(self, origin: str, totals: Totals) -> dict[str, Any]:
        now = self._clock.now()
        return {
            "tenant": self._tenant,
            "minute": int(now) // 60 * 60,
            "origin": origin,
            **vars(totals),
            "started": round(totals.started, 3),
            "version": int(now * 1000),
        }


def read_totals(text: str) -> Totals:
    """What the page of an API says. Raises `Retryable` for anything but such a page."""
    try:
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    except (ValueError, IndexError, KeyError) as error:
        raise Retryable("what it answers are no Prometheus metrics") from error
    plain = {sample.name: sample.value for sample in samples if not sample.labels}
    if f"{_PREFIX}start_time_seconds" not in plain:
        raise Retryable("its metrics are not those of a headrace API; is the address right?")
    outcomes = {sample.labels["outcome"]: sample.value for sample in samples if sample.name == f"{_PREFIX}calls_total"}
    return Totals(
        plain[f"{_PREFIX}start_time_seconds"],
        calls=int(sum(n for outcome, n in outcomes.items() if outcome != REFUSED)),
        good_calls=int(outcomes.get("good", 0)),
        queries=int(plain.get(f"{_PREFIX}warehouse_queries_total", 0)),
        query_micros=round(1e6 * plain.get(f"{_PREFIX}warehouse_seconds_total", 0.0)),
        query_bytes=int(plain.get(f"{_PREFIX}warehouse_bytes_total", 0)),
    )
