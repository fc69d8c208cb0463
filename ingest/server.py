"""A collector process: listens, answers, and on SIGTERM stops accepting, finishes, drains and publishes its counts."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ingest.app import create_app
from ingest.collector import Collector
from ingest.gateway import Gateway
from ingest.metrics import CollectorMetrics
from ingest.producer import ChunkProducer, KafkaProducer, RecallingProducer
from ingest.settings import CollectorSettings
from ingest.spool.outlet import SpoolingOutlet
from ingest.spool.store import Spool
from ingest.steps import Validator
from schemas.clock import Clock, random_u32
from schemas.errors import ConfigError, Fatal, Retryable
from schemas.keys import KeyStore, Kind
from schemas.topics import EVENTS

_ASK_SECONDS = 5.0
_log = logging.getLogger(__name__)


def serve(
    settings: CollectorSettings, kafka: str, validators: Mapping[str, Validator], keys: KeyStore, clock: Clock
) -> None:
    """Run a collector until SIGTERM or SIGINT (blocks; call it on the main thread).

    `kafka`: bootstrap servers, `host:port` with commas between. Starts also while Kafka is away; then it answers 503
    or fills the spool. Raises ConfigError for keys of packs that are not loaded, Fatal when port or spool are taken.
    """
    _check_packs(keys, validators)
    spool = Spool(settings.spool.dir, settings.spool, clock) if settings.spool.dir else None
    # What the spool could take instead is never given up by the producer, and so stays in order.
    producer = KafkaProducer(kafka, settings.producer, 0 if spool else settings.gateway.deadline_seconds)
    partitions = _partitions(producer, settings.gateway.partitions)
    collector = build(settings, validators, keys, clock, producer, partitions, spool)
    run(collector, clock, listen(settings))


def build(
    settings: CollectorSettings,
    validators: Mapping[str, Validator],
    keys: KeyStore,
    clock: Clock,
    producer: RecallingProducer,
    partitions: int,
    spool: Spool | None = None,
) -> Collector:
    """The parts of a collector over any producer. With a `spool` it must be one that gives nothing up by itself."""
    metrics, limits = CollectorMetrics(settings.metric_tenants), settings.gateway
    outlet = SpoolingOutlet(producer, clock, limits, metrics, partitions, spool) if spool else None
    gateway = Gateway(
        validators, producer, clock, partitions, random_u32(), settings=limits, metrics=metrics, outlet=outlet
    )
    return Collector(settings, keys, gateway, producer)


def run(collector: Collector, clock: Clock, listener: socket.socket) -> None:
    """Answer on `listener` until a signal comes (blocks)."""
    settings = collector.settings

    class Protocol(BoundedHttp):
        head_limit = settings.head_bytes

    config = uvicorn.Config(
        create_app(collector, clock),
        http=Protocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        backlog=2048,
    )
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    host, port = listener.getsockname()[:2]
    _log.info("collector listens on http://%s:%d", host, port)
    with _quiet_signals():
        uvicorn.Server(config).run(sockets=[listener])


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol with a limit on the request line and headers, which the parser would buffer without end."""

    head_limit = 64 * 1024
    _in_head = True
    _head_size = 0

    def on_message_begin(self) -> None:
        self._in_head, self._head_size = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head:
            return
        self._head_size += len(data)
        if self._head_size > self.head_limit and not self.transport.is_closing():
            self.send_400_response("Request headers are too large.")


def _check_packs(keys: KeyStore, validators: Mapping[str, Validator]) -> None:
    for key in keys.all():
        if key.kind is Kind.WRITE and key.revoked_at is None and key.pack not in validators:
            loaded = ", ".join(sorted(validators))
            raise ConfigError(f"write key {key.id} names a pack that is not loaded; loaded are: {loaded}", key=key.pack)


def _partitions(producer: ChunkProducer, expected: int) -> int:
    """What Kafka says, or the setting while Kafka is away."""
    try:
        found = producer.partitions(EVENTS, _ASK_SECONDS)
    except Retryable as error:
        _log.warning("starting without Kafka, with %d partitions as set: %s", expected, error)
        return expected
    if found and found != expected:
        _log.warning("topic %s has %d partitions, the settings say %d; taking %d", EVENTS, found, expected, found)
    return found or expected


def listen(settings: CollectorSettings) -> socket.socket:
    """The socket to answer on; raises Fatal when the address or port cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if settings.reuse_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        where = f"{settings.host}:{settings.port}"
        raise Fatal(f"cannot listen on {where}: {error.strerror}; choose another port or stop what uses it") from error
    return listener


@contextmanager
def _quiet_signals() -> Iterator[None]:
    """uvicorn raises the signal again once it has stopped; that must not kill the process after a clean end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


__all__ = ["BoundedHttp", "build", "listen", "run", "serve"]
