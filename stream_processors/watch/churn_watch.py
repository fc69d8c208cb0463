"""The churn model at work: the daily round of each tenant, and fresh scores for users who were just active.

Reads: `events` (features and labels by SQL), `user_state`. Writes: `predictions`, `evaluations`, `rounds`, and the
taxonomy's own `model_inference_completed` events. On failure: a passing fault puts the round off; a day that was not
stored is repeated.

A round counts what was received before a moment until which everything is stored, and notes that moment in `rounds`. So
what it says follows from the events alone, and `headrace replay` gives it again though late events have come since. The
fresh scores of users just active are not part of that record: they are about the moment at which somebody looked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from online_models.churn import ChurnModel
from schemas.clock import Clock
from schemas.errors import Permanent, Retryable
from stream_processors.insights.churn_runner import ChurnRunner, DayResult
from stream_processors.insights.feature_source import WarehouseFeatures
from stream_processors.insights.features import label_predictions_statement
from stream_processors.metrics import WorkerMetrics
from stream_processors.ports import PublisherPort, WarehousePort
from stream_processors.routes import Background
from stream_processors.settings import WatcherSettings
from stream_processors.sql import Roles, moment, text
from stream_processors.watch.tenants import OLD_SECONDS, QUIET_SECONDS, ROUND_DELAY_SECONDS, Tenants, is_being_filled

log = logging.getLogger("headrace.churn")

STORED_SECONDS = 5.0
"""What was received longer ago than this counts as stored, where nobody can say."""

DAY_MS = 86_400_000
PUBLISH_WITHIN = 29 * 86400.0

NewRunner = Callable[[str, WarehouseFeatures], ChurnRunner]


class ChurnWatch:
    """All tenants' churn models. `new_runner` makes the runner of a tenant, with its snapshot store."""

    def __init__(
        self,
        settings: WatcherSettings,
        packs: Mapping[str, Roles],
        warehouse: WarehousePort,
        publisher: PublisherPort,
        new_runner: NewRunner,
        clock: Clock,
        metrics: WorkerMetrics,
        *,
        stopping: Callable[[], bool] = lambda: False,
        stored_until: Callable[[], float] | None = None,
    ) -> None:
        """`stopping`: asked between days, so that a long round does not hold up the end of the process.

        `stored_until`: a moment (Unix seconds) such that all events received before it are stored; may block.
        """
        self._stopping = stopping
        self._stored_until = stored_until or (lambda: clock.now() - STORED_SECONDS)
        self._settings, self._packs, self._warehouse, self._publisher = settings, packs, warehouse, publisher
        self._new_runner, self._clock, self._metrics, self._tenants = new_runner, clock, metrics, Tenants(warehouse)
        self._runners: dict[str, ChurnRunner] = {}
        self._looked: dict[str, float] = {}

    def background(self) -> tuple[Background, ...]:
        """The look for closed days and active users."""
        return (Background("churn", self._settings.churn_seconds, self.look),)

    def look(self) -> None:
        """One look at every tenant; a passing fault is logged and left for the next."""
        try:
            for tenant, pack in self._tenants.look():
                if self._stopping():
                    return
                if pack in self._packs and self._packs[pack].get("activity"):
                    self._look_at(tenant, pack)
        except Retryable as error:
            self._metrics.retried("churn")
            log.warning("the churn round is put off: %s", error)
        except Permanent as error:
            self._metrics.retried("churn_refused")
            log.error("the churn round failed: %s", error)

    def _look_at(self, tenant: str, pack: str) -> None:
        now = self._clock.now()
        runner = self._runners.get(tenant)
        if runner is None:
            runner = self._new_runner(tenant, WarehouseFeatures(self._warehouse.query, self._packs[pack]))
            self._runners[tenant] = runner
        if is_being_filled(self._warehouse, tenant, now):
            return
        if self._was_filled(tenant, runner):
            log.info("history of %s was filled in; its churn model starts again from the first day", tenant)
            runner.restart()
        looked, self._looked[tenant] = self._looked.get(tenant, now - self._settings.churn_seconds), now
        due = now - ROUND_DELAY_SECONDS
        if runner.is_due(due):
            for result in runner.tick(due, round(self._stored_until(), 3)):
                store_day(self._warehouse, self._packs[pack], tenant, result)
                if result.as_of > now - PUBLISH_WITHIN:
                    self._publisher.publish(tenant, result.events)
                if self._stopping():
                    return
        self._rescore(tenant, runner, looked, now)

    def _was_filled(self, tenant: str, runner: ChurnRunner) -> bool:
        looked = self._looked.get(tenant)
        if runner.last_day is None or looked is None:
            return False
        return bool(
            self._warehouse.query(
                f"SELECT 1 AS one FROM events WHERE tenant = {text(tenant)} AND backfill"
                f" AND timestamp < {moment(runner.last_day - OLD_SECONDS)}"
                f" AND inserted_at >= {moment(looked - QUIET_SECONDS)} LIMIT 1"
            )
        )

    def _rescore(self, tenant: str, runner: ChurnRunner, looked: float, now: float) -> None:
        if not self._settings.rescore_users or runner.last_day is None or round(now * 1000) % DAY_MS == 0:
            return  # a midnight belongs to the daily round
        rows = self._warehouse.query(
            f"SELECT user_id FROM user_state FINAL WHERE tenant = {text(tenant)}"
            f" AND last_active >= {moment(looked - QUIET_SECONDS)} ORDER BY last_active DESC"
            f" LIMIT {self._settings.rescore_users}"
        )
        predictions, events = runner.rescore([row["user_id"] for row in rows], now)
        self._warehouse.insert_lines("predictions", _lines(predictions))
        self._publisher.publish(tenant, events)


def store_day(warehouse: WarehousePort, roles: Roles, tenant: str, result: DayResult) -> None:
    """Write one day of a tenant; writing it again changes nothing. The round's own row comes last."""
    warehouse.insert_lines("predictions", _lines(result.predictions))
    warehouse.insert_lines("evaluations", _lines(result.evaluations))
    if result.labelled_as_of is not None:
        statement = label_predictions_statement(roles, tenant, ChurnModel.name, result.labelled_as_of, result.known_by)
        warehouse.command(statement.sql, statement.params)
    times = {name: getattr(result, name) for name in ("as_of", "since", "known_by")}
    row = {"tenant": tenant, "model": ChurnModel.name, **times, "version": round(result.known_by * 1000)}
    warehouse.insert_lines("rounds", _lines([row]))


def _lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)
