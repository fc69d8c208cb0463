"""The daily rounds of the churn model again: the same days, each with what was known when it was run.

Reads: `rounds` of the live database (which days the present run of each tenant's model had, and what was known), the
events of the replay's. Writes: `predictions`, `evaluations` and `rounds` there, through the watcher's own code.
A tenant without any recorded round is run from its first day on, knowing everything that is stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from deploy.replay.request import Span
from online_models.churn import ChurnModel
from online_models.snapshots import SnapshotStore
from sinks.warehouse import Warehouse
from stream_processors.insights.churn_runner import DAY, ChurnRunner, DayResult
from stream_processors.insights.feature_source import WarehouseFeatures
from stream_processors.sql import Roles, text
from stream_processors.watch.churn_watch import store_day

Tell = Callable[[int, int], None]


class Round(NamedTuple):
    """One day of a run of the model. Times: Unix seconds."""

    as_of: float
    since: float
    known_by: float


class ModelReplay:
    """All tenants' models. `run` blocks; `now` (Unix seconds) is where models without recorded rounds end."""

    def __init__(self, live: Warehouse, shadow: Warehouse, roles: Mapping[str, Roles]) -> None:
        self._live, self._shadow, self._roles = live, shadow, roles
        self._runners: dict[str, ChurnRunner] = {}

    def run(self, span: Span, now: float, tell: Tell) -> None:
        """Run every round up to the span's end: those before its beginning have to be learnt from, too."""
        tenants = self._tenants()
        for number, (tenant, pack) in enumerate(tenants):
            self._tenant(tenant, self._roles[pack], span, now)
            tell(number + 1, len(tenants))

    def save_snapshots(self, folder: Path) -> None:
        """Leave the models where the watcher looks for them when it starts. Raises `Retryable`."""
        for tenant, runner in self._runners.items():
            runner.save(SnapshotStore(folder / tenant))

    def _tenants(self) -> list[tuple[str, str]]:
        rows = self._shadow.query("SELECT tenant, any(pack) AS pack FROM events WHERE tenant != '' GROUP BY tenant")
        found = sorted((str(row["tenant"]), str(row["pack"])) for row in rows)
        return [(tenant, pack) for tenant, pack in found if self._roles.get(pack, {}).get("activity")]

    def _tenant(self, tenant: str, roles: Roles, span: Span, now: float) -> None:
        runner = ChurnRunner(tenant, WarehouseFeatures(self._shadow.query, roles))
        for result in _results(runner, self._rounds(tenant, now), span):
            store_day(self._shadow, roles, tenant, result)
        self._runners[tenant] = runner

    def _rounds(self, tenant: str, now: float) -> list[Round]:
        """The days of the present run, in order; of no recorded run, one question for all days until now."""
        rows = self._live.query(
            f"SELECT as_of, since, known_by FROM rounds FINAL WHERE tenant = {text(tenant)}"
            f" AND model = {text(ChurnModel.name)} ORDER BY as_of"
        )
        rounds = [Round(float(row["as_of"]), float(row["since"]), float(row["known_by"])) for row in rows]
        if not rounds:
            return [Round(now // DAY * DAY, math.nan, now)]
        return [one for one in rounds if one.since == rounds[-1].since]


def _results(runner: ChurnRunner, rounds: list[Round], span: Span) -> Iterator[DayResult]:
    for one in rounds:
        if one.as_of < span.end:
            since = one.since if math.isfinite(one.since) else None
            yield from runner.tick(one.as_of, one.known_by, since)
