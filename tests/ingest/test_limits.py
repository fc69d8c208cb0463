"""Everything has a limit, and past it the answer is a clear refusal that stores nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from pydantic import ValidationError

from ingest.settings import CollectorSettings, GatewaySettings
from tests.ingest.support import Door, FakeKafka, MakeDoor, event

POST = ("POST", "/api/analytics/events")
KEY = {"authorization": "Bearer dev-write-key"}


async def test_a_declared_2_gb_body_is_refused_before_a_byte_is_read(door: Door) -> None:
    read = 0

    async def flood() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 65536
            yield bytes(65536)

    answer = await door.request(*POST, {**KEY, "content-length": str(2 << 30)}, endless=flood())
    assert (answer.status, answer.json["error"]) == (413, "too_large")
    assert answer.headers["connection"] == "close"
    assert read <= 9_000_000


async def test_an_endless_body_is_refused_as_soon_as_it_passes_the_cap(open_door: MakeDoor) -> None:
    door = open_door(CollectorSettings(body_bytes=200_000))
    held: list[int] = []

    async def flood() -> AsyncIterator[bytes]:
        while True:
            held.append(door.collector.admission.held)
            yield bytes(65536)

    answer = await door.request(*POST, {**KEY, "transfer-encoding": "chunked"}, endless=flood())
    assert answer.status == 413
    assert max(held) <= 200_000
    assert door.collector.admission.held == 0


@pytest.mark.parametrize("length", ["-1", "many", "1e3", "٣"])
async def test_a_content_length_that_is_no_number_is_400(door: Door, length: str) -> None:
    headers = [(b"authorization", b"Bearer dev-write-key"), (b"content-length", length.encode())]
    from ingest.asgi import Request
    from ingest.body import read_body
    from ingest.refusals import Refusal

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    request = Request({"method": "POST", "path": "/", "headers": headers}, receive)
    with pytest.raises(Refusal) as refused, door.collector.admission.enter() as room:
        await read_body(request, room, 1000, 1)
    assert refused.value.status == 400


async def test_a_client_that_never_sends_its_body_is_408(open_door: MakeDoor) -> None:
    door = open_door(CollectorSettings(body_seconds=0.02))

    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.sleep(30)
        yield b""

    answer = await door.request(*POST, {**KEY, "content-length": "100"}, endless=nothing())
    assert answer.status == 408


async def test_a_client_that_leaves_is_400_and_stores_nothing(door: Door) -> None:
    answer = await door.request(*POST, {**KEY, "content-length": "100"}, [])
    assert (answer.status, answer.json["error"]) == (400, "unreadable_body")
    assert not door.kafka.records


@pytest.mark.parametrize("poison", ["", "NaN"])
@pytest.mark.parametrize("form", ["array", "envelope", "lines"])
async def test_too_many_events_are_413(open_door: MakeDoor, form: str, poison: str) -> None:
    door = open_door(CollectorSettings(batch_events=10))
    items = [json.dumps(event()) for _ in range(10)]
    body = {"array": "[%s]", "envelope": '{"events": [%s]}', "lines": "%s"}[form]
    join = "\n" if form == "lines" else ","
    media = "application/x-ndjson" if form == "lines" else "application/json"
    assert (await door.post((body % join.join(items)).encode(), content_type=media)).json["accepted"] == 10
    items.append(f'{{"x": {poison or 1}}}')
    answer = await door.post((body % join.join(items)).encode(), content_type=media)
    assert (answer.status, answer.json["error"]) == (413, "too_large")


@pytest.mark.parametrize("poison", [[], ["NaN"]])
async def test_a_large_event_costs_itself_only(door: Door, poison: list[str]) -> None:
    large = event(event_id="large", context={"note": "x" * 66_000})
    items = [json.dumps(large), *(json.dumps(event()) for _ in range(2)), *poison]
    answer = await door.post(("[" + ",".join(items) + "]").encode())
    assert answer.json["accepted"] == 2
    verdict = answer.json["rejected"][0]
    assert (verdict["reason"], verdict["event_id"]) == ("event_too_large", "large")
    line = next(line for line in door.kafka.rejected() if line.event_id == "large")
    assert len(line.original) == 65_536
    assert json.dumps(large, separators=(",", ":")).startswith(line.original)


async def test_white_space_does_not_make_an_event_large(door: Door) -> None:
    answer = await door.post(json.dumps(event()).replace(",", "," + " " * 10_000).encode())
    assert answer.status == 200


@pytest.mark.parametrize(("levels", "reasons"), [(30, []), (31, ["too_deep"])])
async def test_the_depth_limit_counts_the_event_as_one(door: Door, levels: int, reasons: list[str]) -> None:
    nested: object = 1
    for _ in range(levels):
        nested = {"a": nested}
    answer = await door.post([event(properties={**event()["properties"], "deep": nested})])
    assert answer.reasons == reasons


async def test_too_many_bytes_at_once_are_429_with_retry_after(open_door: MakeDoor, kafka: FakeKafka) -> None:
    settings = CollectorSettings(in_flight_bytes=100_000, inflated_bytes=100_000, body_bytes=90_000)
    door = open_door(settings)
    kafka.mode = "silent"
    batch = [event() for _ in range(100)]
    first = asyncio.create_task(door.post(batch))
    await asyncio.sleep(0.02)
    second = await door.post(batch)
    assert (second.status, second.json["error"]) == (429, "overloaded")
    assert second.headers["retry-after"] in ("1", "2")
    kafka.mode = "ok"
    assert (await first).status == 200
    assert (await door.post(batch)).status == 200
    assert door.collector.admission.held == door.collector.admission.requests == 0


async def test_too_many_events_waiting_are_429(open_door: MakeDoor, kafka: FakeKafka) -> None:
    door = open_door(CollectorSettings(batch_events=10, gateway=GatewaySettings(pending_events=10)))
    kafka.mode = "silent"
    batch = [event() for _ in range(8)]
    first = asyncio.create_task(door.post(batch))
    await asyncio.sleep(0.02)
    assert (await door.post([event() for _ in range(3)])).status == 429
    assert door.collector.gateway.pending == 8
    kafka.mode = "ok"
    answer = await first
    assert answer.json["accepted"] == 8


async def test_too_many_requests_at_once_are_429(open_door: MakeDoor, kafka: FakeKafka) -> None:
    door = open_door(CollectorSettings(in_flight_requests=1))
    kafka.mode = "silent"
    first = asyncio.create_task(door.post(event()))
    await asyncio.sleep(0.02)
    assert (await door.post(event())).status == 429
    kafka.mode = "ok"
    assert (await first).status == 200


def test_limits_that_contradict_each_other_refuse_to_boot() -> None:
    with pytest.raises(ValidationError, match=r"in_flight_bytes .* is below inflated_bytes"):
        CollectorSettings(in_flight_bytes=2048, inflated_bytes=4096)
    with pytest.raises(ValidationError, match=r"pending_events .* is below batch_events"):
        CollectorSettings(batch_events=100, gateway=GatewaySettings(pending_events=10))
    with pytest.raises(ValidationError, match=r"pending_bytes .* is below twice inflated_bytes"):
        CollectorSettings(gateway=GatewaySettings(pending_bytes=1 << 20))
    with pytest.raises(ValidationError, match=r"pending_bytes .* is more than producer.queue_kib"):
        CollectorSettings(gateway=GatewaySettings(pending_bytes=1 << 30))
    with pytest.raises(ValidationError, match=r"pending_chunks .* is above producer.queue_messages"):
        CollectorSettings(gateway=GatewaySettings(pending_chunks=30_000))


async def test_too_many_bytes_waiting_are_429_and_none_of_them_is_stored(open_door: MakeDoor, kafka: FakeKafka) -> None:
    limits = GatewaySettings(pending_bytes=60_000)
    door = open_door(CollectorSettings(inflated_bytes=30_000, body_bytes=30_000, gateway=limits))
    kafka.mode = "silent"
    first = asyncio.create_task(door.post([event(user_id=f"u{n}") for n in range(30)]))
    await asyncio.sleep(0.05)
    refused = await door.post([event(event_id="refused", user_id=f"u{n}") for n in range(60)])
    assert (refused.status, refused.json["error"]) == (429, "overloaded")
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    kafka.mode = "ok"
    assert (await first).status == 200
    assert "refused" not in {line.event_id for line in kafka.events()}
    assert (await door.post([event() for _ in range(30)])).status == 200


async def test_too_many_chunks_waiting_are_429(open_door: MakeDoor, kafka: FakeKafka) -> None:
    door = open_door(CollectorSettings(gateway=GatewaySettings(pending_chunks=2)))
    kafka.mode = "silent"
    first = asyncio.create_task(door.post(event()))
    await asyncio.sleep(0.05)
    assert (await door.post([event(user_id=f"u{n}") for n in range(20)])).status == 429
    kafka.mode = "ok"
    assert (await first).status == 200


def test_every_setting_says_what_it_is() -> None:
    from ingest.settings import ProducerSettings, SpoolSettings

    for model in (CollectorSettings, GatewaySettings, ProducerSettings, SpoolSettings):
        for name, info in model.model_fields.items():
            assert info.description or name in ("gateway", "producer", "spool"), name
