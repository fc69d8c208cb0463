"""Error rates and slow metrics follow from the pages that the real collector and API write."""

from __future__ import annotations

import logging

import pytest

from api.telemetry import Telemetry
from ingest.metrics import CollectorMetrics
from schemas.alerting.readings import Reading
from schemas.errors import Retryable
from stream_processors.watch.scrapes import Scrapes, read_page

NOW = 1_795_000_000.0
EVENTS = "/api/analytics/events"
COLLECTORS = ("http://one:8000", "http://two:8000")
API = "http://api:8080"
ERRORS = ("collector_error_rate_percent", 300.0, "tenant")
API_ERRORS = ("api_error_rate_percent", 300.0, "tenant")
SLOWEST = ("metric_calculation_seconds", 300.0, "tenant")


class Installation:
    """Two collectors and an API with real registries behind their pages; an address in `away` does not answer."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.now = NOW
        self.collectors = {url: self.collector(NOW - 3_600) for url in COLLECTORS}
        self.api = self.new_api(NOW - 3_600)
        addresses = {"collector": COLLECTORS, "api": (API,)}
        self.scrapes = Scrapes(self, addresses, "ops", keep=600)  # type: ignore[arg-type]

    def collector(self, started: float) -> CollectorMetrics:
        metrics = CollectorMetrics()
        metrics.start_time.set(started)
        return metrics

    def new_api(self, started: float) -> Telemetry:
        telemetry = Telemetry(lambda: 0)
        telemetry.start_time.set(started)
        return telemetry

    def text(self, url: str) -> str:
        host = url.removesuffix("/metrics")
        if host in self.away:
            raise Retryable("it does not answer: ConnectError")
        if host == API:
            self.api.refresh(self.now)
            return self.api.render().decode()
        return self.collectors[host].text().decode()

    def requests(self, status: int, n: int, url: str = COLLECTORS[0], route: str = EVENTS) -> None:
        for _ in range(n):
            self.collectors[url].request(route, status)

    def look(self, signal: tuple[str, float, str] = ERRORS, after: float = 5.0) -> Reading | None:
        self.now += after
        found = self.scrapes.look({signal}, self.now)
        assert len(found) <= 1
        return found[0] if found else None


@pytest.fixture
def installation() -> Installation:
    return Installation()


def value(reading: Reading | None) -> tuple[float | None, int]:
    assert reading is not None
    return reading.value, reading.count


def test_the_error_rate_is_5xx_over_all_that_was_asked_since(installation: Installation) -> None:
    installation.requests(503, 50)
    assert value(installation.look()) == (None, 0), "before the first look"
    installation.requests(200, 85)
    installation.requests(422, 5)
    installation.requests(503, 7)
    installation.requests(500, 3)
    reading = installation.look()
    assert value(reading) == (10.0, 100)
    assert reading is not None
    assert (reading.tenant, reading.subject, reading.at) == ("ops", "", NOW + 10)
    assert reading.evidence["statuses"] == {"200": 85, "422": 5, "500": 3, "503": 7}


def test_all_collectors_count_together_and_each_is_named(installation: Installation) -> None:
    installation.look()
    installation.requests(200, 10)
    installation.requests(503, 10, COLLECTORS[1])
    reading = installation.look()
    assert value(reading) == (50.0, 20)
    assert reading is not None
    assert reading.evidence["endpoints"] == {
        COLLECTORS[0]: {"requests": 10, "errors": 0},
        COLLECTORS[1]: {"requests": 10, "errors": 10},
    }


def test_probes_and_scrapes_are_no_requests(installation: Installation) -> None:
    """Else an idle collector would look busy, and one that is not ready would look broken."""
    installation.look()
    for route in ("/health/live", "/health/ready", "/metrics"):
        installation.requests(503, 50, route=route)
    assert value(installation.look()) == (None, 0)


def test_errors_leave_the_window(installation: Installation) -> None:
    installation.look()
    installation.requests(503, 5)
    installation.look()
    installation.requests(200, 95)
    assert value(installation.look(after=200)) == (5.0, 100)
    assert value(installation.look(after=101)) == (0.0, 95)


def test_a_collector_that_restarts_is_counted_from_zero(installation: Installation) -> None:
    installation.requests(503, 500)
    installation.look()
    installation.collectors[COLLECTORS[0]] = installation.collector(installation.now + 1)
    installation.requests(200, 9)
    installation.requests(503, 1)
    assert value(installation.look()) == (10.0, 10)


def test_one_that_is_away_is_named_and_the_others_speak(installation: Installation) -> None:
    installation.look()
    installation.away.add(COLLECTORS[1])
    installation.requests(200, 4)
    reading = installation.look()
    assert value(reading) == (0.0, 4)
    assert reading is not None and reading.evidence["unreachable"] == [COLLECTORS[1]]


def test_all_away_is_no_reading_and_said_once(installation: Installation, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "headrace.watcher")
    installation.look()
    installation.away.update(COLLECTORS)
    installation.requests(200, 6)
    assert installation.look() is None
    assert caplog.messages == [], "one missed look is no news"
    for _ in range(5):
        assert installation.look() is None
    told = [message for message in caplog.messages if "cannot be read" in message]
    assert len(told) == 2 and COLLECTORS[0] in told[0] and "does not answer" in told[0]
    installation.away.clear()
    assert value(installation.look()) == (0.0, 6), "what it counted meanwhile is not lost"
    assert sum("can be read again" in message for message in caplog.messages) == 2


def test_a_page_of_something_else_is_an_endpoint_that_does_not_answer() -> None:
    for text in ("<html><body>hello</body></html>", "x y z 1 2 3", "}{", "", "# HELP up\n# TYPE up gauge\nup 1\n"):
        with pytest.raises(Retryable):
            read_page(text, "collector")
    with pytest.raises(Retryable, match="is the address right"):
        read_page(CollectorMetrics().text().decode(), "api")


def test_a_process_that_nobody_asked_yet_has_a_page_of_zeros() -> None:
    page = read_page(CollectorMetrics().text().decode(), "collector")
    assert (page.requests, page.calculations, page.slowest) == ({}, {}, {})


def test_the_api_error_rate_is_read_from_the_api(installation: Installation) -> None:
    installation.look(API_ERRORS)
    for status, n in (("200", 96), ("503", 4)):
        installation.api.requests.labels("/api/v1/analytics/alerts", "GET", status).inc(n)
    installation.api.requests.labels("/health/ready", "GET", "503").inc(60)
    assert value(installation.look(API_ERRORS)) == (4.0, 100)
    installation.away.add(API)
    assert installation.look(API_ERRORS) is None


def test_the_slowest_metric_of_the_window_is_named(installation: Installation) -> None:
    installation.look(SLOWEST)
    for metric, seconds in (("ctr", 0.2), ("cac", 41.5), ("roas", 3.0)):
        installation.api.calculated(metric, seconds, installation.now)
    reading = installation.look(SLOWEST)
    assert value(reading) == (41.5, 3)
    assert reading is not None and reading.evidence["metric"] == "cac"
    assert value(installation.look(SLOWEST, after=100)) == (41.5, 3)
    assert value(installation.look(SLOWEST, after=200)) == (0.0, 0), "nobody asked: nothing is slow"


def test_a_calculation_just_before_the_first_look_shows(installation: Installation) -> None:
    installation.api.calculated("cac", 35.0, installation.now)
    assert value(installation.look(SLOWEST)) == (35.0, 1)


def test_a_rule_with_a_window_of_its_own_gets_its_own_reading(installation: Installation) -> None:
    needed = {ERRORS, ("collector_error_rate_percent", 60.0, "tenant")}
    installation.scrapes.look(needed, NOW)
    installation.requests(503, 1)
    installation.scrapes.look(needed, NOW + 10)
    installation.requests(200, 1)
    readings = {one.window: one.value for one in installation.scrapes.look(needed, NOW + 100)}
    assert readings == {60.0: 0.0, 300.0: 50.0}
