"""What the API says against what the simulator knows: the ledger, the rejections, and metrics to the last digit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import httpx

from deploy.simulator.faults import ACCEPTED, DUPLICATE, LATE
from deploy.simulator.truth import Tally
from schemas.clock import Clock
from schemas.wire import MICROS

BASE: Final = "/api/v1/analytics"


@dataclass(frozen=True)
class Line:
    """One compared number. `spare`: how much `got` may be above `wanted`."""

    what: str
    wanted: float
    got: float | None
    spare: float = 0

    @property
    def right(self) -> bool:
        return self.got is not None and self.wanted <= self.got <= self.wanted + self.spare


class Api:
    """The few reads that are needed, with a secret key."""

    def __init__(self, url: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=30.0, trust_env=False)

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """The object at `path`; raises httpx.HTTPError."""
        answer = self._client.get(BASE + path, params=params)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


def ledger_lines(pipeline: Mapping[str, Any], tally: Tally, uncertain: int, *, own: bool = True) -> list[Line]:
    """The pipeline object against the tally.

    `own`: its own events (predictions, anomalies) count too, and it may say one of them again under the same id.
    """
    rejected = pipeline["rejected"]
    lost = pipeline["received"] - pipeline["accepted"] - sum(rejected.values())
    unstored = pipeline["accepted"] - pipeline["stored"] - pipeline["duplicates"]
    good = tally.fates[ACCEPTED] + tally.fates[LATE] + tally.fates[DUPLICATE]
    spare = float("inf") if own else uncertain
    said_again = max(0, pipeline["stored"] - tally.stored) if own else 0
    lines = [
        Line("received - accepted - rejected", 0, lost),
        Line("accepted - stored - duplicates", 0, unstored),
        Line("accepted", good, pipeline["accepted"], spare),
        Line("stored", tally.stored, pipeline["stored"], float("inf") if own else 0),
        Line("duplicates", tally.fates[DUPLICATE], pipeline["duplicates"], uncertain + said_again),
        Line("late", tally.fates[LATE], pipeline["late"]),
    ]
    reasons = sorted(rejected.keys() | tally.reasons.keys())
    return lines + [
        Line(f"rejected: {reason}", tally.reasons[reason], rejected.get(reason, 0), uncertain) for reason in reasons
    ]


def metric_lines(api: Api, tally: Tally, start: str, end: str) -> list[Line]:
    """Metrics over everything against the tally, numerator and denominator."""
    totals = tally.totals

    def money(name: str) -> float:
        return float(Fraction(totals[name], MICROS))

    wanted = {
        "impressions": (totals["impressions"], None),
        "ctr": (totals["clicks"], totals["impressions"]),
        "purchases": (totals["purchases"], None),
        "revenue": (money("revenue_micros"), None),
        "aov": (money("revenue_micros"), totals["purchases"]),
        "roas": (money("campaign_revenue_micros"), money("spend_micros")),
        "cpc": (money("spend_micros"), totals["clicks"]),
    }
    lines = []
    for metric, (numerator, denominator) in wanted.items():
        answer = api.get(f"/metrics/{metric}", start=start, end=end)
        lines.append(Line(f"{metric} numerator", numerator, answer["numerator"]))
        if denominator is not None:
            lines.append(Line(f"{metric} denominator", denominator, answer["denominator"]))
    return lines


def type_lines(api: Api, tally: Tally, start: str, end: str) -> list[Line]:
    """Stored events of every type that the simulator sends, exactly."""
    answer = api.get("/metrics/events", start=start, end=end, group_by="event_type", limit=100)
    found = {group["group"]: group["value"] for group in answer["groups"]}
    return [Line(f"stored {name}", wanted, found.get(name, 0)) for name, wanted in sorted(tally.types.items())]


class Comparison:
    """Asks until the answers are right, or `patience` seconds are over: the last events need a moment to arrive."""

    def __init__(self, api: Api, clock: Clock, *, patience: float = 30.0) -> None:
        self._api, self._clock, self._patience = api, clock, patience

    def lines(self, tally: Tally, uncertain: int, received: tuple[str, str], happened: tuple[str, str]) -> list[Line]:
        """Everything compared. `received` and `happened`: ISO ranges of receipt and of event time."""
        until = self._clock.monotonic() + self._patience
        while True:
            pipeline = self._api.get("/pipeline", start=received[0], end=received[1])
            found = ledger_lines(pipeline, tally, uncertain)
            if all(line.right for line in found):
                found += metric_lines(self._api, tally, *happened) + type_lines(self._api, tally, *happened)
            if all(line.right for line in found) or self._clock.monotonic() >= until:
                return found
            self._clock.sleep(0.5)
