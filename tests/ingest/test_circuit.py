"""When Kafka takes nothing, requests are refused at once; when it answers again, one is let through, then all."""

from __future__ import annotations

import asyncio
import time
from random import Random

import pytest

from ingest.circuit import Circuit
from ingest.gateway import Gateway
from ingest.refusals import Overloaded, Patience, Unavailable
from ingest.settings import CollectorSettings, GatewaySettings
from schemas.clock import SystemClock
from schemas.errors import Retryable
from tests.ingest.support import BOOT, PARTITIONS, Door, FakeKafka, MakeDoor, event, validators

FAST = GatewaySettings(deadline_seconds=0.2, away_seconds=0.1, probe_seconds=0.02)


def test_one_failure_does_not_open_it() -> None:
    circuit = Circuit(3.0, 4.0)
    circuit.sent(0.0)
    assert not circuit.failed(1.0)
    assert circuit.admit(1.0)


def test_silence_opens_it_and_a_delivery_closes_it() -> None:
    circuit = Circuit(3.0, 4.0)
    circuit.sent(0.0)
    assert circuit.failed(3.0)
    assert circuit.refuses(3.0)
    assert circuit.silent_for(8.0) == 8.0
    assert circuit.delivered(8.0, more=False)
    assert circuit.admit(8.0)


def test_deliveries_between_failures_keep_it_closed() -> None:
    circuit = Circuit(3.0, 4.0)
    for second in range(20):
        circuit.sent(float(second))
        circuit.delivered(second + 0.1, more=True)
        assert not circuit.failed(second + 0.9)


def test_after_an_answer_one_request_at_a_time_is_a_trial() -> None:
    circuit = Circuit(3.0, 4.0)
    circuit.sent(0.0)
    circuit.failed(3.0)
    circuit.answered()
    assert circuit.admit(5.0)
    assert not circuit.admit(5.1), "there is a trial already"
    circuit.answered()
    assert not circuit.admit(8.9)
    assert circuit.admit(9.1), "a trial that nobody hears of does not keep it shut"
    circuit.failed(10.0)
    circuit.answered()
    assert circuit.refuses(10.0)


def test_clients_are_told_to_come_back_at_different_times_and_later_while_kafka_stays_away() -> None:
    patience = Patience(2, 60, Random(1))
    soon = [patience.seconds(Overloaded("")) for _ in range(200)]
    assert set(soon) == {2, 3, 4}
    later = [patience.seconds(Unavailable("", 100.0)) for _ in range(200)]
    assert (min(later), max(later)) == (10, 20)
    assert max(patience.seconds(Unavailable("", 1e6)) for _ in range(200)) == 60


async def test_while_kafka_is_away_requests_fail_at_once_and_recover_by_themselves(kafka: FakeKafka) -> None:
    gateway = Gateway(validators(), kafka, SystemClock(), PARTITIONS, BOOT, settings=FAST)

    async def submit() -> None:
        await gateway.submit("acme", "marketing", "key", [event(timestamp=time.time())])

    kafka.mode = "silent"
    with pytest.raises(Retryable, match="did not acknowledge"):
        await submit()
    for _ in range(50):
        with pytest.raises(Unavailable, match=r"Kafka has taken nothing for"):
            await submit()
    assert len(kafka.waiting) == 1, "nothing was sent while it was known to be in vain"
    kafka.waiting.clear()
    kafka.mode = "ok"
    end = time.monotonic() + 20
    while True:
        try:
            await submit()
            break
        except Retryable:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
    await asyncio.gather(*(submit() for _ in range(20)))
    assert len(kafka.events()) == 21
    await gateway.close()


async def test_no_body_is_read_while_kafka_is_away(open_door: MakeDoor, kafka: FakeKafka, door: Door) -> None:
    door = open_door(CollectorSettings(gateway=FAST))
    kafka.mode = "silent"
    posted = asyncio.create_task(door.post(event()))
    await asyncio.sleep(0.02)
    door.clock.advance(0.15)
    await posted
    read = 0

    async def body() -> object:
        nonlocal read
        read += 1
        return b"{}"

    class Endless:
        def __aiter__(self) -> Endless:
            return self

        async def __anext__(self) -> bytes:
            await body()
            return b"{}"

    headers = {"authorization": "Bearer dev-write-key", "content-length": "2"}
    answer = await door.request("POST", "/api/analytics/events", headers, endless=Endless())
    assert (answer.status, answer.json["error"], read) == (503, "unavailable", 0)
    ready = await door.request("GET", "/health/ready")
    assert ready.status == 503
    kafka.waiting.clear()
