"""The watcher: one process that sees the window cells of all workers.

Reads: `headrace.rollups`; on start `windows` and `alerts`, later `windows` of old minutes that changed; every other
second sums of `ledger` and `events`. Writes: `anomalies`, `alerts`, `data_quality`, notifications, and the taxonomy's
own `anomaly_detected` events. Guarantee: what it writes is keyed by what it is about, so saying it twice changes
nothing. On failure: with the warehouse or Kafka away it keeps what it has to say, in order, and says it when they are
back; cells come again after a restart.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import orjson

from schemas import topics
from schemas.alerting.incident import AlertRow, Kind
from schemas.alerting.readings import Reading
from schemas.alerting.rules import Rules
from schemas.clock import Clock
from schemas.errors import Permanent, Retryable
from schemas.wire import WindowCell, encode_lines
from stream_processors.alerting.engine import AlertEngine, Transition
from stream_processors.checkpoints import last_swap
from stream_processors.insights.anomaly_runner import AnomalyRunner
from stream_processors.metrics import WorkerMetrics
from stream_processors.outbox import Outbox
from stream_processors.ports import PublisherPort, Record, WarehousePort
from stream_processors.routes import Background, Route, Store
from stream_processors.settings import ProcessorSettings, WatcherSettings
from stream_processors.sql import Roles, moment
from stream_processors.watch.board import KEEP_SECONDS, Board
from stream_processors.watch.metric_readings import metric_readings
from stream_processors.watch.quality import SLOWER, Quality
from stream_processors.watch.series import HISTORY_SECONDS, history, points

log = logging.getLogger("headrace.watcher")

ANOMALY_WINDOW = 60.0
ACTION_OVERLAP_SECONDS = 30.0
QUALITY_ROW_SECONDS = 10.0
SNAPSHOT_SECONDS = 60.0
SWAP_SECONDS = 10.0
MISSED_SECONDS = 2.0
ALL_EVENTS = "events"
SPECIFIC_SECONDS = 900.0
"""For this long after an anomaly of one metric, the same in the sum of all events is no news."""


class NotifierPort(Protocol):
    """Tells channels; never blocks."""

    def notify(self, kind: Kind, row: AlertRow) -> int: ...


def _nothing() -> Sequence[Reading]:
    return ()


@dataclass(frozen=True)
class WatcherPorts:
    """What the watcher is wired to. `installation`: readings about the installation itself, without blocking."""

    warehouse: WarehousePort
    publisher: PublisherPort
    notifier: NotifierPort
    clock: Clock
    installation: Callable[[], Sequence[Reading]] = _nothing


class Watcher:
    """Everything of the watcher but Kafka and churn. Handlers run in threads; one lock guards what they share."""

    def __init__(
        self,
        settings: WatcherSettings,
        rules: Rules,
        packs: Mapping[str, Roles],
        ports: WatcherPorts,
        anomalies: AnomalyRunner,
        metrics: WorkerMetrics,
    ) -> None:
        self._settings, self._rules, self._packs, self._ports = settings, rules, packs, ports
        self._anomalies, self._metrics = anomalies, metrics
        self._board = Board(packs.values())
        self._quality = Quality(ports.warehouse, packs)
        self._engine = AlertEngine(rules, settings.base_url)
        self._outbox = Outbox(ports.warehouse, ports.publisher)
        self._decoder = msgspec.json.Decoder(WindowCell)
        self._lock = threading.Lock()
        self._old: tuple[float, float] | None = None
        self._specific: dict[tuple[str, str], float] = {}
        self._quality_readings: dict[int, list[Reading]] = {}
        self._due: dict[str, float] = {}
        self._actions_since = 0.0
        self._epoch = 0
        self._ended: list[Transition] = []

    def routes(self, settings: ProcessorSettings) -> tuple[Route, ...]:
        """The rollups topic."""
        return (
            Route(topics.ROLLUPS, self.handle_rollups, lambda _: None, settings.take_chunks, settings.take_seconds),
        )

    def background(self) -> tuple[Background, ...]:
        """The look at series and rules."""
        return (Background("evaluate", self._settings.evaluate_seconds, self.evaluate),)

    def restore(self) -> list[AlertRow]:
        """Take up where the stored rows leave off; returns open and lately resolved incidents. Raises `Retryable`."""
        now = self._ports.clock.now()
        self._epoch = last_swap(self._ports.warehouse)
        self._load_windows(now)
        rows = self._ports.warehouse.query(
            f"SELECT * FROM alerts FINAL WHERE state != 'resolved' OR updated_at >= {moment(now - 86400)}"
        )
        self._ended = self._engine.restore(rows, now)
        self._actions_since = now - 86400
        return [msgspec.convert({name: row[name] for name in AlertRow.__struct_fields__}, AlertRow) for row in rows]

    def _load_windows(self, now: float) -> None:
        """Have what the table says on a fresh board and in the series."""
        cells = self._stored_cells(f"minute >= {int(now) - KEEP_SECONDS}")
        self._board = Board(self._packs.values())
        self._board.recount((), cells, now)
        self._anomalies.restore(history(self._ports.warehouse, self._packs.values(), now - HISTORY_SECONDS, now + 3600))

    def _stored_cells(self, where: str) -> list[WindowCell]:
        found = self._ports.warehouse.query_bytes(
            f"SELECT * REPLACE (toUnixTimestamp(minute) AS minute) FROM windows FINAL WHERE {where} AND tenant != ''",
            "JSONEachRow",
        )
        return self._decoder.decode_lines(found)

    def _follow_swap(self, now: float) -> None:
        """Read the windows again when the table was exchanged for a rebuilt one (`deploy.replay`)."""
        epoch = last_swap(self._ports.warehouse)
        if epoch != self._epoch:
            log.info("the windows were exchanged for rebuilt ones; reading them again")
            with self._lock:
                self._load_windows(now)
            self._epoch = epoch

    def handle_rollups(self, records: Sequence[Record]) -> Store:
        """Put cells on the board and their minutes into the series."""
        now = self._ports.clock.now()
        with self._lock:
            for record in records:
                try:
                    cells = self._decoder.decode_lines(record.value)
                except msgspec.DecodeError as error:
                    log.error("rollups at offset %d are unreadable, left out: %s", record.offset, error)
                    continue
                self._note_old(cells, now)
                self._anomalies.restore(points(self._board.update(cells, now)))
        return lambda: None

    def evaluate(self) -> None:
        """One look; a passing fault is logged and the look goes on at the next."""
        try:
            self._evaluate(self._ports.clock.now())
        except Retryable as error:
            self._metrics.retried("evaluate")
            log.warning("the look at alerts is put off: %s", error)
        except Permanent as error:
            self._metrics.retried("evaluate_refused")
            log.error("a look at alerts failed: %s", error)

    def _evaluate(self, now: float) -> None:
        if self._is_due("swap", SWAP_SECONDS, now):
            self._follow_swap(now)
        with self._lock:
            self._fill_history()
            if self._is_due("missed", MISSED_SECONDS, now):
                self._count_missed(now)
            ended, self._ended = self._ended, []
            found = self._anomalies.evaluate(now)
            readings = list(metric_readings(self._board, self._rules.needed(), now))
        self._outbox.add("anomalies", b"".join(orjson.dumps(row) + b"\n" for row in found.rows))
        readings += self._anomaly_readings(found.rows, now)
        readings += [*self._known_quality(), *self._ports.installation()]
        self._tell([*ended, *self._engine.observe(readings, now)])
        tenants = {row["anomaly_id"]: row["tenant"] for row in found.rows}
        for event in found.events:
            self._outbox.publish(tenants[event["properties"]["anomaly_id"]], [event])
        self._outbox.send()
        self._fold_actions(now)
        self._read_quality(now)
        if self._is_due("snapshot", SNAPSHOT_SECONDS, now):
            with self._lock:
                self._anomalies.snapshot(now)
            self._metrics.state({"cells": len(self._board), "series": self._anomalies.series})

    def _anomaly_readings(self, rows: Sequence[Mapping[str, Any]], now: float) -> list[Reading]:
        """Readings of anomalies worth an alert. What shows in one metric shows in the sum of all events, too: once is
        enough."""
        worth = [row for row in rows if row["severity"] in ("critical", "warning")]
        for row in worth:
            if row["metric_id"] != ALL_EVENTS:
                self._specific[row["tenant"], row["type"]] = now
        return [
            _anomaly_reading(row)
            for row in worth
            if row["metric_id"] != ALL_EVENTS
            or now - self._specific.get((row["tenant"], row["type"]), 0.0) > SPECIFIC_SECONDS
        ]

    def _read_quality(self, now: float) -> None:
        """Refresh the readings that are asked of the warehouse, the costly ones less often."""
        for times in sorted({1, *SLOWER.values()}):
            if self._is_due(f"quality {times}", times * self._settings.quality_seconds, now):
                needed = {one for one in self._rules.needed() if SLOWER.get(one[0], 1) == times}
                self._quality_readings[times] = self._quality.readings(needed, now)
        if self._is_due("quality rows", QUALITY_ROW_SECONDS, now):
            rows = self._quality.rows(self._known_quality(), now)
            self._ports.warehouse.insert_lines("data_quality", encode_lines(rows))

    def _known_quality(self) -> list[Reading]:
        return [reading for readings in self._quality_readings.values() for reading in readings]

    def _tell(self, transitions: Sequence[Transition]) -> None:
        """Store incidents, then tell the channels: an alert that was sent is one that can be found."""
        if not transitions:
            return
        self._outbox.add("alerts", encode_lines(transition.row for transition in transitions))
        self._outbox.after(lambda: self._notify(transitions))
        self._outbox.send()

    def _notify(self, transitions: Sequence[Transition]) -> None:
        for transition in transitions:
            log.warning("alert %s: %s", transition.kind.value, transition.row.title)
            if transition.notify:
                self._ports.notifier.notify(transition.kind, transition.row)

    def _fold_actions(self, now: float) -> None:
        rows = self._ports.warehouse.query(
            "SELECT tenant, event_type, user_id, properties, toFloat64(received_at) AS received_at FROM events FINAL"
            " WHERE event_type IN ('alert_acknowledged', 'alert_resolved')"
            f" AND inserted_at >= {moment(self._actions_since)} ORDER BY events.received_at"
        )
        self._actions_since = now - ACTION_OVERLAP_SECONDS
        for row in rows:
            event: dict[str, Any] = {**row, "properties": orjson.loads(row["properties"])}
            self._tell(self._engine.fold_action(event))

    def _note_old(self, cells: Sequence[WindowCell], now: float) -> None:
        """Minutes that are too old for the board (a backfill) come from the table, in one go."""
        old = [cell.minute for cell in cells if now - HISTORY_SECONDS <= cell.minute < now - KEEP_SECONDS]
        if old:
            first, last = self._old or (float("inf"), 0.0)
            self._old = (min(first, *old), max(last, *old) + 60)

    def _fill_history(self) -> None:
        if self._old is not None:
            self._anomalies.restore(history(self._ports.warehouse, self._packs.values(), *self._old))
            self._old = None

    def _count_missed(self, now: float) -> None:
        """Minutes of which the board keeps no cells come from the table, too."""
        minutes = sorted(self._board.missed)
        if minutes:
            cells = self._stored_cells(f"minute IN ({','.join(map(str, minutes))})")
            self._anomalies.restore(points(self._board.recount(minutes, cells, now)))

    def _is_due(self, what: str, every: float, now: float) -> bool:
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + every
        return True


def _anomaly_reading(row: Mapping[str, Any]) -> Reading:
    evidence = {
        name: row[name] for name in ("anomaly_id", "type", "expected", "actual", "deviation", "score", "bucket")
    }
    name = ":".join(part for part in (row["metric_id"], row["dimension"]) if part)
    return Reading(
        row["tenant"],
        "anomaly",
        f"series:{name}",
        ANOMALY_WINDOW,
        abs(float(row["deviation"])),
        1,
        float(row["detected_at"]),
        evidence,
        row["severity"],
    )
