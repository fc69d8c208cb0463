"""Batches reach the gateway, each until it is taken, and what becomes of every event is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from deploy.backfill import runner
from deploy.backfill.runner import Backfill, Owner, Report
from ingest.gateway import Verdict, Verdicts
from schemas.clock import ManualClock, SystemClock
from schemas.errors import Retryable


class Recorder:
    """A door that keeps what it takes, refuses the first `failures` calls, and rejects events that are no objects."""

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.taken, self.now, self.most = failures, list[object](), 0, 0
        self.calls: list[tuple[str, str, str, bool]] = []

    async def submit(
        self,
        tenant: str,
        pack: str,
        key_id: str,
        events: list[object],
        *,
        backfill: bool = False,
        where: Callable[[int], str] | None = None,
    ) -> Verdicts:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        if self.failures:
            self.failures -= 1
            raise Retryable("away")
        self.calls.append((tenant, pack, key_id, backfill))
        self.taken += events
        bad = [
            Verdict(index=index, event_id="", reason="not_an_object", field="", message="no")
            for index, event in enumerate(events)
            if not isinstance(event, dict)
        ]
        return Verdicts(len(events) - len(bad), bad)


def batches(count: int, size: int = 10) -> list[list[Any]]:
    return [[{"n": number * size + place} for place in range(size)] for number in range(count)]


async def test_every_event_is_sent_once_for_its_owner_as_backfill() -> None:
    door, seen = Recorder(), list[object]()
    report = await Backfill(door, Owner("acme", "marketing", "k"), SystemClock()).send(batches(20), seen.extend)
    assert sorted(event["n"] for event in door.taken) == list(range(200))  # type: ignore[index]
    assert len(seen) == 200
    assert set(door.calls) == {("acme", "marketing", "k", True)}
    assert (report.events, report.accepted, report.rejected.total()) == (200, 200, 0)


async def test_no_more_than_the_window_is_on_the_way() -> None:
    door = Recorder()
    await Backfill(door, Owner("acme", "marketing"), SystemClock(), window=3).send(batches(20))
    assert 1 < door.most <= 3


async def test_trouble_with_kafka_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "RETRY_SECONDS", 0.0)
    door = Recorder(failures=5)
    report = await Backfill(door, Owner("acme", "marketing"), SystemClock()).send(batches(4))
    assert (len(door.taken), report.retries, report.accepted) == (40, 5, 40)


async def test_trouble_that_stays_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "RETRY_SECONDS", 0.0)
    sender = Backfill(Recorder(failures=9), Owner("acme", "marketing"), ManualClock(), give_up=0.0)
    with pytest.raises(Retryable):
        await sender.send(batches(1))


async def test_rejected_events_are_counted_and_the_first_are_shown_with_their_place() -> None:
    sender = Backfill(Recorder(), Owner("acme", "marketing"), SystemClock())
    report = await sender.submit(["bad" if n % 2 else {"n": n} for n in range(30)], lambda index: f"file:{index}")
    assert (report.events, report.accepted, report.rejected) == (30, 15, {"not_an_object": 15})
    assert [sample["where"] for sample in report.samples][:2] == ["file:1", "file:3"]
    assert len(report.samples) == 10


def test_reports_add_up() -> None:
    total, part = Report(events=5), Report(events=5, accepted=3, retries=1, seconds=9.0, samples=[{"n": 1}] * 8)
    part.rejected.update({"wrong_type": 2})
    for _ in range(2):
        total.add(part)
    assert (total.events, total.accepted, total.rejected, total.retries) == (15, 6, {"wrong_type": 4}, 2)
    assert len(total.samples) == 10
