"""Readings of metrics for the alert rules, off the board: what the stream says now. They are sums over window cells, so
an order that was reported twice counts twice here; answers of the API count it once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from schemas.alerting.readings import METRIC_PREFIX, Reading, subject_of
from stream_processors.watch.board import Board, Sum

Sums = Mapping[str, Sum]
Ratio = tuple[int, int, int]
"""Numerator, denominator, and how many observations it rests on."""

_NONE: Final = Sum()


def _get(sums: Sums, measure: str) -> Sum:
    return sums.get(measure, _NONE)


def _roas(sums: Sums) -> Ratio:
    spend = _get(sums, "spend")
    conversions = _get(sums, "conversion")
    return conversions.amount_micros, spend.amount_micros, conversions.events


def _ctr(sums: Sums) -> Ratio:
    impressions = _get(sums, "impression").events
    return 100 * _get(sums, "click").events, impressions, impressions


def _cpc(sums: Sums) -> Ratio:
    clicks = _get(sums, "click").events
    return _get(sums, "spend").amount_micros, 1_000_000 * clicks, clicks


def _aov(sums: Sums) -> Ratio:
    purchases = _get(sums, "purchase")
    return purchases.amount_micros, 1_000_000 * purchases.events, purchases.events


RATIOS: Final[Mapping[str, Callable[[Sums], Ratio]]] = {"roas": _roas, "ctr": _ctr, "cpc": _cpc, "aov": _aov}
"""Metrics that follow from counts and amounts alone; those that count people are asked of ClickHouse."""


def metric_readings(board: Board, needed: set[tuple[str, float, str]], now: float) -> Iterator[Reading]:
    """A reading for each needed (signal, window in seconds, dimension) and each tenant or campaign on the board."""
    for signal, window, dimension in sorted(needed):
        ratio = RATIOS.get(signal.removeprefix(METRIC_PREFIX))
        if not signal.startswith(METRIC_PREFIX) or ratio is None or dimension not in ("tenant", "campaign"):
            continue
        for tenant in board.tenants():
            for name in [""] if dimension == "tenant" else board.campaigns(tenant):
                numerator, denominator, count = ratio(board.sums(tenant, name, now - window, now + 300))
                value = numerator / denominator if denominator else None
                evidence = {"numerator": numerator, "denominator": denominator}
                yield Reading(tenant, signal, subject_of(dimension, name), window, value, count, now, evidence)
