"""Wiring of the watcher: series, alert rules, churn, notifications and Faust around `Watcher`."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from deploy.barrier import StoredUntil
from deploy.kafka_lag import KafkaLag
from deploy.parts import group_of
from deploy.probes import DataDisk, Pages
from deploy.publisher import Emitter, make_publisher
from deploy.rollups.statements import RollupStatements
from deploy.settings import Settings
from online_models.snapshots import SnapshotStore
from schemas.alerting.channels import SHIPPED as SHIPPED_CHANNELS
from schemas.alerting.channels import load_channels
from schemas.alerting.readings import Reading
from schemas.alerting.rules import SHIPPED as SHIPPED_RULES
from schemas.alerting.rules import Rules, load_rules
from schemas.clock import Clock, SystemClock, random_u32
from schemas.errors import ConfigError, Retryable
from schemas.metrics import shipped_dictionary
from schemas.segments import shipped_patterns
from schemas.taxonomy import Pack, shipped_packs
from schemas.topics import EVENTS, REJECTED
from sinks.notification_store import NotificationStore
from sinks.notify import Notifier, build_targets
from sinks.warehouse import Warehouse
from stream_processors.faust_app import run_app
from stream_processors.insights.anomaly_runner import AnomalyRunner
from stream_processors.insights.churn_runner import ChurnRunner
from stream_processors.metrics import WorkerMetrics
from stream_processors.ports import PublisherPort
from stream_processors.settings import addresses
from stream_processors.sql import Roles
from stream_processors.watch.anomaly_watch import AnomalyWatch
from stream_processors.watch.churn_watch import ChurnWatch
from stream_processors.watch.conflicts import ConflictWatch
from stream_processors.watch.installation import Installation, InstallationPorts
from stream_processors.watch.ledger_gauges import LedgerGauges
from stream_processors.watch.operations import Operations
from stream_processors.watch.reconcile import SIGNAL, Reconciler
from stream_processors.watch.rollup_watch import RollupWatch
from stream_processors.watch.segment_watch import SegmentWatch
from stream_processors.watch.series import KINDS
from stream_processors.watch.watcher import Watcher, WatcherPorts

log = logging.getLogger("headrace.wiring")

START_WAIT_SECONDS = 0.5


def run_watcher(settings: Settings) -> None:
    """Run the watcher until SIGTERM (blocks)."""
    clock = SystemClock()
    metrics = WorkerMetrics("watch")
    metrics.serve(settings.worker.metrics_port, settings.worker.metrics_host)
    packs = shipped_packs()
    roles = {name: pack.roles for name, pack in packs.items()}
    warehouse = Warehouse(settings.warehouse)
    publisher = make_publisher(settings, packs, clock)
    anomalies = AnomalyRunner(KINDS, store=SnapshotStore(settings.data_dir / "snapshots" / "anomalies"))
    rules = load_rules(
        settings.watcher.rules_file or SHIPPED_RULES, metrics=[metric.id for metric in shipped_dictionary().metrics]
    )
    notifier = _make_notifier(settings, warehouse, rules, clock)
    installation = _make_installation(settings, warehouse, rules, clock, metrics)
    reconciler = _make_reconciler(settings, warehouse, rules, clock, metrics)

    def readings() -> Sequence[Reading]:
        return (*installation.readings(), *reconciler.readings())

    ports = WatcherPorts(warehouse, publisher, notifier, clock, readings)
    watcher = Watcher(settings.watcher, rules, roles, ports, anomalies, metrics)
    stopping = threading.Event()
    stored_until = StoredUntil(settings.kafka.bootstrap, group_of(settings, "events"), (EVENTS,), clock)
    churn = _make_churn(settings, warehouse, roles, publisher, stored_until, clock, metrics, stopping)
    segments = _make_segments(settings, warehouse, packs, publisher, stored_until, clock, metrics, stopping)
    rollups = _make_rollups(settings, warehouse, packs, clock, metrics, stopping)
    operations = _make_operations(settings, warehouse, clock)
    record = AnomalyWatch(roles, warehouse, clock, metrics, stored_until)
    corrections = Emitter(settings.kafka.bootstrap)
    conflicts = ConflictWatch(settings.watcher, warehouse, corrections, clock, metrics)
    _patiently(lambda: notifier.recover(watcher.restore()), clock)
    routes = watcher.routes(settings.worker)
    background = [
        *watcher.background(),
        *installation.background(),
        *reconciler.background(),
        *churn.background(),
        *segments.background(),
        *rollups.background(),
        *operations.background(),
        *record.background(),
        *conflicts.background(),
    ]
    try:
        run_app("watch", settings.worker, routes, background, clock, metrics, stopping=stopping, many_objects=False)
    finally:
        notifier.close()
        publisher.close()


def _make_churn(
    settings: Settings,
    warehouse: Warehouse,
    roles: Mapping[str, Roles],
    publisher: PublisherPort,
    stored_until: Callable[[], float],
    clock: Clock,
    metrics: WorkerMetrics,
    stopping: threading.Event,
) -> ChurnWatch:
    snapshots = settings.data_dir / "snapshots" / "churn"
    return ChurnWatch(
        settings.watcher,
        roles,
        warehouse,
        publisher,
        lambda tenant, source: ChurnRunner(tenant, source, SnapshotStore(snapshots / tenant)),
        clock,
        metrics,
        stopping=stopping.is_set,
        stored_until=stored_until,
    )


def _make_segments(
    settings: Settings,
    warehouse: Warehouse,
    packs: Mapping[str, Pack],
    publisher: PublisherPort,
    stored_until: Callable[[], float],
    clock: Clock,
    metrics: WorkerMetrics,
    stopping: threading.Event,
) -> SegmentWatch:
    patterns = shipped_patterns()
    return SegmentWatch(
        settings.watcher,
        packs,
        patterns,
        warehouse,
        publisher,
        clock,
        metrics,
        stored_until=stored_until,
        stopping=stopping.is_set,
    )


def _make_rollups(
    settings: Settings,
    warehouse: Warehouse,
    packs: Mapping[str, Pack],
    clock: Clock,
    metrics: WorkerMetrics,
    stopping: threading.Event,
) -> RollupWatch:
    statements = RollupStatements()
    return RollupWatch(settings.watcher, packs, statements, warehouse, clock, metrics, stopping=stopping.is_set)


def _make_operations(settings: Settings, warehouse: Warehouse, clock: Clock) -> Operations:
    urls, tenant = addresses(settings.watcher.apis), settings.watcher.operator_tenant
    return Operations(Pages(), urls, tenant, warehouse, clock)


def _make_installation(
    settings: Settings, warehouse: Warehouse, rules: Rules, clock: Clock, metrics: WorkerMetrics
) -> Installation:
    lag = KafkaLag(settings.kafka.bootstrap, group_of(settings, "events"), (EVENTS, REJECTED), clock)
    ports = InstallationPorts(warehouse, lag, Pages(), DataDisk(settings.data_dir), clock)
    return Installation(settings.watcher, rules, ports, metrics)


def _make_reconciler(
    settings: Settings, warehouse: Warehouse, rules: Rules, clock: Clock, metrics: WorkerMetrics
) -> Reconciler:
    windows = {window for signal, window, dimension in rules.needed() if (signal, dimension) == (SIGNAL, "tenant")}
    gauges, seconds = LedgerGauges(metrics.registry), settings.watcher.reconcile_seconds
    return Reconciler(warehouse, windows, clock, gauges, seconds)


def _make_notifier(settings: Settings, warehouse: Warehouse, rules: Rules, clock: Clock) -> Notifier:
    secrets = _secrets(settings)
    channels = load_channels(settings.watcher.channels_file or SHIPPED_CHANNELS, secrets.keys(), rules)
    targets = build_targets(channels, secrets, clock, settings.notify)
    store = NotificationStore(warehouse, clock)
    return Notifier(targets, store, clock, random_u32(), settings.notify)


def _secrets(settings: Settings) -> dict[str, str]:
    key = "HEADRACE_WATCHER_ALERT_SECRETS"
    try:
        secrets = json.loads(settings.watcher.alert_secrets.get_secret_value())
    except json.JSONDecodeError as error:
        raise ConfigError(f"this is no JSON object: position {error.pos}", key=key) from None
    if not isinstance(secrets, dict) or not all(isinstance(value, str) for value in secrets.values()):
        raise ConfigError("write a JSON object of name and secret, both text", key=key)
    return secrets


def _patiently(call: Callable[[], None], clock: Clock) -> None:
    """Call until the warehouse answers."""
    while True:
        try:
            return call()
        except Retryable as error:
            log.warning("waiting for the warehouse: %s", error)
            clock.sleep(START_WAIT_SECONDS)
