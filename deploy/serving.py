"""Wiring of the API: reader, keys, and a publisher that is made when the first action needs Kafka."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import uvicorn

from api.app import create_app
from api.reader import ClickHouseReader
from deploy.commands.collect import is_loopback
from deploy.dead_letters.desk import Desk
from deploy.dead_letters.office import open_office
from deploy.publisher import Publisher, make_publisher
from schemas.clock import Clock, SystemClock
from schemas.errors import ConfigError
from schemas.keys import KeyStore
from schemas.taxonomy import Pack, shipped_packs

if TYPE_CHECKING:
    from deploy.settings import Settings

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays open: a dashboard that looks every few seconds keeps its own."""


def run_api(settings: Settings, sockets: list[socket.socket] | None = None) -> None:
    """Serve until SIGTERM (blocks). Raises ConfigError when development keys would be open to a network."""
    if settings.dev_keys and not is_loopback(settings.serve.host):
        text = f"the development keys work on loopback only, not on {settings.serve.host}; unset one of the two"
        raise ConfigError(text, key="HEADRACE_DEV_KEYS")
    clock, packs = SystemClock(), shipped_packs()
    keys = KeyStore(settings.keys_path, clock, dev_keys=settings.dev_keys)
    reader, slow = ClickHouseReader(settings.api.reader), ClickHouseReader(settings.api.reader.slow())
    actions = Actions(settings, packs, clock)
    office, close_office = open_office(settings, clock)
    app = create_app(
        settings.api,
        reader=reader,
        keys=keys,
        publish=actions.publish,
        packs=packs,
        clock=clock,
        dead_letters=Desk(office),
        slow=slow,
    )
    config = uvicorn.Config(
        app,
        host=settings.serve.host,
        port=settings.serve.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    try:
        _Server(config).run(sockets)
    finally:
        actions.close()
        close_office()


class Actions:
    """Publishes what people do through the API. Kafka is asked for at the first action, so reads work without it."""

    def __init__(self, settings: Settings, packs: Mapping[str, Pack], clock: Clock) -> None:
        self._settings, self._packs, self._clock = settings, packs, clock
        self._lock = threading.Lock()
        self._publisher: Publisher | None = None

    async def publish(self, tenant: str, events: Sequence[dict[str, Any]]) -> None:
        """Return when the events are in Kafka. Raises Retryable or Permanent."""
        await asyncio.to_thread(self._publish, tenant, events)

    def close(self) -> None:
        """Hand over what is queued."""
        if self._publisher is not None:
            self._publisher.close()

    def _publish(self, tenant: str, events: Sequence[dict[str, Any]]) -> None:
        with self._lock:
            if self._publisher is None:
                self._publisher = make_publisher(self._settings, self._packs, self._clock)
        self._publisher.publish(tenant, events)


class _Server(uvicorn.Server):
    """Ends the live streams before it waits for open answers to end."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app: Any = self.config.app
        await app.state.live.close()
        await super().shutdown(sockets)
