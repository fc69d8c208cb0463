"""What is kept of how the API does: totals of each process, and the watcher's own probes."""

from __future__ import annotations

from typing import Any

import pytest

from api.reader import Spent
from api.telemetry import Telemetry, outcome
from schemas.clock import ManualClock
from schemas.errors import Retryable
from stream_processors.watch.operations import Operations, read_totals
from tests.support.chdb_warehouse import ChdbWarehouse

NOW = 1_795_000_000.0
URLS = ("http://one:8080", "http://two:8080")


class Site:
    """Two APIs with real registries behind their pages."""

    def __init__(self) -> None:
        self.clock, self.warehouse = ManualClock(NOW), ChdbWarehouse()
        self.away: set[str] = set()
        self.takes = 0.0
        self.store_away = False
        self.spent = dict.fromkeys(URLS, Spent())
        self.apis = {url: self.start(url) for url in URLS}
        self.operations = Operations(self, URLS, "ops", self, self.clock)  # type: ignore[arg-type]

    def start(self, url: str) -> Telemetry:
        self.spent[url] = Spent()
        telemetry = Telemetry(lambda: 0, lambda: self.spent[url])
        telemetry.start_time.set(self.clock.now())
        return telemetry

    def text(self, url: str) -> str:
        host = url.removesuffix("/metrics")
        self.clock.advance(self.takes)
        if host in self.away:
            raise Retryable("it does not answer: ConnectError")
        return self.apis[host].render().decode()

    def insert_lines(self, table: str, ndjson: bytes) -> None:
        if self.store_away:
            raise Retryable("away")
        self.warehouse.insert_lines(table, ndjson)

    def calls(self, url: str, **outcomes: int) -> None:
        for name, n in outcomes.items():
            self.apis[url].calls.labels(name).inc(n)

    def look(self, after: float = 20.0) -> None:
        self.clock.advance(after)
        self.operations.look()

    def rows(self) -> list[dict[str, Any]]:
        return self.warehouse.query("SELECT * FROM operations FINAL ORDER BY origin, started, minute")


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.mark.parametrize(
    ("status", "seconds", "expected"),
    [
        (200, 0.99, "good"), (200, 1.0, "slow"), (304, 0.0, "good"), (404, 5.0, "refused"), (422, 0.1, "refused"),
        (500, 0.1, "failed"), (503, 9.0, "failed"),
    ],
)  # fmt: skip
def test_how_a_call_ended(status: int, seconds: float, expected: str) -> None:
    assert outcome(status, seconds) == expected


def test_totals_of_a_page(site: Site) -> None:
    """Refused calls are no calls: they are a fault of the caller."""
    site.calls(URLS[0], good=90, slow=5, failed=3, refused=1000)
    site.spent[URLS[0]] = Spent(40, 1.25, 5_000)
    found = read_totals(site.text(URLS[0] + "/metrics"))
    assert vars(found) == {
        "started": NOW, "calls": 98, "good_calls": 90, "queries": 40, "query_micros": 1_250_000, "query_bytes": 5_000,
    }  # fmt: skip


def test_each_minute_holds_what_stood_at_its_end(site: Site) -> None:
    for _ in range(3):
        site.look()
    site.calls(URLS[1], good=7)
    site.look()
    found = {(row["origin"], int(row["minute"])): row["calls"] for row in site.rows()}
    first, second = sorted({minute for _, minute in found})
    assert found[f"probe of {URLS[1]}", first] == 3 and found[f"probe of {URLS[1]}", second] == 4
    assert (found[URLS[1], first], found[URLS[1], second]) == (0, 7)


def test_an_api_that_does_not_answer_in_time_fails_the_probe(site: Site) -> None:
    site.look()
    site.away = {URLS[0]}
    site.look()
    site.away, site.takes = set(), 1.5
    site.look()
    probes = [row for row in site.rows() if row["origin"] == f"probe of {URLS[0]}"][-1]
    assert (probes["calls"], probes["good_calls"]) == (3, 1)


def test_what_cannot_be_stored_is_stored_by_the_next_look(site: Site) -> None:
    site.store_away = True
    site.calls(URLS[0], good=5)
    site.look()
    assert site.rows() == []
    site.store_away = False
    site.look()
    assert {row["calls"] for row in site.rows() if row["origin"].endswith(URLS[0])} == {2, 5}


def test_a_restarted_process_is_another(site: Site) -> None:
    site.calls(URLS[0], good=5)
    site.look()
    site.clock.advance(5)
    site.apis[URLS[0]] = site.start(URLS[0])
    site.calls(URLS[0], good=2)
    site.look()
    found = {(row["started"], row["calls"]) for row in site.rows() if row["origin"] == URLS[0]}
    assert found == {(NOW, 5), (NOW + 25, 2)}


@pytest.mark.parametrize("text", ["", "<html>", "headrace_collector_requests_total 5\n"])
def test_what_is_no_page_of_an_api(text: str) -> None:
    with pytest.raises(Retryable):
        read_totals(text)
