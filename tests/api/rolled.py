"""A tenant whose days are counted by rounds at times of a test's choosing; metrics with rollups and without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from api.cohort_sql import CohortBy, CohortQuestion, RetainedBy
from api.cohorts import answer as cohorts
from api.expected import ExpectedReader
from api.funnels.answer import Named
from api.funnels.answer import answer as funnel
from api.kpi_facts import read_facts
from api.ledger import LedgerReader
from api.metrics import Limits, MetricReader
from api.reader import ClickHouseReader, Params, Row
from api.rollups.coverage import Coverage
from api.rollups.standing import CoverageReader
from api.slices import Slice
from deploy.rollups.statements import RollupStatements
from schemas.clock import ManualClock
from schemas.cohorts import shipped_cohort_rules
from schemas.errors import Retryable
from schemas.metrics import Metric
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from stream_processors.metrics import WorkerMetrics
from stream_processors.settings import WatcherSettings
from stream_processors.watch.rollup_watch import RollupWatch
from tests.api.world import DAY, NOW, Event, lines

END = int(NOW * 1000)
DAY_MS = DAY * 1000
MIDNIGHT = END // DAY_MS * DAY_MS
RANGES = {
    "whole days": (MIDNIGHT - 14 * DAY_MS, MIDNIGHT),
    "cut days": (MIDNIGHT - 13 * DAY_MS - 5_000_000, MIDNIGHT - DAY_MS - 7_654_321),
    "until now": (END - 40 * DAY_MS, END),
}


class Watch(RollupWatch):
    """Rounds at a time of the test's choosing."""

    at = NOW

    def _now(self) -> float:
        return self.at


class Breaking:
    """A warehouse that goes away after so many writes."""

    def __init__(self, inner: Warehouse) -> None:
        self._inner, self.left = inner, 1_000_000

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        return self._inner.query(sql, params)

    def query_bytes(self, sql: str, fmt: str) -> bytes:
        return self._inner.query_bytes(sql, fmt)

    def _write(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Retryable("the warehouse is away")

    def insert_lines(self, table: str, ndjson: bytes) -> None:
        self._write()
        self._inner.insert_lines(table, ndjson)

    def command(self, sql: str, params: Mapping[str, Any] | None = None) -> None:
        self._write()
        self._inner.command(sql, params)


class Spy:
    """A reader that remembers what was asked."""

    def __init__(self, inner: ClickHouseReader) -> None:
        self._inner = inner
        self.asked: list[str] = []

    async def rows(self, sql: str, params: Params) -> list[Row]:
        self.asked.append(sql)
        return await self._inner.rows(sql, params)

    async def ping(self) -> bool:
        return await self._inner.ping()


class Site:
    """A tenant, its rounds, and its metrics, from rollups and from events alone."""

    def __init__(self, tenant: str, store: Warehouse, reader: ClickHouseReader, pack: Pack) -> None:
        self.tenant, self.store, self.pack = tenant, store, pack
        self.breaking, self.clock, self.spy = Breaking(store), ManualClock(NOW), Spy(reader)
        self.watch = self.new_watch()
        self.at = NOW - 3600

    def new_watch(self) -> Watch:
        packs = {self.pack.name: self.pack}
        return Watch(WatcherSettings(), packs, RollupStatements(), self.breaking, self.clock, WorkerMetrics("test"))

    def insert(self, events: Sequence[Event]) -> None:
        """Store events, a second after what was stored before."""
        self.at += 1
        self.store.insert_lines(
            "events", lines(events, self.pack, self.tenant, backfill=True, inserted_at=round(self.at, 3))
        )

    def take_out(self, event: Event) -> dict[str, Any]:
        """A conflict has moved an event, which may still be there; the row."""
        self.at += 100
        moved = {"found_at": round(self.at, 3), "kind": "user", "moved": True, "revision": 1}
        row: dict[str, Any] = orjson.loads(lines([event], self.pack, self.tenant, backfill=True)) | moved
        self.store.insert_lines("conflicts", orjson.dumps({**row, "settled": False}) + b"\n")
        return row

    def forget(self, event: Event, row: Mapping[str, Any]) -> None:
        """The event is gone, and that is settled."""
        self.store.command(
            "DELETE FROM events WHERE tenant = {t:String} AND event_id = {id:String}",
            {"t": self.tenant, "id": event["event_id"]},
        )
        self.store.insert_lines("conflicts", orjson.dumps({**row, "settled": True, "revision": 2}) + b"\n")

    def round(self, after: float = 600.0) -> frozenset[int]:
        """A round, long enough after all that was stored; what rests is due."""
        self.at += after
        self.watch.at = self.at
        self.clock.advance(1000)
        return self.watch.round(self.tenant, self.pack)

    def coverage(self) -> CoverageReader:
        return CoverageReader(self.spy, self.clock)

    async def covered(self) -> Coverage | None:
        return await self.coverage().of(self.tenant, self.pack)

    def metrics(self, coverage: CoverageReader | None) -> MetricReader:
        clock = self.clock
        limits = Limits(buckets=10_000, groups=1000)
        return MetricReader(self.spy, LedgerReader(self.spy, clock), ExpectedReader(self.spy, clock), limits, coverage)

    async def check(self, metric: Metric, asked: Slice) -> int:
        """That rollups and events give one answer; how many statements read rollups."""
        one = await self.metrics(None).answer(metric, asked, self.pack, limit=1000)
        self.spy.asked.clear()
        other = await self.metrics(self.coverage()).answer(metric, asked, self.pack, limit=1000)
        assert other == one, (metric.id, asked)
        return self.used()

    async def check_kpis(self, span: tuple[int, int]) -> int:
        """The same of what KPIs are made of."""
        asked, covered = self.asked(span), await self.covered()
        one = await read_facts(self.spy, asked, self.pack)
        self.spy.asked.clear()
        assert await read_facts(self.spy, asked, self.pack, covered) == one, span
        return self.used()

    def used(self) -> int:
        """How many of the statements read days that were counted."""
        return sum("FROM daily_" in sql for sql in self.spy.asked)

    async def check_cohorts(self, span: tuple[int, int], by: CohortBy, retained_by: RetainedBy, months: int) -> int:
        """The same of cohorts."""
        asked = CohortQuestion(self.tenant, self.pack, by, *span, months, END)
        ledger, rules = LedgerReader(self.spy, self.clock), shipped_cohort_rules()
        one = await cohorts(self.spy, ledger, asked, rules, retained_by, True)
        covered = await self.covered()
        self.spy.asked.clear()
        other = await cohorts(self.spy, ledger, asked, rules, retained_by, True, covered)
        assert other == one, (span, by, retained_by)
        return self.used()

    def asked(self, span: tuple[int, int], **more: Any) -> Slice:
        return Slice(self.tenant, *span, **{"filters": {}, "known_ms": END, **more})

    async def funnel(self, named: Named, covered: Coverage | None = None) -> dict[str, Any]:
        """A funnel's answer."""
        return await funnel(self.spy, LedgerReader(self.spy, self.clock), named, None, covered)

    async def check_funnel(self, named: Named) -> int:
        """The same of a funnel."""
        one, covered = await self.funnel(named), await self.covered()
        self.spy.asked.clear()
        assert await self.funnel(named, covered) == one, (named.name, named.asked.start_ms, named.asked.window_ms)
        return self.used()
