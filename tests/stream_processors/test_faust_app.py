"""How we set Faust up, where its own settings do not reach."""

from __future__ import annotations

import inspect
from typing import Any

import aiokafka
import pytest
from faust.transport.drivers import aiokafka as driver

from schemas.clock import ManualClock
from stream_processors.faust_app import FETCH_WAIT_MS, _build_app, _PromptConsumer, _PromptThread
from stream_processors.lease import Lease
from stream_processors.settings import ProcessorSettings


async def test_a_broker_holds_no_fetch_open_for_longer_than_we_want(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust fixes 1.5 s; with it, half of all events waited for 0.6 s."""
    fixed = aiokafka.AIOKafkaConsumer(bootstrap_servers="127.0.0.1:9", fetch_max_wait_ms=1500)

    def created(_: Any, __: Any) -> Any:
        return fixed

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_create_worker_consumer", created)
    try:
        ours = _PromptThread._create_worker_consumer(object.__new__(_PromptThread), None)
        assert ours is fixed
        assert ours._fetch_max_wait_ms == FETCH_WAIT_MS < 500
    finally:
        await fixed.stop()
    assert "fetch_max_wait_ms=self._fetch_max_wait_ms" in inspect.getsource(aiokafka.AIOKafkaConsumer.start)


def test_the_app_uses_our_consumer() -> None:
    app = _build_app("events", ProcessorSettings(kafka="127.0.0.1:9092"), Lease(ManualClock(), 30))
    assert app.transport.Consumer is _PromptConsumer
    assert "fetch_max_wait_ms=1500" in inspect.getsource(driver), "Faust has changed: is a way round it still needed?"
