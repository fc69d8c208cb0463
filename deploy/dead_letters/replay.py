"""Replaying dead letters: judged, sent through the gateway like anybody's events, remembered, audited.

Reads: letters and their states, ids of stored events. Writes: events through the gateway; `dead_letter_state`; one
`dead_letters_replayed` event for each tenant that was touched.

A replayed event counts as received, accepted and stored in the minute of its replay; the minute of its first receipt
keeps saying that it was rejected then. So both minutes balance, nothing that was counted is ever changed, and a lost
replay shows. Its age is judged by the first receipt. Replaying twice changes nothing: letters whose state is settled
are skipped, and so are those whose id is stored already. On failure: what was sent is remembered batch by batch, so
the same call goes on where it ended. A process that dies between sending and remembering sends one batch again; the
ids make these duplicates, which the ledger counts as such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from deploy.dead_letters.judge import Judge, Judged, Part
from deploy.dead_letters.report import SAMPLES, Order, Report, Reports
from deploy.dead_letters.store import Letter, LetterStore, StateRow
from ingest.gateway import Verdicts
from schemas.clock import Clock
from schemas.dead_letters.selection import OPEN, State
from schemas.errors import Retryable
from schemas.taxonomy import Rejection
from schemas.wire import id_hash

RETRY_SECONDS: Final = 0.5
GIVE_UP_SECONDS: Final = 60.0
SENDS_AT_ONCE: Final = 8
"""Events of one key go in one call; so many calls wait for Kafka at the same time."""


class Door(Protocol):
    """Where events go in, from any thread: `deploy.publisher.Publisher`."""

    def submit(
        self,
        tenant: str,
        events: Sequence[object],
        *,
        backfill: bool = False,
        pack: str = "",
        key_id: str = "",
        receipts: Sequence[float] | None = None,
    ) -> Verdicts: ...


class Replay:
    """One run. `run` blocks; `reports` is right whenever it returns or raises."""

    def __init__(
        self, order: Order, store: LetterStore, judge: Judge, door: Door, clock: Clock, give_up: float = GIVE_UP_SECONDS
    ) -> None:
        self._order, self._store, self._judge, self._door = order, store, judge, door
        self._clock, self._give_up = clock, give_up
        self._sent: set[int] = set()
        self.reports: Reports = {}
        # Rejections of this very run are no part of it.
        selection, now = order.selection, clock.now()
        self._selection = selection.model_copy(update={"end": min(selection.end or now, now)})

    def run(self, tell: Callable[[Reports], None] = lambda reports: None) -> Reports:
        """Replay; `tell` is called after each batch. Raises Retryable when Kafka or the warehouse stay away."""
        self._count("before")
        wanted = self._selection if self._order.again else self._selection.only(*OPEN)
        try:
            for letters in self._store.batches(wanted, limit=self._order.limit):
                self._replay([self._judge.judge(letter) for letter in letters])
                tell(self.reports)
        finally:
            self._count("after")
        return self.reports

    def _count(self, when: str) -> None:
        for tenant, counts in self._store.counts(self._selection).items():
            report = self.reports.setdefault(tenant, Report())
            states = {state.value: sum(n for (s, _), n in counts.items() if s == state) for state in State}
            if when == "before":
                report.selected, report.before = counts.total(), states
                settled = sum(n for state, n in states.items() if state not in OPEN)
                report.skipped = 0 if self._order.again else settled
            else:
                report.after = states

    def _replay(self, batch: list[Judged]) -> None:
        known = self._known(batch)
        rows: list[StateRow] = []
        going: list[tuple[Judged, list[Part]]] = []
        for judged in batch:
            parts = [part for part in judged.parts if part.tenant and not self._is_known(part, known)]
            if judged.refused is not None and not _sends_refused(judged):
                rows += self._refused(judged, judged.refused)
            elif not parts:
                rows += self._settled(judged, State.ALREADY_STORED, "an event with this id is stored, or was sent")
            else:
                self._sent.update(id_hash(part.tenant, part.event_id) for part in parts if part.rejection is None)
                going.append((judged, parts))
        verdicts = self._submit([part for _, parts in going for part in parts])
        for judged, parts in going:
            rows += self._outcome(judged, [verdicts.get(id(part)) for part in parts])
        self._store.record(rows)

    def _known(self, batch: Sequence[Judged]) -> set[tuple[str, str]]:
        """(tenant, event id) of those parts that are stored."""
        ids: dict[str, list[str]] = {}
        for judged in batch:
            for part in judged.parts:
                if part.rejection is None:
                    ids.setdefault(part.tenant, []).append(part.event_id)
        return {(tenant, found) for tenant, some in ids.items() for found in self._store.stored(tenant, some)}

    def _is_known(self, part: Part, stored: set[tuple[str, str]]) -> bool:
        if part.rejection is not None:
            return False
        return (part.tenant, part.event_id) in stored or id_hash(part.tenant, part.event_id) in self._sent

    def _submit(self, parts: Sequence[Part]) -> dict[int, Rejection]:
        """Send parts; those that the gateway refused, by `id(part)`, and why."""
        groups: dict[tuple[str, str, str, bool], list[Part]] = {}
        for part in parts:
            groups.setdefault((part.tenant, part.pack, part.key_id, part.backfill), []).append(part)
        refused: dict[int, Rejection] = {}
        with ThreadPoolExecutor(SENDS_AT_ONCE, thread_name_prefix="replay") as pool:
            sent = list(zip(groups.values(), pool.map(self._send, groups.values()), strict=True))
        for some, verdicts in sent:
            for verdict in verdicts.rejected:
                part = some[verdict["index"]]
                texts = (verdict["field"], verdict["message"], verdict["event_id"], "")
                reason = part.rejection.reason if part.rejection else verdict["reason"]
                refused[id(part)] = Rejection(reason, *texts)  # type: ignore[arg-type]
        return refused

    def _send(self, parts: Sequence[Part]) -> Verdicts:
        first, until = parts[0], self._clock.monotonic() + self._give_up
        while True:
            try:
                return self._door.submit(
                    first.tenant,
                    [part.event for part in parts],
                    backfill=first.backfill,
                    pack=first.pack,
                    key_id=first.key_id,
                    receipts=[part.receipt for part in parts],
                )
            except Retryable:
                if self._clock.monotonic() >= until:
                    raise
                self._clock.sleep(RETRY_SECONDS)

    def _outcome(self, judged: Judged, verdicts: Sequence[Rejection | None]) -> Iterator[StateRow]:
        refused = [verdict for verdict in verdicts if verdict is not None]
        if len(refused) == len(verdicts) and not _sends_refused(judged):
            yield from self._refused(judged, refused[0])
            return
        report = self._report(judged.letter)
        report.accepted += 1
        report.events += len(verdicts) - len(refused)
        note = f"{len(verdicts)} lines, of which {len(refused)} became dead letters of their own" if refused else ""
        yield from self._settled(judged, State.REPLAYED, note)

    def _refused(self, judged: Judged, rejection: Rejection) -> Iterator[StateRow]:
        letter, report = judged.letter, self._report(judged.letter)
        report.examined += 1
        report.refused[str(rejection.reason)] += 1
        if len(report.samples) < SAMPLES:
            texts = {"reason": str(rejection.reason), "field": rejection.field, "message": rejection.message}
            report.samples.append({"id": letter.id, **texts})
        said = (str(rejection.reason), rejection.field, rejection.message, self._judge.patch.digest)
        last = tuple(letter.last.get(name) for name in ("reason", "field", "message", "patch"))
        if letter.state in OPEN and said != last:
            yield self._row(letter, State.REFUSED_AGAIN, rejection, rejection.event_id)

    def _settled(self, judged: Judged, state: State, note: str) -> Iterator[StateRow]:
        letter, report = judged.letter, self._report(judged.letter)
        report.examined += 1
        if state is State.ALREADY_STORED:
            report.already_stored += 1
            if letter.state not in OPEN:
                return
        event_id = judged.parts[0].event_id if len(judged.parts) == 1 else ""
        yield self._row(letter, state, Rejection("", "", note, "", ""), event_id)  # type: ignore[arg-type]

    def _row(self, letter: Letter, state: State, verdict: Rejection, event_id: str) -> StateRow:
        now = self._clock.now()
        self._report(letter).changed += 1
        return StateRow(
            *letter.key,
            state.value,
            str(verdict.reason),
            verdict.field,
            verdict.message,
            event_id,
            self._judge.patch.digest,
            self._order.replay_id,
            self._order.actor,
            round(now, 3),
            int(now * 1_000_000),
        )

    def _report(self, letter: Letter) -> Report:
        return self.reports.setdefault(letter.tenant, Report())


def _sends_refused(judged: Judged) -> bool:
    """A record of several lines, of which some would be accepted: the others become dead letters of their own."""
    return len(judged.parts) > 1 and judged.refused is None
