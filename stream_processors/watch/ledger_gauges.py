"""The reconciliation for Prometheus: gauges with few labels, replaced as a whole, so that no scrape sees a half."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

TENANTS: Final = 50
"""Tenants with labels of their own, those with the largest differences first; the others are summed up."""
OTHER: Final = "other"
CHECKS: Final = ("received", "accepted", "rejected")


class Wrong(Protocol):
    """What does not balance."""

    @property
    def tenant(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def difference(self) -> int: ...


class LedgerGauges(Collector):
    """What the last round found."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._families: tuple[GaugeMetricFamily, ...] = ()
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges as of the last round; none before the first."""
        yield from self._families

    def show(self, wrong: Iterable[Wrong], tenants: Iterable[str], now: float, seconds: float, open_: int) -> None:
        """Replace them. `now`: Unix seconds; `seconds`: the round took; `open_`: minutes that are not settled."""
        difference = GaugeMetricFamily(
            "headrace_ledger_difference",
            "Events of the last day that no count accounts for, by check (expected - found, absolute by minute).",
            labels=("tenant", "check"),
        )
        for (tenant, check), n in sorted(_by_label(wrong, tenants).items()):
            difference.add_metric((tenant, check), n)
        self._families = (
            difference,
            _single(
                "headrace_ledger_reconciled_timestamp_seconds", "When the last round of reconciliation began.", now
            ),
            _single("headrace_ledger_reconcile_seconds", "How long the last round took.", seconds),
            _single("headrace_ledger_open_minutes", "Minutes that do not balance, or have something under way.", open_),
        )


def _by_label(wrong: Iterable[Wrong], tenants: Iterable[str]) -> Mapping[tuple[str, str], int]:
    sums: dict[str, dict[str, int]] = {tenant: dict.fromkeys(CHECKS, 0) for tenant in tenants}
    for one in wrong:
        checks = sums.setdefault(one.tenant, dict.fromkeys(CHECKS, 0))
        checks[one.what] = checks.get(one.what, 0) + abs(one.difference)
    ranked = sorted(sums, key=lambda tenant: (-sum(sums[tenant].values()), tenant))
    found: dict[tuple[str, str], int] = {}
    for place, tenant in enumerate(ranked):
        label = tenant if place < TENANTS else OTHER
        for check, n in sums[tenant].items():
            found[label, check] = found.get((label, check), 0) + n
    return found


def _single(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
