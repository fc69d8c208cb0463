"""Another tool's numbers beside ours: loops over the events, with planted differences, and broken files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import orjson
import pytest

from api.reconcile import Verdict, judge
from api.reconcile_file import MOST_BYTES, MOST_ROWS, read_claims
from api.routing import ROOT
from api.times import iso
from schemas.keys import Role
from schemas.metrics import Kind, shipped_dictionary
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api import rows
from tests.api.conftest import Site
from tests.api.shop import Put, Shop, one, order, store_shuffled
from tests.api.world import DAY, NOW, SEGMENTS, Event
from tests.oracle.metrics import Oracle, Scope

DAY_MS = DAY * 1000
TODAY = int(NOW * 1000) // DAY_MS * DAY_MS
DAYS = [TODAY - n * DAY_MS for n in range(20, 0, -1)]
HEADER = ("date", "metric", "campaign_id", "segment", "value")


@pytest.fixture(scope="module")
def shop(store: Warehouse, pack: Pack) -> list[Event]:
    return store_shuffled(store, pack, "reconcile-shop", Shop(81, days=25), 1500)


def text_of(lines: list[tuple[Any, ...]], header: tuple[str, ...] = HEADER) -> str:
    out = io.StringIO()
    csv.writer(out).writerows([header, *lines])
    return out.getvalue()


def day(ms: int) -> str:
    return str(iso(ms))[:10]


async def post(site: Site, tenant: str, body: str | bytes, kind: str = "text/csv", **params: Any) -> Any:
    async with site.client(tenant, Role.ANALYST) as client:
        answer = await client.post(f"{ROOT}/reconcile", content=body, headers={"content-type": kind}, params=params)
    return answer


def expected(oracle: Oracle, campaigns: list[str]) -> Iterator[tuple[int, str, str, str, Fraction | None]]:
    """What is true of each day: of everything, of each campaign and of a segment of it."""
    for metric in shipped_dictionary().metrics:
        # Clicks after messages and cohorts look beyond their day; a distribution has no oracle to the last digit.
        if metric.kind in (Kind.DISTRIBUTION, Kind.EVALUATION, Kind.OPERATION, Kind.ATTRIBUTION) or metric.id in (
            "click_rate",
            "data_freshness",
        ):
            continue
        names = {one.value for one in metric.dimensions}
        for at in DAYS:
            scopes = [("", "")]
            scopes += [(campaign, "") for campaign in campaigns if "campaign_id" in names]
            if {"campaign_id", "segment"} <= names:
                scopes += [(campaign, SEGMENTS[0]) for campaign in campaigns]
            for campaign, segment in scopes:
                scope = Scope(at, at + DAY_MS, campaign_id=campaign or None, segment=segment or None)
                yield at, metric.id, campaign, segment, oracle.answer(metric.id, scope).value


def spoilt(n: int, value: Fraction | None) -> tuple[float, str]:
    """The other tool's number for this one, and what must be said of it."""
    ours = float(value or 0)
    if value is None:
        return 3.0, "missing_here"
    if n % 7 == 0:
        said = "missing_here" if value == 0 else "higher" if value > 0 else "lower"
        return ours * 1.02 + (1 if value >= 0 else -1), said
    if n % 11 == 0 and value > 0:
        return ours * 0.9, "lower"
    return (ours * 1.004 if n % 13 == 0 else ours), "match"


@pytest.mark.parametrize("half", [0, 1])
async def test_our_own_numbers_match_and_each_planted_difference_is_found(
    site: Site, shop: list[Event], half: int
) -> None:
    """Every metric of every day, alone, by campaign and by campaign and segment; some of them spoilt."""
    oracle = Oracle(shop, known=int(NOW * 1000))
    chosen = {metric.id for metric in shipped_dictionary().metrics[half::2]}
    lines, wanted = [], []
    for n, (at, metric, campaign, segment, value) in enumerate(expected(oracle, oracle.campaigns()[:2])):
        if metric not in chosen:
            continue
        theirs, verdict = spoilt(n, value)
        lines.append((day(at), metric, campaign, segment, repr(theirs)))
        wanted.append(shown(len(lines) + 1, lines[-1], value, verdict))
    answer = await post(site, "reconcile-shop", text_of(lines))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    wrong = [pair for pair in zip(told["rows"], wanted, strict=True) if pair[0] != pair[1]]
    assert wrong == []
    verdicts = [row["verdict"] for row in wanted]
    assert all(verdicts.count(name) for name in ("match", "higher", "lower", "missing_here"))
    assert any(row["difference"] and row["verdict"] == "match" for row in wanted), "some are off within the tolerance"
    check_totals(told["totals"], wanted)
    off = sorted((-100 if row["percent"] is None else -abs(row["percent"]), row["line"]) for row in wanted
                 if row["verdict"] != "match")  # fmt: skip
    assert told["worst"] == [wanted[line - 2] for _, line in off[:10]]


def shown(line: int, cells: tuple[str, ...], value: Fraction | None, verdict: str) -> dict[str, Any]:
    """The row of the answer, from the other tool's line and what is true; the difference is that of what is shown."""
    theirs, ours = Fraction(cells[4]), None if value is None else Fraction(repr(float(value)))
    apart = None if ours is None else theirs - ours
    return {
        "line": line,
        "date": cells[0],
        "metric": cells[1],
        "dimensions": {name: text for name, text in zip(HEADER[2:4], cells[2:4], strict=True) if text},
        "theirs": float(theirs),
        "ours": None if ours is None else float(ours),
        "difference": None if apart is None else float(apart),
        "percent": float(apart * 100 / abs(ours)) if ours and apart is not None else None,
        "verdict": verdict,
    }


def check_totals(totals: dict[str, Any], wanted: list[dict[str, Any]]) -> None:
    """Rows by verdict, and by metric in the order of the file how many match."""
    verdicts = [row["verdict"] for row in wanted]
    assert totals["rows"] == len(wanted)
    assert {verdict: totals[verdict] for verdict in Verdict} == {
        verdict: verdicts.count(verdict) for verdict in Verdict
    }
    assert totals["metrics"] == [
        {"metric": name, "rows": len(own), "match": own.count("match")}
        for name in dict.fromkeys(row["metric"] for row in wanted)
        if (own := [row["verdict"] for row in wanted if row["metric"] == name])
    ]


@pytest.mark.parametrize(
    ("theirs", "ours", "tolerance", "verdict"),
    [
        ("100.5", "100", "0.5", "match"), ("100.51", "100", "0.5", "higher"), ("99.5", "100", "0.5", "match"),
        ("99.49", "100", "0.5", "lower"), ("0", "0", "0", "match"), ("1", "0", "100", "missing_here"),
        ("0", "1", "0.5", "lower"), ("0", "1", "100", "match"), ("0", None, "0.5", "missing_here"),
        ("-101", "-100", "0.5", "lower"), ("-100.5", "-100", "0.5", "match"),
    ],
)  # fmt: skip
def test_the_edge_of_the_tolerance(theirs: str, ours: str | None, tolerance: str, verdict: str) -> None:
    assert judge(Fraction(theirs), None if ours is None else Fraction(ours), Fraction(tolerance)) == verdict


async def test_unknown_metrics_are_told_and_cost_nothing(site: Site, tenant: str, insert: Put) -> None:
    insert(tenant, [one("campaign_clicked", NOW - 5, "u", "1", campaign_id=order(1))])
    body = text_of([(day(TODAY), "clicks_total", "", "", 1), (day(TODAY), "events", "", "", 1)])
    told = (await post(site, tenant, body, tolerance_percent=0)).json()
    assert [(row["verdict"], row["ours"]) for row in told["rows"]] == [("unknown_metric", None), ("match", 1)]
    assert told["worst"] == [] and told["reasons"] == [] and told["tolerance_percent"] == 0


async def test_json_says_the_same_as_csv(site: Site, shop: list[Event]) -> None:
    lines = [(day(DAYS[3]), "events", "", "", "7"), (day(DAYS[4]), "impressions", "", SEGMENTS[0], "3.5")]
    objects = [
        {"date": lines[0][0], "metric": "events", "value": 7},
        {"date": lines[1][0], "metric": "impressions", "segment": SEGMENTS[0], "campaign_id": None, "value": "3.5"},
    ]
    first = (await post(site, "reconcile-shop", text_of(lines))).json()
    second = (await post(site, "reconcile-shop", orjson.dumps(objects), "application/json")).json()
    for told in (first, second):
        for row in (*told["rows"], *told["worst"]):
            del row["line"]
    assert first == second


@pytest.mark.parametrize("offset", [2, -5])
async def test_days_of_another_time_zone_are_recognised(site: Site, shop: list[Event], offset: int) -> None:
    oracle = Oracle(shop)
    lines = []
    for at in DAYS:
        local = Scope(at - offset * 3_600_000, at + DAY_MS - offset * 3_600_000)
        for metric in ("events", "revenue", "active_users"):
            lines.append((day(at), metric, "", "", repr(float(oracle.answer(metric, local).value or 0))))
    told = (await post(site, "reconcile-shop", text_of(lines), tolerance_percent=0)).json()
    zones = {one["metric"]: one for one in told["reasons"] if one["reason"] == "time_zone"}
    assert {name: one["utc_offset_hours"] for name, one in zones.items()} == {"events": offset, "revenue": offset}
    assert zones["events"]["rows"] == len(DAYS)


async def test_reasons_are_what_the_ledger_and_the_events_know(
    site: Site, tenant: str, store: Warehouse, insert: Put
) -> None:
    insert(tenant, [
        one("campaign_delivered", NOW - 60, "u", "1", campaign_id=order(1)),
        one("campaign_delivered", NOW - 61, "w", "2", campaign_id=order(1), is_holdout=True),
    ])  # fmt: skip
    rows.put(
        store,
        "ledger",
        rows.ledger(tenant, "received", 9),
        rows.ledger(tenant, "accepted", 5),
        rows.ledger(tenant, "duplicate", 2),
        rows.ledger(tenant, "late", 1),
        rows.ledger(tenant, "rejected", 3, reason="empty_id"),
        rows.ledger(tenant, "rejected", 1, reason="wrong_type"),
    )
    told = (await post(site, tenant, text_of([(day(TODAY), "impressions", "", "", 2)]))).json()
    reasons = {one["reason"]: one for one in told["reasons"]}
    counts = {name: one.get("events", one.get("rows")) for name, one in reasons.items()}
    assert counts == {"day_not_over": 1, "holdout": 1, "duplicates": 2, "late": 1, "rejected": 4, "incomplete": 1}
    assert reasons["rejected"]["by_reason"] == {"empty_id": 3, "wrong_type": 1}
    assert told["incomplete"] is True and told["rows"][0]["verdict"] == "higher"
    told = (await post(site, tenant, text_of([(day(TODAY), "impressions", "", "", 1)]))).json()
    assert told["reasons"] == [], "nothing needs a reason where everything matches"


async def test_another_tenant_has_nothing_to_compare_with(site: Site, tenant: str, shop: list[Event]) -> None:
    told = (await post(site, tenant, text_of([(day(DAYS[3]), "events", "", "", "7")]))).json()
    assert told["rows"][0]["ours"] == 0 and told["rows"][0]["verdict"] == "missing_here"
    async with site.client(tenant, Role.VIEWER) as client:
        answer = await client.post(f"{ROOT}/reconcile", content="", headers={"content-type": "text/csv"})
    assert answer.status_code == 403


GOOD = "2026-11-20,clicks,5"
BROKEN = {
    "empty": ("", 1, "date"),
    "only a header": ("date,metric,value\n", 1, "date"),
    "no value column": ("date,metric\n2026-11-20,clicks", 1, "value"),
    "unknown column": ("date,metric,country,value\n", 1, "country"),
    "column twice": ("date,metric,value,value\n", 1, "value"),
    "bad day": (f"date,metric,value\n{GOOD}\n20.11.2026,clicks,5", 3, "date"),
    "day with a time": ("date,metric,value\n2026-11-20T00:00:00Z,clicks,5", 2, "date"),
    "week instead of a day": ("date,metric,value\n2026-W47-5,clicks,5", 2, "date"),
    "no such day": ("date,metric,value\n2026-02-30,clicks,5", 2, "date"),
    "far day": ("date,metric,value\n1500-02-03,clicks,5", 2, "date"),
    "no metric": ("date,metric,value\n2026-11-20,,5", 2, "metric"),
    "comma as decimal point": ('date,metric,value\n2026-11-20,clicks,"5,5"', 2, "value"),
    "not finite": ("date,metric,value\n2026-11-20,clicks,NaN", 2, "value"),
    "underscored": ("date,metric,value\n2026-11-20,clicks,1_000", 2, "value"),
    "huge": ("date,metric,value\n2026-11-20,clicks,1e99", 2, "value"),
    "empty value": ("date,metric,value\n2026-11-20,clicks,", 2, "value"),
    "short line": ("date,metric,value\n2026-11-20,clicks", 2, "metric"),
    "long line": ("date,metric,value\n2026-11-20,clicks,5,6", 2, "value"),
    "repeated": (f"date,metric,value\n{GOOD}\n\n{GOOD}", 4, "date"),
    "open quote": ('date,metric,value\n"2026-11-20,clicks,5', 2, "date"),
    "dimension that the metric lacks": ("date,metric,channel,value\n2026-11-20,ctr,push,5", 2, "channel"),
    "long text": (f"date,metric,segment,value\n2026-11-20,clicks,{'x' * 201},5", 2, "segment"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_file_is_refused_with_line_and_column(site: Site, tenant: str, name: str) -> None:
    body, line, column = BROKEN[name]
    answer = await post(site, tenant, body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    error = answer.json()["errors"][0]
    assert (error["line"], error["column"]) == (line, column), error
    assert error["field"] == f"line {line}, {column}" and error["message"]


@pytest.mark.parametrize(
    ("body", "line"),
    [("{}", 1), ("[1]", 1), ('[{"date": "2026-11-20",\n "metric": }]', 2), ("[]", 1),
     ('[{"date": "2026-11-20", "metric": "clicks", "value": true}]', 1),
     ('[{"date": 20261120, "metric": "clicks", "value": 1}]', 1),
     ('[{"date": "2026-11-20", "metric": "clicks", "value": 1, "note": "x"}]', 1)],
)  # fmt: skip
async def test_broken_json_is_refused(site: Site, tenant: str, body: str, line: int) -> None:
    answer = await post(site, tenant, body, "application/json")
    assert answer.status_code == 422 and answer.json()["errors"][0]["line"] == line, answer.text


async def test_sizes_are_bounded(site: Site, tenant: str) -> None:
    """Bytes, rows, different questions, days apart, and the type of the body."""
    assert (await post(site, tenant, b"x" * (MOST_BYTES + 1))).status_code == 413
    assert (await post(site, tenant, "date", "text/plain")).status_code == 415
    assert (await post(site, tenant, "date", "")).status_code == 415
    assert (await post(site, tenant, "x", tolerance_percent=-1)).status_code == 422
    many = text_of([(day(n * DAY_MS), "impressions", "", "", 1) for n in range(MOST_ROWS + 1)])
    answer = await post(site, tenant, many)
    assert answer.status_code == 422 and answer.json()["errors"][0]["line"] == MOST_ROWS + 2
    assert len(
        read_claims(
            text_of([(day(n * DAY_MS), "impressions", "", "", 1) for n in range(MOST_ROWS)]).encode(), "text/csv"
        )
    )
    apart = text_of([("1990-01-01", "impressions", "", "", 1), ("2026-01-01", "impressions", "", "", 1)])
    assert (await post(site, tenant, apart)).json()["errors"][0]["line"] == 3
    pairs = [(day(TODAY), "impressions", order(n), f"s{n}", 1) for n in range(51)]
    answer = await post(site, tenant, text_of(pairs))
    assert answer.status_code == 422 and answer.json()["type"] == "/problems/too-much"


def test_a_spreadsheets_file_is_read() -> None:
    """With a byte-order mark, carriage returns, quotes, spaces, and the columns in any order."""
    body = '\ufeffvalue , metric,date\r\n"1.50",clicks,2026-11-20\r\n\r\n -2e1,clicks,2026-11-21\r\n'
    claims = read_claims(body.encode(), "text/csv; charset=utf-8")
    assert [(claim.line, claim.metric, claim.theirs) for claim in claims] == [
        (2, "clicks", Fraction(3, 2)), (4, "clicks", Fraction(-20)),
    ]  # fmt: skip
