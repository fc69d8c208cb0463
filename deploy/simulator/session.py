"""One demo on one data directory: history first (once for ever), then live, then the comparison with the truth.

`ground_truth.json` carries: `plan`, `history` (sending or complete), `first_receipt` (Unix seconds), `incident` and
`anomalies` (kind, from, to: Unix seconds), `campaigns`, `churners`, `segments` (true for history and the latest run),
`tally` (exact totals of all runs), `uncertain` (events that a retry may have sent twice), `runs`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from deploy.backfill.connect import gateway
from deploy.backfill.runner import Report
from deploy.settings import Settings
from deploy.simulator.comparison import Api, Comparison, Line
from deploy.simulator.feed import LiveFeed, send_history
from deploy.simulator.http_door import HttpDoor
from deploy.simulator.profiles import DAY, Plan
from deploy.simulator.simulation import Simulation
from deploy.simulator.stage import Clockwork
from deploy.simulator.truth import Truth
from schemas.clock import Clock
from schemas.keys import DEV_SECRET_KEY, DEV_WRITE_KEY

FOLDER: Final = "truth"
SETTLE_SECONDS: Final = 60.0
_PUMP_SECONDS: Final = 0.1
_SAVE_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Wishes:
    """What the user asked for. `duration`: seconds of live stream, None for ever. `plan.end` is filled in here."""

    plan: Plan
    duration: float | None = None


class Session:
    """Use as: `open`, `history`, `live`, `compare`, `close`. Times of the truth are event times."""

    def __init__(self, settings: Settings, wishes: Wishes, clock: Clock) -> None:
        self._settings, self._wishes, self._clock = settings, wishes, clock
        self._feed: LiveFeed | None = None
        self.truth = Truth(settings.data_dir / FOLDER)
        self.known = self.truth.document.get("history") == "complete"
        begun = self.truth.document.get("plan")
        self.plan = _plan_of(begun) if begun else replace(wishes.plan, end=self._now())
        self.simulation = Simulation(self.plan)

    @property
    def feed(self) -> LiveFeed:
        """The live feed, once `live` has begun."""
        if self._feed is None:
            raise RuntimeError("the live stream has not begun")
        return self._feed

    def history(self, tell: Callable[[int], None]) -> Report | None:
        """Send the history, or go on after it when an earlier run has sent it (None). Raises Retryable."""
        if self.known:
            self._go_on()
            return None
        interrupted = "first_receipt" in self.truth.document
        first = self.truth.document.get("first_receipt", self._clock.now())
        self.truth.forget()
        self.truth.save(history="sending", first_receipt=first, plan=_plan_fields(self.plan))
        report = asyncio.run(self._send_history(tell))
        outage = self.plan.end - self.plan.outage[0], self.plan.end - self.plan.outage[1]
        incident = _moment("tracking_outage", *outage) | {"events_lost": self.simulation.suppressed}
        self.truth.save(history="complete", incident=incident)
        if interrupted:
            # The same plan gave the same events, so what had been sent before is a duplicate now.
            self.truth.uncertain += report.events
            self.simulation = Simulation(self.plan)
            self._go_on()
        else:
            self._begin_run()
        return report

    def _go_on(self) -> None:
        """Continue after an earlier run: its past is known, the stream starts afresh now."""
        self.simulation.resume(self._now(), self._wishes.plan.rate)
        self.plan = self.simulation.plan
        self._begin_run()

    def live(self, collector_url: str, tell: Callable[[LiveFeed], None], stopped: Callable[[], bool]) -> None:
        """Send the live stream until it was long enough or `stopped` says so. Raises Retryable or Permanent."""
        door = HttpDoor(collector_url, DEV_WRITE_KEY, self._clock)
        self._feed = LiveFeed(self.simulation, self.truth, door, self._clock)
        begin = saved = self._clock.monotonic()
        try:
            while not stopped() and not self._over(begin):
                self._feed.pump()
                tell(self._feed)
                if self._clock.monotonic() - saved >= _SAVE_SECONDS:
                    saved = self._clock.monotonic()
                    self._save()
                self._clock.sleep(_PUMP_SECONDS)
        finally:
            door.close()
            self._save()

    def compare(self, api_url: str) -> list[Line]:
        """Everything the API says against the truth. Raises httpx.HTTPError when the API does not answer."""
        api, iso, now = Api(api_url, DEV_SECRET_KEY), Clockwork().text, self._now()
        first = int(self.truth.document["first_receipt"] * 1000)
        try:
            return Comparison(api, self._clock, patience=SETTLE_SECONDS).lines(
                self.truth.tally,
                self.truth.uncertain,
                (iso(first), iso(now + 120_000)),
                (iso(self.plan.start - 400 * DAY), iso(now + 600_000)),
            )
        finally:
            api.close()

    def close(self) -> None:
        self.truth.close()

    @property
    def folder(self) -> Path:
        """Where the ground truth is."""
        return self.truth.folder

    async def _send_history(self, tell: Callable[[int], None]) -> Report:
        async with gateway(self._settings, self._clock) as door:
            return await send_history(self.simulation, self.truth, door, self._clock, tell)

    def _begin_run(self) -> None:
        runs = [*self.truth.document.get("runs", []), {"from": self.plan.end / 1000, "rate": self.plan.rate}]
        begin = self.plan.end + self.plan.anomaly_after
        anomaly = _moment("click_burst", begin, begin + self.plan.anomaly_for)
        anomaly["campaign_id"] = self.simulation.business.campaigns[0].id
        self.truth.save(runs=runs, anomalies=[*self.truth.document.get("anomalies", []), anomaly])

    def _save(self) -> None:
        now = self._now()
        runs: list[dict[str, Any]] = self.truth.document["runs"]
        runs[-1]["to"] = now / 1000
        self.truth.save(runs=runs, **self.simulation.business.summary(now))

    def _over(self, begin: float) -> bool:
        wanted = self._wishes.duration
        return wanted is not None and self._clock.monotonic() - begin >= wanted

    def _now(self) -> int:
        return int(self._clock.now() * 1000)


def _moment(kind: str, begin: int, end: int) -> dict[str, Any]:
    return {"kind": kind, "from": begin / 1000, "to": end / 1000}


def _plan_fields(plan: Plan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__}


def _plan_of(fields: dict[str, Any]) -> Plan:
    """Inverse of `_plan_fields` after JSON."""
    values: dict[str, Any] = {name: tuple(it) if isinstance(it, list) else it for name, it in fields.items()}
    return Plan(**values)
