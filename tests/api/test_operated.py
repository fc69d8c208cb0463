"""Uptime and cost per query, against the same counted in plain Python."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from api.expected import ExpectedReader
from api.ledger import LedgerReader
from api.metrics import Limits, MetricReader
from api.operated import cost
from api.reader import ClickHouseReader
from api.settings import Prices
from api.slices import Interval, Slice, floor
from schemas.clock import ManualClock
from schemas.metrics import shipped_dictionary
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api import rows
from tests.api.ask import get
from tests.api.conftest import Site
from tests.api.world import NOW

MINUTE = 60
PRICES = Prices(second=0.25, gib=2.0)
NAMES = ("calls", "good_calls", "queries", "query_micros", "query_bytes")
MAX = {"calls": 50, "good_calls": 49, "queries": 90, "query_micros": 9_000_000, "query_bytes": 2**31}
DICTIONARY = {metric.id: metric for metric in shipped_dictionary().metrics}
Grown = dict[int, dict[str, int]]


def stored(store: Warehouse, tenant: str, seed: int) -> Grown:
    """Three processes, one of them started before the range, with minutes that nobody looked at; what each minute grew
    by. Some rows are written twice, with what stood earlier in the minute."""
    rng, grown = Random(seed), Grown()
    found: list[dict[str, Any]] = []
    for process in range(3):
        totals = dict.fromkeys(NAMES, 0)
        started = NOW - (9000, 5000, 2000)[process]
        for minute in range(int(started) // MINUTE * MINUTE, int(NOW), MINUTE):
            if rng.random() < 0.2:
                continue
            row = {"tenant": tenant, "minute": minute, "origin": f"http://{process % 2}", "started": round(started, 3)}
            if rng.random() < 0.3:
                found.append({**row, **totals, "version": 1})
            more = {name: rng.randrange(MAX[name]) for name in NAMES}
            totals = {name: totals[name] + more[name] for name in NAMES}
            found.append({**row, **totals, "version": 2})
            at = grown.setdefault(minute, dict.fromkeys(NAMES, 0))
            for name in NAMES:
                at[name] += more[name]
    rng.shuffle(found)
    rows.put(store, "operations", *found)
    return grown


def summed(grown: Grown, start: int, end: int) -> dict[str, int]:
    inside = [at for minute, at in grown.items() if start <= minute * 1000 < end]
    return {name: sum(at[name] for at in inside) for name in NAMES}


def expected(metric: str, sums: dict[str, int]) -> tuple[float, int, float | None]:
    """Numerator, denominator and value."""
    if metric == "uptime":
        above, below, scale = Fraction(sums["good_calls"]), sums["calls"], 100
    else:
        micros = sums["query_micros"] * 0.25 + sums["query_bytes"] * 2.0 * 1_000_000 / 2**30
        above, below, scale = Fraction(round(micros), 1_000_000), sums["queries"], 1
    return float(above), below, float(scale * above / below) if below else None


def shown(answer: dict[str, Any]) -> tuple[float, int, float | None]:
    return answer["numerator"], answer["denominator"], answer["value"]


@pytest.fixture
def metrics(reader: ClickHouseReader, clock: ManualClock) -> MetricReader:
    ledger, usual = LedgerReader(reader, clock), ExpectedReader(reader, clock)
    return MetricReader(reader, ledger, usual, Limits(1000, 100), prices=PRICES)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("metric", ["uptime", "cost_per_query"])
async def test_it_equals_the_independent_computation(
    metrics: MetricReader, store: Warehouse, tenant: str, pack: Pack, metric: str, seed: int
) -> None:
    """In total and by point, where the range cuts processes, and minutes are missing."""
    grown = stored(store, tenant, seed)
    for start, end in ((NOW - 9600, NOW), (NOW - 4000, NOW - 1000), (NOW - 60, NOW)):
        first, last = int(start * 1000), int(end * 1000)
        asked = Slice(tenant, first, last, {}, interval=Interval.HOUR, known_ms=last)
        answer = await metrics.answer(DICTIONARY[metric], asked, pack)
        assert shown(answer) == expected(metric, summed(grown, first, last))
        for point in answer["series"]:
            at = floor(Interval.HOUR, first) + answer["series"].index(point) * 3_600_000
            inside = summed(grown, max(at, first), min(at + 3_600_000, last))
            assert shown(point) == expected(metric, inside), point


async def test_nobody_else_knows_it(metrics: MetricReader, store: Warehouse, tenant: str, pack: Pack) -> None:
    """It is the operator's."""
    stored(store, tenant, 5)
    asked = Slice(f"not-{tenant}", int(NOW * 1000) - 9_000_000, int(NOW * 1000), {})
    answer = await metrics.answer(DICTIONARY["uptime"], asked, pack)
    assert answer["value"] is None and answer["numerator"] == 0


def test_cost_is_rounded_once() -> None:
    assert cost(3_000_000, 2**30, Prices(second=0.1, gib=0.5)) == 800_000
    assert cost(1, 1, Prices(second=0.1, gib=0.5)) == 0


async def test_the_api_counts_its_calls_and_what_they_take(
    site: Site, tenant: str, insert: Callable[[str, list[Any]], None]
) -> None:
    """Probes are left out; queries have time and bytes by the warehouse's own word."""
    from stream_processors.watch.operations import read_totals

    async def totals() -> Any:
        async with site.client() as client:
            return read_totals((await client.get("/metrics")).text)

    before = await totals()
    await get(site, tenant, "/metrics/events")
    async with site.client(tenant) as client:
        assert (await client.get("/api/v1/analytics/metrics/nothing")).status_code == 404
        await client.get("/health/live")
    after = await totals()
    assert (after.calls - before.calls, after.good_calls - before.good_calls) == (1, 1)
    assert after.queries - before.queries >= 3 and after.query_micros > before.query_micros
