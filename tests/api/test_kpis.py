"""The executive KPIs on the real engine, against loops over the events, and at their edges."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from api.kpi_facts import FACTS, READS
from api.kpis import Compare, check_facts, compared, other_period
from api.slices import Slice
from api.times import iso, parse
from deploy.documents import documents
from schemas.errors import ConfigError
from schemas.kpis import SHIPPED, load_kpis, shipped_kpis
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api.ask import get, refused
from tests.api.conftest import Site
from tests.api.shop import Put, Shop, one, order, store_shuffled
from tests.api.world import DAY, NOW, Event
from tests.oracle.kpis import MARKS, Value, points, quotients
from tests.oracle.kpis import kpis as oracle

DAY_MS = DAY * 1000
END = int(NOW * 1000)
MIDNIGHT = END // DAY_MS * DAY_MS
IDS = [kpi.id for kpi in shipped_kpis().kpis]
RANGES = {
    "a month that cuts its first and last day": (END - 30 * DAY_MS, END),
    "whole days": (MIDNIGHT - 20 * DAY_MS, MIDNIGHT - 6 * DAY_MS),
    "one day": (MIDNIGHT - 5 * DAY_MS, MIDNIGHT - 4 * DAY_MS),
    "within a day": (MIDNIGHT - 5 * DAY_MS + 3_600_000, MIDNIGHT - 4 * DAY_MS),
    "a quarter": (END - 90 * DAY_MS, END),
}


@pytest.fixture(scope="module")
def shop(store: Warehouse, pack: Pack) -> list[Event]:
    return store_shuffled(store, pack, "kpi-shop", Shop(51), 1500)


def plain(value: Value) -> float | None:
    return None if value is None else float(value)


def beside(now: Value, then: Value) -> dict[str, float | None]:
    """The other period's value, the change since, and that in percent of its size."""
    change = None if now is None or then is None else now - then
    percent = change * 100 / abs(then) if change is not None and then else None
    return {"value": plain(then), "change": plain(change), "changePercent": plain(percent)}


@pytest.mark.parametrize("span", RANGES)
async def test_every_kpi_equals_the_independent_computation(site: Site, shop: list[Event], span: str) -> None:
    """To the last digit, with repeats, and the same of the period before."""
    start, end = RANGES[span]
    params = {"start": iso(start), "end": iso(end), "compare": "previous_period"}
    answer = await get(site, "kpi-shop", "/kpis", **params)
    now, then = oracle(shop, start, end), oracle(shop, 2 * start - end, start)
    assert answer["kpis"] == {name: plain(now[name]) for name in IDS}
    for name, told in answer["comparison"].items():
        assert told == beside(now[name], then[name]), name
    assert answer["comparison"].keys() == set(IDS)
    assert answer["comparison_period"]["endDate"] == answer["period"]["startDate"] == iso(start)
    if span.startswith("a "):
        assert all(now[name] for name in IDS), "a test over nothing proves nothing"


@pytest.mark.parametrize("span", RANGES)
async def test_details_equal_the_independent_computation(site: Site, shop: list[Event], span: str) -> None:
    """What is shown beside a value is what it was made from; the score shows its parts."""
    start, end = RANGES[span]
    answer = await get(site, "kpi-shop", "/kpis", start=iso(start), end=iso(end))
    values, sides = oracle(shop, start, end), quotients(shop, start, end)
    score = {"value": plain(values["engagementScore"]), "unit": "score", "parts": [
        {"kpi": name, "value": plain(values[name]), "points": plain(points(name, values[name])),
         "declared": {"kpi": name, "full": full, "weight": weight}}
        for name, (full, weight) in MARKS.items()
    ]}  # fmt: skip
    units = {kpi.id: kpi.unit.value for kpi in shipped_kpis().kpis}
    assert answer["details"].keys() == set(IDS)
    for name, told in answer["details"].items():
        if name == "engagementScore":
            assert told == score
            continue
        above, below = map(plain, sides[name])
        expected = {"value": plain(values[name]), "unit": units[name], "numerator": above, "denominator": below}
        assert told == expected, name
    assert all(one.keys() == {"name", "definition", "formula"} for one in answer["definitions"].values())
    assert answer["comparison"] is None
    assert {"start", "end", "as_of", "completeness", "incomplete"} <= answer.keys()


async def test_previous_year_is_read_a_year_earlier(site: Site, store: Warehouse, pack: Pack) -> None:
    year = Shop(52, days=460)
    events = store_shuffled(store, pack, "kpi-year", year, 900)
    start, end = parse("2026-08-01", END), parse("2026-11-01", END)
    params = {"startDate": "2026-08-01", "endDate": "2026-11-01", "comparisonPeriod": "previous_year"}
    answer = await get(site, "kpi-year", "/kpis", **params)
    assert answer["comparison_period"]["startDate"] == "2025-08-01T00:00:00.000Z"
    assert answer["comparison_period"]["endDate"] == "2025-11-01T00:00:00.000Z"
    then = oracle(events, start - 365 * DAY_MS, end - 365 * DAY_MS)
    now = oracle(events, start, end)
    assert answer["comparison"] == {name: beside(now[name], then[name]) for name in IDS}
    assert then["revenue"]


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("2024-02-29", "2024-03-02", "2023-02-28", "2023-03-02"),
        ("2025-02-28", "2025-03-01", "2024-02-28", "2024-02-29"),
        ("2024-12-31T23:59:59.999Z", "2025-01-01", "2023-12-31T23:59:59.999Z", "2024-01-01"),
    ],
)
def test_a_year_before_has_the_same_date_and_length(start: str, end: str, first: str, last: str) -> None:
    asked = Slice("t", parse(start, 0), parse(end, 0), {})
    other = other_period(asked, Compare.PREVIOUS_YEAR)
    assert (other.start_ms, other.end_ms) == (parse(first, 0), parse(last, 0))


@pytest.mark.parametrize(
    ("now", "then", "change", "percent"),
    [
        (3, 2, 1, 50.0),
        (3, 0, 3, None),
        (None, 2, None, None),
        (3, None, None, None),
        (-1, -2, 1, 50.0),
        (0, 4, -4, -100.0),
    ],
)
def test_a_change_of_nothing_has_no_percentage(now: Any, then: Any, change: Any, percent: Any) -> None:
    exact = [None if number is None else Fraction(number) for number in (now, then)]
    assert compared(*exact) == {"value": then, "change": change, "changePercent": percent}


async def test_nothing_stored_is_0_for_counts_and_null_for_quotients(site: Site, tenant: str) -> None:
    answer = await get(site, tenant, "/kpis", comparisonPeriod="previous_year")
    for name, told in answer["details"].items():
        nothing = None if told.get("denominator") == 0 or name in ("engagementScore", "ltv_cac_ratio") else 0
        assert told["value"] == nothing, name
    assert set(answer["kpis"]) == set(IDS)
    assert answer["kpis"]["cac"] is None and answer["as_of"] is None and answer["completeness"] == 100


async def test_one_customer_by_hand(site: Site, tenant: str, insert: Put) -> None:
    """Bought before, in and at the very end of the range; an order that is sent again with another amount is one."""
    start, end = NOW - 10 * DAY, NOW
    insert(tenant, [
        one("user_signed_up", start - 1, "u", "1"),
        one("user_purchased", start - 1, "u", "2", order_id=order(1), order_value=30.0),
        one("user_purchased", start, "u", "3", order_id=order(2), order_value=20.0),
        one("user_purchased", start, "u", "2b", order_id=order(2), order_value=25.0),
        one("order_refunded", start + 5, "u", "4", order_id=order(2), amount=5.5),
        one("user_purchased", start - 1, "w", "5", order_id=order(4), order_value=7.0),
    ])  # fmt: skip
    answer = (await get(site, tenant, "/kpis", start=iso(int(start * 1000)), end=iso(int(end * 1000))))["kpis"]
    assert (answer["revenue"], answer["newRevenue"], answer["returningRevenue"]) == (25, 0, 25)
    assert (answer["refunds"], answer["netRevenue"], answer["churnedRevenue"]) == (5.5, 19.5, 7)
    assert answer["churnRate"] == 50 and answer["netRevenueRetention"] == pytest.approx(25 / 37 * 100)
    assert (answer["mrr"], answer["arr"]) == (62, pytest.approx(62 * 365 / 30))
    assert (answer["newUsers"], answer["totalUsers"], answer["activeUsers"]) == (0, 2, 1)
    assert answer["cac"] is None and answer["ltv_cac_ratio"] is None


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"startDate": "2026-11-02", "endDate": "2026-11-01"}, "startDate"),
        ({"startDate": "2026-11-01", "start": "2026-11-01"}, "startDate"),
        ({"comparisonPeriod": "previous_week"}, "comparisonPeriod"),
        ({"compare": "previous_week"}, "compare"),
        ({"tenantId": "other"}, "tenantId"),
        ({"endDate": "yesterday"}, "endDate"),
    ],
)
async def test_bad_questions_are_refused(site: Site, tenant: str, params: dict[str, str], field: str) -> None:
    error = await refused(site, tenant, "/kpis", params)
    assert error["field"] == field
    if "previous_week" in params.values():
        assert error["allowed"] == ["previous_period", "previous_year"]


async def test_the_oldest_range_is_no_fault(site: Site, tenant: str) -> None:
    params = {"startDate": "1900-01-01", "endDate": "1900-02-01", "comparisonPeriod": "previous_year"}
    assert (await get(site, tenant, "/kpis", **params))["kpis"]["revenue"] == 0


def test_a_period_is_read_with_eight_statements_at_most() -> None:
    assert len(READS) + 1 <= 8, "and one for the lifetime value"


def test_every_fact_is_one_and_a_typo_refuses_to_boot(tmp_path: Path) -> None:
    check_facts(shipped_kpis())
    path = tmp_path / "kpis.yaml"
    path.write_text(SHIPPED.read_text().replace("numerator: spend", "numerator: spent"))
    with pytest.raises(ConfigError, match="spent"):
        check_facts(load_kpis(path))
    assert "spend" in FACTS


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weight: 40", "weight: 41", "add up to 101"),
        ("kpi: stickiness", "kpi: stickyness", "stickyness"),
        ("id: newUsers", "id: totalUsers", "twice"),
        ("    denominator: whole_days\n", "    divisor: whole_days\n", "divisor|not a known key"),
        ("    denominator: monthly_user_days\n", "", "denominator"),
        ("unit: minutes", "unit: minute", "minutes"),
    ],
)
def test_a_fault_in_the_declaration_names_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path, text = tmp_path / "kpis.yaml", SHIPPED.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message) as caught:
        load_kpis(path)
    assert caught.value.line


def test_the_page_is_what_is_declared() -> None:
    page = Path(__file__).parents[2] / "docs" / "kpis.md"
    assert page.read_text() == documents()["docs/kpis.md"](), "run `headrace docs`"
