"""Conservation through crashes: collectors killed anywhere, answers that never come, and what was really lost shows.

A random story of collectors, Kafka in a list, a spool and a worker; then everything that is in Kafka is worked on and
the reconciliation runs. Nothing may differ; and when an acknowledged and published chunk is lost, exactly that does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from random import Random

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from schemas.clock import ManualClock
from stream_processors.watch.ledger_gauges import LedgerGauges
from stream_processors.watch.reconcile import Reconciler
from tests.support.chdb_warehouse import ChdbWarehouse
from tests.support.collectors import Collector, Downstream, Sent

NOW = 1_795_000_000.0 // 60 * 60 + 20
FIRST = int(NOW) // 60 * 60 - 480
"""Four minutes from here on have events; all are old enough to be recovered."""
ACTIONS = ("send", "send", "send", "good", "good", "silent", "lost", "refused", "spool", "drain", "publish", "publish",
           "unheard", "gone", "work", "look", "kill", "kill_all")  # fmt: skip

_slow = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # shrinking would take minutes
)


@cache
def warehouse() -> ChdbWarehouse:
    return ChdbWarehouse()


@dataclass
class Story:
    """Chance decides, out of a seed; hypothesis decides what happens in which order."""

    rng: Random
    clock: ManualClock
    down: Downstream
    kafka: list[Sent] = field(default_factory=list)
    counts: list[bytes] = field(default_factory=list)
    spool: list[Sent] = field(default_factory=list)
    boots: int = 0

    def __post_init__(self) -> None:
        self.living = [self.boot(), self.boot()]
        self.dead: list[Collector] = []
        self.reconciler = self.reconciliation()

    def reconciliation(self) -> Reconciler:
        return Reconciler(self.down.warehouse, [86400.0], self.clock, LedgerGauges(CollectorRegistry()), 15.0)

    def boot(self) -> Collector:
        self.boots += 1
        return Collector(self.boots)

    def do(self, action: str) -> None:
        collector = self.rng.choice(self.living)
        match action:
            case "send":
                minute = FIRST + 60 * self.rng.randrange(4)
                tenant = self.rng.choice(("a", "b"))
                collector.send(tenant, minute, self.rng.randrange(1, 5), rejected=self.rng.random() < 0.2)
            case "good" | "silent" | "lost" | "refused" | "spool" if collector.asked:
                self.answer(collector, self.rng.choice(collector.asked), action)
            case "drain" if self.spool:
                self.kafka.append(self.spool.pop(0))
            case "publish" | "unheard" | "gone":
                self.counts.append(collector.publish(arrives=action != "gone", heard=action == "publish"))
            case "work":
                self.work()
            case "look":
                self.look()
            case "kill":
                self.kill(collector)
            case "kill_all":
                for one in list(self.living):
                    self.kill(one)

    def answer(self, collector: Collector, chunk: Sent, how: str) -> None:
        """`silent`: Kafka has it and the collector hears of no success. `spool`: durable, Kafka gets it later."""
        if how in ("good", "silent"):
            self.kafka.append(chunk)
        if how == "spool":
            self.spool.append(chunk)
        collector.answer(chunk, good=how in ("good", "spool"))

    def kill(self, collector: Collector) -> None:
        """What had no answer may be in Kafka or not; what was spooled, another incarnation sends."""
        self.kafka += [chunk for chunk in collector.asked if self.rng.random() < 0.5]
        if self.rng.random() < 0.3:
            self.counts.append(collector.publish(heard=False))
        self.dead.append(collector)
        self.living[self.living.index(collector)] = self.boot()

    def leave(self, collector: Collector) -> None:
        """SIGTERM: every chunk has its answer, and the last counts are published."""
        for chunk in list(collector.asked):
            self.answer(collector, chunk, self.rng.choice(("good", "good", "silent", "lost")))
        self.counts.append(collector.publish())

    def work(self) -> None:
        """Some chunks and some counts, in any order between the two, some again."""
        for chunk in self.kafka[: self.rng.randrange(4)]:
            self.down.take(chunk)
            if self.rng.random() < 0.7:
                self.kafka.remove(chunk)
        if self.counts and self.rng.random() < 0.5:
            self.down.publication(self.counts.pop(0))

    def look(self) -> None:
        """A reconciliation in the middle: never is more accepted than was received."""
        self.reconciler.run()
        self.clock.advance(1)
        assert all(n >= 0 for n in self.down.differences().values()), self.down.differences()

    def end(self, lose: bool) -> Counter[tuple[str, int, str]]:
        """Everything that is in Kafka comes through, but for one chunk; what must differ."""
        for collector in self.living:
            if self.rng.random() < 0.7:
                self.leave(collector)
        self.kafka += self.spool
        lost = self._lose() if lose else None
        for chunk in self.kafka:
            if chunk != lost:
                self.down.take(chunk)
        for lines in self.counts:
            self.down.publication(lines)
        # A later look at these minutes, without the wait.
        self.reconciler = self.reconciliation()
        for _ in range(2):
            self.reconciler.run()
            self.clock.advance(1)
        return Counter({(t, minute, "received"): n for (t, minute, _), n in (lost.counts if lost else {}).items()})

    def _lose(self) -> Sent | None:
        """A chunk that was acknowledged, is below the published watermark, and is not worked on yet."""
        by_boot = {one.boot: one for one in (*self.dead, *self.living)}
        stored = {int(row["origin"]) for row in self.down.warehouse.query("SELECT DISTINCT origin FROM ledger")}
        fit = [
            chunk
            for chunk in self.kafka
            if chunk.number in by_boot[chunk.number >> 32].acknowledged
            and chunk.number & 0xFFFF_FFFF < by_boot[chunk.number >> 32].published_until
            and chunk.number not in stored
        ]
        return self.rng.choice(fit) if fit else None


def tell(actions: list[str], seed: int, *, lose: bool) -> tuple[Story, Counter[tuple[str, int, str]]]:
    house = warehouse()
    for table in ("ledger", "events", "rejected_events", "reconciliation"):
        house.command(f"TRUNCATE TABLE {table}")
    story = Story(Random(seed), ManualClock(NOW), Downstream(house))
    for action in actions:
        story.do(action)
    return story, story.end(lose)


stories = st.lists(st.sampled_from(ACTIONS), min_size=25, max_size=40)


@_slow
@given(stories, st.integers(0, 2**32))
def test_no_crash_anywhere_leaves_a_difference(actions: list[str], seed: int) -> None:
    story, _ = tell(actions, seed, lose=False)
    assert story.down.differences() == {}
    sums = story.down.sums()
    assert sums["received"] + sums["recovered"] == sums["accepted"] + sums["rejected"]


@_slow
@given(stories, st.integers(0, 2**32))
def test_a_counted_chunk_that_is_lost_always_shows_and_nothing_else(actions: list[str], seed: int) -> None:
    story, wanted = tell(actions, seed, lose=True)
    assert story.down.differences() == dict(wanted)
