"""Error rates and slow metrics, out of the self-metrics that collectors and APIs show to Prometheus.

Reads: `/metrics` of each. Answers to probes and scrapes are left out, else they would thin an error rate out. On
failure: an endpoint that does not answer is named in the evidence; when none answers there is no reading.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from schemas.alerting.readings import Reading
from schemas.errors import Retryable
from stream_processors.ports import PagePort
from stream_processors.watch.increments import Increments
from stream_processors.watch.outages import Outages

Part = Literal["collector", "api"]
Needed = set[tuple[str, float, str]]

ERROR_RATES: Final[Mapping[str, Part]] = {"collector_error_rate_percent": "collector", "api_error_rate_percent": "api"}
SLOWEST: Final = "metric_calculation_seconds"
SIGNALS: Final = frozenset({*ERROR_RATES, SLOWEST})

OPERATIONAL: Final = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Routes that probes ask, and nobody else."""


class Page(NamedTuple):
    """What a page says. `started`: Unix seconds. `requests` by status and `calculations` by metric are totals since
    then; `slowest` by metric, seconds, is of the last minute."""

    started: float | None
    requests: Mapping[str, float]
    calculations: Mapping[str, float]
    slowest: Mapping[str, float]


class Scrapes:
    """All endpoints. `addresses`: URLs by part; `keep`: the longest window that is asked for, seconds."""

    def __init__(self, pages: PagePort, addresses: Mapping[Part, Sequence[str]], tenant: str, keep: float) -> None:
        self._pages, self._tenant = pages, tenant
        self._endpoints = {part: [_Endpoint(url, part, keep) for url in urls] for part, urls in addresses.items()}
        self._outages = Outages()

    def look(self, needed: Needed, now: float) -> list[Reading]:
        """Read the pages that are needed (blocks), then give the readings."""
        parts = {ERROR_RATES.get(signal, "api") for signal, _, _ in needed if signal in SIGNALS}
        for endpoint in (one for part in sorted(parts) for one in self._endpoints[part]):
            name = f"the {endpoint.part} at {endpoint.url}"
            try:
                endpoint.take(read_page(self._pages.text(f"{endpoint.url}/metrics"), endpoint.part), now)
                self._outages.answered(name)
            except Retryable as error:
                endpoint.answers = False
                self._outages.failed(name, error)
        return [
            self._slowest(window, now) if signal == SLOWEST else self._errors(signal, window, now)
            for signal, window, dimension in sorted(needed)
            if signal in SIGNALS and dimension == "tenant" and self._answers(ERROR_RATES.get(signal, "api"))
        ]

    def _answers(self, part: Part) -> bool:
        return any(endpoint.answers for endpoint in self._endpoints[part])

    def _errors(self, signal: str, window: float, now: float) -> Reading:
        endpoints = self._endpoints[ERROR_RATES[signal]]
        by_url = {endpoint.url: endpoint.requests.over(window, now) for endpoint in endpoints}
        statuses = sum(by_url.values(), Counter[str]())
        requests, errors = statuses.total(), _errors(statuses)
        evidence: dict[str, Any] = {
            "errors": errors,
            "statuses": dict(sorted(statuses.items())),
            "endpoints": {url: {"requests": n.total(), "errors": _errors(n)} for url, n in by_url.items()},
            "unreachable": _unreachable(endpoints),
        }
        value = 100 * errors / requests if requests else None
        return Reading(self._tenant, signal, "", window, value, requests, now, evidence)

    def _slowest(self, window: float, now: float) -> Reading:
        """0 seconds over 0 calculations when nobody asked for a metric: a slow one is over then."""
        endpoints = self._endpoints["api"]
        calculations = sum((one.calculations.over(window, now) for one in endpoints), Counter[str]()).total()
        slow = max((slow for one in endpoints for slow in one.slow_since(now - window)), default=_Slow(0.0, 0.0, ""))
        evidence = {"metric": slow.metric, "unreachable": _unreachable(endpoints)}
        count = max(calculations, 1 if slow.metric else 0)
        return Reading(self._tenant, SLOWEST, "", window, slow.seconds, count, now, evidence)


class _Slow(NamedTuple):
    seconds: float
    at: float
    metric: str


class _Endpoint:
    """One address, and what was seen there."""

    def __init__(self, url: str, part: Part, keep: float) -> None:
        self.url, self.part, self.answers = url, part, False
        self.requests, self.calculations = Increments(keep), Increments(keep)
        self._keep = keep
        self._slow: deque[_Slow] = deque()

    def take(self, page: Page, now: float) -> None:
        self.answers = True
        self.requests.add(page.started, page.requests, now)
        self.calculations.add(page.started, page.calculations, now)
        metric, seconds = max(page.slowest.items(), key=lambda one: one[1], default=("", 0.0))
        if seconds:
            self._slow.append(_Slow(seconds, now, metric))
        while self._slow and self._slow[0].at <= now - self._keep:
            self._slow.popleft()

    def slow_since(self, start: float) -> Iterator[_Slow]:
        return (slow for slow in self._slow if slow.at > start)


def read_page(text: str, part: Part) -> Page:
    """What the page of a part says. Raises `Retryable` for anything but such a page."""
    prefix = f"headrace_{part}_"
    try:
        families = {family.name: family.samples for family in text_string_to_metric_families(text)}
    except (ValueError, IndexError, KeyError) as error:
        raise Retryable("what it answers are no Prometheus metrics") from error
    if f"{prefix}requests" not in families:
        raise Retryable(f"its metrics are not those of a headrace {part}; is the address right?")
    started = next((sample.value for sample in families.get(f"{prefix}start_time_seconds", ())), None)
    requests: dict[str, float] = {}
    for sample in families[f"{prefix}requests"]:
        if sample.name.endswith("_total") and sample.labels.get("route") not in OPERATIONAL:
            status = sample.labels.get("status", "")
            requests[status] = requests.get(status, 0.0) + sample.value
    calculations = _by_metric(families.get(f"{prefix}metric_seconds", ()), "_count")
    return Page(started, requests, calculations, _by_metric(families.get(f"{prefix}metric_slowest_seconds", ()), ""))


def _by_metric(samples: Iterable[Sample], suffix: str) -> dict[str, float]:
    return {one.labels["metric"]: one.value for one in samples if one.name.endswith(suffix) and "metric" in one.labels}


def _errors(statuses: Counter[str]) -> int:
    return sum(n for status, n in statuses.items() if status.startswith("5"))


def _unreachable(endpoints: Sequence[_Endpoint]) -> list[str]:
    return [endpoint.url for endpoint in endpoints if not endpoint.answers]
