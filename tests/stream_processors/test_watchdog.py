"""What makes a worker end itself, and what must not."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.clock import ManualClock
from schemas.errors import Retryable
from stream_processors.lease import Lease
from stream_processors.watchdog import EXIT_STALLED, EXIT_STUCK, Guard, Outage, Place, Progress, Verdict, Watchdog

SECONDS = 60.0
MINE, OTHER = ("events", 0), ("events", 1)


class World:
    """A group's offsets, a worker's progress, and a clock."""

    def __init__(self) -> None:
        self.clock, self.progress = ManualClock(), Progress()
        self.outage = Outage(self.clock)
        self.offsets: dict[Place, tuple[int, int]] = {MINE: (100, 100), OTHER: (100, 100)}
        self.away = False
        self.lease, self.is_member = Lease(self.clock, 10.0), True
        self.watchdog = Watchdog(self.progress, Guard(self.outage, self.lease, self), self.clock, SECONDS)
        self.progress.owned = frozenset({MINE})

    def spans(self) -> Mapping[Place, tuple[int, int]]:
        if self.away:
            raise Retryable("Kafka does not answer")
        return dict(self.offsets)

    def run(self, seconds: int, step: float = 1.0) -> Verdict | None:
        for _ in range(int(seconds / step)):
            self.clock.advance(step)
            if self.is_member:
                self.lease.renew(self.lease.now())
            verdict = self.watchdog.look()
            if verdict:
                return verdict
        return None

    def wait_with_records(self, place: Place = MINE) -> None:
        self.offsets[place] = (100, 200)


def test_an_idle_worker_is_left_alone() -> None:
    assert World().run(3600) is None


def test_an_offset_that_stands_still_while_records_wait_ends_the_process() -> None:
    world = World()
    world.run(300)
    world.wait_with_records()
    assert world.run(50) is None
    verdict = world.run(60)
    assert verdict is not None
    assert verdict.status == EXIT_STUCK
    assert "events/0: records wait, and the acknowledged offset 100 has not moved for 60 s" in verdict.why


def test_who_is_no_member_of_the_group_any_more_ends() -> None:
    """With nothing waiting, too: what it counted last would never be flushed."""
    world = World()
    world.run(300)
    world.is_member = False
    assert world.run(65) is None
    verdict = world.run(20)
    assert verdict is not None
    assert verdict.status == EXIT_STUCK
    assert "the group has answered no heartbeat for 60 s, although Kafka answers" in verdict.why


def test_while_kafka_is_away_nobody_has_to_be_a_member() -> None:
    world = World()
    world.run(100)
    world.is_member, world.away = False, True
    assert world.run(600) is None
    world.away = False
    assert world.run(50) is None
    assert world.run(30) is not None


def test_an_offset_that_moves_however_slowly_is_progress() -> None:
    world = World()
    for offset in range(100, 130):
        world.offsets[MINE] = (offset, 10_000)
        assert world.run(50) is None


def test_while_kafka_is_away_nobody_is_stuck_and_afterwards_there_is_time() -> None:
    world = World()
    world.wait_with_records()
    world.run(40)
    world.away = True
    assert world.run(600) is None
    world.away = False
    assert world.run(45) is None
    assert world.run(60) is not None


def test_while_the_warehouse_is_away_waiting_is_right() -> None:
    world = World()
    world.wait_with_records()
    world.progress.began["events", 1] = world.clock.monotonic()
    for _ in range(60):
        world.outage.note()
        assert world.run(10) is None
    assert world.run(70) is not None


def test_a_batch_that_is_held_ends_the_process() -> None:
    world = World()
    world.progress.began["events", 7] = world.clock.monotonic()
    assert world.run(59) is None
    assert world.run(5) == Verdict("events: no progress for 60 s", EXIT_STALLED)


def test_time_in_which_we_were_stopped_does_not_count() -> None:
    world = World()
    world.wait_with_records()
    world.progress.began["events", 7] = world.clock.monotonic()
    world.run(30)
    world.clock.advance(3600)
    assert world.run(50) is None
    del world.progress.began["events", 7]
    assert world.run(60) is not None, "it is still stuck"


def test_partitions_of_others_are_not_our_business() -> None:
    world = World()
    world.wait_with_records(OTHER)
    assert world.run(1000) is None


def test_without_partitions_it_counts_that_nobody_gets_on() -> None:
    world = World()
    world.progress.owned = frozenset()
    world.wait_with_records(MINE)
    world.wait_with_records(OTHER)
    for offset in range(100, 110):
        world.offsets[OTHER] = (offset, 1000)
        assert world.run(50) is None, "others get on"
    verdict = world.run(100)
    assert verdict is not None
    assert "no partition was assigned to us, and events/0, events/1 of the group have not moved" in verdict.why


def test_a_new_assignment_and_loading_state_take_their_time() -> None:
    world = World()
    world.wait_with_records()
    world.run(40)
    world.progress.owned = frozenset({MINE, OTHER})
    assert world.run(50) is None
    world.progress.assigning = 1
    assert world.run(600) is None
    world.progress.assigning = 0
    assert world.run(55) is None
    assert world.run(60) is not None


def test_a_lease_holds_for_a_session_after_the_heartbeat_was_sent() -> None:
    clock = ManualClock()
    lease = Lease(clock, 6.0)
    assert not lease.holds()
    sent = lease.now()
    clock.advance(2)
    lease.renew(sent)
    clock.advance(3.9)
    assert lease.holds()
    clock.advance(0.2)
    assert not lease.holds(), "counted from when it was sent, not from the answer"
    lease.renew(sent - 5)
    assert not lease.holds()
