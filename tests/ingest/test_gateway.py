"""Verdicts, chunks, counts and acknowledgements, without HTTP."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ingest.gateway import Gateway
from ingest.refusals import Overloaded
from ingest.settings import GatewaySettings
from schemas.clock import ManualClock
from schemas.errors import Retryable
from schemas.topics import EVENTS, REJECTED
from schemas.wire import decode_counts, decode_events, slot_of
from tests.ingest.support import BOOT, NOW, PARTITIONS, FakeKafka, event, validators

MakeGateway = Callable[..., Gateway]


@pytest.fixture
async def make_gateway(kafka: FakeKafka, clock: ManualClock) -> AsyncIterator[MakeGateway]:
    made: list[Gateway] = []

    def make(**settings: Any) -> Gateway:
        made.append(Gateway(validators(), kafka, clock, PARTITIONS, BOOT, settings=GatewaySettings(**settings)))
        return made[-1]

    yield make
    kafka.mode = "ok"
    for gateway in made:
        await gateway.close()


async def submit(gateway: Gateway, events: list[object], **options: Any) -> Any:
    return await gateway.submit("acme", "marketing", "key-1", events, **options)


async def test_a_line_says_whose_it_is_and_where_it_belongs(make_gateway: MakeGateway, kafka: FakeKafka) -> None:
    await submit(make_gateway(), [event(event_id="e1", user_id="ann")])
    (line,) = kafka.lines()
    (record,) = kafka.chunks(EVENTS)
    assert (line["tenant"], line["key_id"], line["pack"], line["received_at"]) == ("acme", "key-1", "marketing", NOW)
    assert line["slot"] == slot_of("acme", "ann")
    assert record.partition == line["slot"] % PARTITIONS
    assert line["chunk"] == int(record.headers["chunk"]) == BOOT << 32 | 0
    assert line["segment"] == "HIGH_SPENDER"


async def test_users_stay_on_their_partition_in_order(make_gateway: MakeGateway, kafka: FakeKafka) -> None:
    gateway = make_gateway(chunk_events=7)
    events = [event(event_id=f"{n:04}", user_id=f"user-{n % 13}") for n in range(300)]
    await asyncio.gather(*(submit(gateway, events[start : start + 50]) for start in range(0, 300, 50)))
    seen: dict[str, list[str]] = {}
    for record in kafka.chunks(EVENTS):
        for line in decode_events(record.value):
            assert record.partition == slot_of("acme", line.user_id) % PARTITIONS
            seen.setdefault(line.user_id, []).append(line.event_id)
    assert all(ids == sorted(ids) for ids in seen.values())
    assert sum(map(len, seen.values())) == 300


async def test_counts_of_every_chunk_match_its_lines(make_gateway: MakeGateway, kafka: FakeKafka) -> None:
    gateway = make_gateway(chunk_events=10)
    bad: list[object] = [event(source="toaster"), 5, event(user_id="")]
    await asyncio.gather(
        submit(gateway, [event() for _ in range(30)]),
        gateway.submit("other", "marketing", "key-2", [*bad, event()]),
    )
    for record in kafka.chunks(EVENTS):
        lines = Counter((line.tenant, int(line.received_at // 60 * 60), "") for line in decode_events(record.value))
        assert lines == {(c.tenant, c.minute, c.reason): c.n for c in decode_counts(record.headers["counts"])}
    rejected = Counter((line.tenant, line.reason) for line in kafka.rejected())
    counted = Counter[tuple[str, str]]()
    for record in kafka.chunks(REJECTED):
        for count in decode_counts(record.headers["counts"]):
            counted[count.tenant, count.reason] += count.n
    assert rejected == counted
    assert sum(rejected.values()) == 3


async def test_chunk_ids_are_never_used_twice(make_gateway: MakeGateway, kafka: FakeKafka) -> None:
    gateway = make_gateway(chunk_events=3)
    for _ in range(5):
        await submit(gateway, [event(), 5, event(user_id="b")])
    ids = [record.headers["chunk"] for record in kafka.records]
    assert len(ids) == len(set(ids))


async def test_chunks_stay_within_their_limits(make_gateway: MakeGateway, kafka: FakeKafka) -> None:
    gateway = make_gateway(chunk_events=40, chunk_bytes=10_000)
    big = event(user_id="u", context={f"note{n}": "x" * 2_000 for n in range(10)})
    await submit(gateway, [*(event(user_id="u") for _ in range(200)), big, event(user_id="u")])
    sizes = [(len(record.value), record.value.count(b"\n")) for record in kafka.chunks(EVENTS)]
    assert all(n <= 40 for _, n in sizes)
    assert all(size <= 10_000 or n == 1 for size, n in sizes)
    assert sum(n for _, n in sizes) == 202


async def test_concurrent_requests_share_chunks(make_gateway: MakeGateway, kafka: FakeKafka) -> None:
    gateway = make_gateway()
    await asyncio.gather(*(submit(gateway, [event(user_id="same")]) for _ in range(50)))
    assert len(kafka.chunks(EVENTS)) == 1


async def test_nothing_is_answered_before_every_chunk_arrived(make_gateway: MakeGateway, kafka: FakeKafka) -> None:
    gateway = make_gateway()
    kafka.mode = "silent"
    task = asyncio.create_task(submit(gateway, [event(user_id="a"), event(user_id="b"), event(user_id="c"), 5]))
    await asyncio.sleep(0.02)
    assert len({record.partition for record, _ in kafka.waiting if record.topic == EVENTS}) > 1
    for record, delivered in kafka.waiting[:-1]:
        kafka.records.append(record)
        delivered("")
    await asyncio.sleep(0.02)
    assert not task.done()
    kafka.waiting[-1][1]("")
    assert (await task).accepted == 3
    kafka.waiting.clear()


@pytest.mark.parametrize("mode", ["silent", "error", "full"])
async def test_kafka_away_is_retryable_and_counts_nothing(
    make_gateway: MakeGateway, kafka: FakeKafka, mode: str
) -> None:
    gateway = make_gateway(deadline_seconds=0.05, ledger_seconds=0.01)
    kafka.mode = mode
    with pytest.raises(Retryable, match=r"send the same events again|full"):
        await submit(gateway, [event(), 5])
    assert gateway.pending == 0
    kafka.waiting.clear()
    kafka.mode = "ok"
    await asyncio.sleep(0.05)
    assert kafka.ledger() == []


async def test_a_chunk_that_arrives_after_the_deadline_counts_as_received(
    make_gateway: MakeGateway, kafka: FakeKafka
) -> None:
    gateway = make_gateway(deadline_seconds=0.02)
    kafka.mode = "silent"
    with pytest.raises(Retryable):
        await submit(gateway, [event(), event()])
    kafka.mode = "ok"
    await gateway.close()
    assert max(line.n for line in kafka.ledger()) == len(kafka.events()) == 2


async def test_the_ledger_is_absolute_and_its_versions_grow(
    make_gateway: MakeGateway, kafka: FakeKafka, clock: ManualClock
) -> None:
    gateway = make_gateway(ledger_seconds=0.01)
    await submit(gateway, [event(), 5])
    await asyncio.sleep(0.04)
    await submit(gateway, [event()])
    clock.advance(60)
    await submit(gateway, [event()])
    await gateway.close()
    rows = kafka.ledger()
    assert {(row.tenant, row.stage, row.reason, row.origin) for row in rows} == {("acme", "received", "", BOOT)}
    first = [row for row in rows if row.minute == int(NOW // 60 * 60)]
    assert [row.n for row in first] == [2, 3]
    assert [row.version for row in first] == sorted({row.version for row in first})
    assert [row.n for row in rows if row.minute == int(NOW // 60 * 60) + 60] == [1]


async def test_a_ledger_line_that_was_lost_is_published_again(make_gateway: MakeGateway, kafka: FakeKafka) -> None:
    gateway = make_gateway(ledger_seconds=0.01)
    await submit(gateway, [event()])
    kafka.mode = "error"
    await asyncio.sleep(0.03)
    kafka.mode = "ok"
    await asyncio.sleep(0.04)
    assert [row.n for row in kafka.ledger()] == [1]


async def test_closing_hands_over_what_is_gathered(make_gateway: MakeGateway, kafka: FakeKafka) -> None:
    gateway = make_gateway(gather_ms=1000)
    kafka.mode = "silent"
    first = asyncio.create_task(submit(gateway, [event(event_id="first")]))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(submit(gateway, [event(event_id="gathered")]))
    await asyncio.sleep(0.01)
    kafka.mode = "ok"
    await gateway.close()
    assert (await first).accepted == (await second).accepted == 1
    assert {line.event_id for line in kafka.events()} == {"first", "gathered"}
    assert kafka.ledger()[-1].n == 2
    assert kafka.closed
    with pytest.raises(Retryable, match="shutting down"):
        await submit(gateway, [event()])


async def test_closing_gives_up_when_kafka_stays_away(make_gateway: MakeGateway, kafka: FakeKafka) -> None:
    gateway = make_gateway(deadline_seconds=0.02, drain_seconds=0.05)
    kafka.mode = "silent"
    with pytest.raises(Retryable):
        await submit(gateway, [event()])
    await asyncio.wait_for(gateway.close(), 1)


async def test_overload_is_told_apart(make_gateway: MakeGateway) -> None:
    with pytest.raises(Overloaded):
        await submit(make_gateway(pending_events=1), [event(), event()])


async def test_backfill_may_be_old(make_gateway: MakeGateway, kafka: FakeKafka) -> None:
    old = event(timestamp=NOW - 300 * 86400)
    verdicts = await submit(make_gateway(), [old], backfill=True)
    assert verdicts.accepted == 1
    assert kafka.events()[0].backfill


async def test_python_values_that_json_lacks_are_rejected_not_raised(make_gateway: MakeGateway) -> None:
    strange: list[object] = [object(), {1, 2}, b"bytes", event(context={"x": object()}), event(extra="\ud800")]
    verdicts = await submit(make_gateway(), strange)
    assert (verdicts.accepted, len(verdicts.rejected)) == (0, 5)


async def test_a_large_batch_lets_other_requests_in(make_gateway: MakeGateway, kafka: FakeKafka) -> None:
    gateway = make_gateway()
    finished: list[str] = []

    async def send(name: str, events: list[object]) -> None:
        await submit(gateway, events)
        finished.append(name)

    large: list[object] = [event(user_id=f"u{n}") for n in range(3_000)]
    await asyncio.gather(send("large", large), send("small", [event()]))
    assert finished[0] == "small"
    assert len(kafka.events()) == 3_001
