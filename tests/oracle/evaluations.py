"""How good predictions were: users looked at one by one, pairs counted one by one, measures by their definitions."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from tests.oracle.facts import ACTIVITY_TYPES, OPENS, facts

MONTH_MS = 30 * 86_400_000
Pair = tuple[float, bool]
"""What was said, and what came true."""


class People:
    """When the users of a tenant were active, and when they had enough of everything."""

    def __init__(self, events: Iterable[dict[str, Any]]) -> None:
        sent = {event["event_id"]: event.get("properties") or {} for event in events}
        self.active: dict[str, list[int]] = {}
        self._left: dict[str, list[int]] = {}
        for one in facts(events):
            if one.event_type in ACTIVITY_TYPES or (one.event_type == "campaign_viewed" and one.view_type in OPENS):
                self.active.setdefault(one.user_id, []).append(one.ms)
            if sent[one.event_id].get("unsubscribe_type") == "all_campaigns":
                self._left.setdefault(one.user_id, []).append(one.ms)

    def lost(self, at: int) -> dict[str, bool]:
        """Who of those active in the month before a moment, in ms, was not in the month after it, or left for good."""
        found = {}
        for user, times in self.active.items():
            if _any(times, at - MONTH_MS, at):
                found[user] = not _any(times, at, at + MONTH_MS) or _any(self._left.get(user, []), at, at + MONTH_MS)
        return found


def _any(times: Iterable[int], start: int, end: int) -> bool:
    return any(start <= one < end for one in times)


def area(pairs: Sequence[Pair]) -> Fraction | None:
    """Of all pairs of one to whom it happened and one to whom not: how many are in order, those that tie as half."""
    happened = [said for said, true in pairs if true]
    others = sorted(said for said, true in pairs if not true)
    if not happened or not others:
        return None
    twice = sum(bisect_left(others, said) + bisect_right(others, said) for said in happened)
    return Fraction(twice, 2 * len(happened) * len(others))


def measures(pairs: Sequence[Pair]) -> dict[str, tuple[float, int]]:
    """Every measure with how many labels it is of; absent where there is nothing to measure."""
    n, found = len(pairs), {}
    if (auc := area(pairs)) is not None:
        found["auc"] = (float(auc), n)
    losses = [-math.log(said if true else 1 - said) for said, true in pairs]
    found["log_loss"] = (math.fsum(losses) / n, n)
    found["brier"] = (math.fsum((said - true) ** 2 for said, true in pairs) / n, n)
    found["base_rate"] = (sum(true for _, true in pairs) / n, n)
    found["mean_probability"] = (math.fsum(said for said, _ in pairs) / n, n)
    found["labelled"] = (float(n), n)
    off = 0.0
    for number in range(10):
        low, high = number / 10, (number + 1) / 10
        inside = [(said, true) for said, true in pairs if low <= said < high or (said == high == 1)]
        if inside:
            predicted = math.fsum(said for said, _ in inside) / len(inside)
            observed = sum(true for _, true in inside) / len(inside)
            found[f"calibration_bin_{number}_predicted"] = (predicted, len(inside))
            found[f"calibration_bin_{number}_observed"] = (observed, len(inside))
            off += len(inside) * abs(predicted - observed)
    found["calibration_error"] = (off / n, n)
    return found
