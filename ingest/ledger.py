"""How many events this process received, by tenant and minute: absolute counts, published when they changed.

A chunk is settled when it was acknowledged (by Kafka, or by the spool that keeps it for Kafka), or when it failed.
Published are the counts of a settled prefix: of all chunks with sequence numbers below the watermark, which stands in
the same record. So whoever reads them knows for each chunk that comes through whether it is in the counts, and a
process that is killed unbalances nothing (`schemas.ledger`). A chunk that failed counts as abandoned, with its id:
Kafka may have it all the same, and then it counts where it comes through.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from ingest.gather import CountKey
from schemas.ledger import ABANDONED, ABANDONED_CHUNKS, RECEIVED, WATERMARK
from schemas.wire import LedgerLine, encode_lines

Counts = Iterable[tuple[CountKey, int]]

MOST_LINES: Final = 3_000
"""Lines of one publication, about: it must be one record, so that counts and watermark come together or not at all."""

GIVE_UP_PUBLICATIONS: Final = 120
"""A chunk without an answer for so long, while later ones have theirs, is abandoned: it must not hold up the others."""

_KEEP_PUBLICATIONS: Final = 300
"""Publications that a count outlives its last change; longer than any chunk can hold up the prefix."""


class _Key(NamedTuple):
    tenant: str
    minute: int
    stage: str
    origin: int


class _Cell:
    __slots__ = ("changed", "n", "published")

    def __init__(self) -> None:
        self.n = self.changed = self.published = 0

    @property
    def waits(self) -> bool:
        """Whether Kafka has not confirmed the count yet."""
        return self.changed > self.published


class _Answer(NamedTuple):
    stage: str
    counts: tuple[tuple[CountKey, int], ...]


class Received:
    """Counts of one process incarnation (`boot`). Versions grow with every publication."""

    def __init__(self, boot: int) -> None:
        self._boot = boot
        self._cells: dict[_Key, _Cell] = {}
        self._answers: dict[int, _Answer] = {}
        self._settled = self._version = self._latest = self._lines = 0
        self._waited = self._waits_for = 0
        self._run: _Key | None = None

    @property
    def behind(self) -> bool:
        """Whether the last publication was full, so that the next should follow as soon as it is confirmed."""
        return self._settled in self._answers

    def settled(self, sequence: int, counts: Counts) -> None:
        """A chunk was acknowledged, or is durable in the spool and will be sent."""
        self._answer(sequence, _Answer(RECEIVED, tuple(counts)))

    def failed(self, sequence: int, counts: Counts) -> None:
        """A chunk was not acknowledged; its senders are told to send again. Kafka may have it nevertheless."""
        if sequence not in self._answers:
            self._answer(sequence, _Answer(ABANDONED, tuple(counts)))

    def publication(self) -> tuple[int, bytes]:
        """The next version and what changed, as ledger lines for one record; empty bytes when nothing did."""
        self._version += 1
        self._fold()
        rows = [
            LedgerLine(key.tenant, key.minute, key.stage, "", key.origin, cell.n, self._version)
            for key, cell in self._cells.items()
            if cell.waits
        ]
        return self._version, encode_lines(rows) if rows else b""

    def confirm(self, version: int) -> None:
        """Kafka has the publication `version`; forget counts that have not changed for long."""
        for cell in self._cells.values():
            if cell.changed <= version:
                cell.published = max(cell.published, version)
        old = version - _KEEP_PUBLICATIONS
        for key in [k for k, c in self._cells.items() if not c.waits and c.changed < old]:
            del self._cells[key]

    def _answer(self, sequence: int, answer: _Answer) -> None:
        if sequence >= self._settled:
            self._answers[sequence] = answer
            self._latest = max(self._latest, *(minute for (_, minute, _), _ in answer.counts), 0)

    def _fold(self) -> None:
        """Take the answers of the prefix into the counts, as many as one publication holds."""
        before = self._settled
        self._lines = sum(cell.waits for cell in self._cells.values())
        while (answer := self._next()) is not None and (
            not self._lines or self._lines + len(answer.counts) < MOST_LINES
        ):
            self._take(answer)
        if self._settled > before:
            self._cell(_Key("", self._latest, WATERMARK, self._boot)).n = self._settled
        self._note_wait(moved=self._settled > before)

    def _next(self) -> _Answer | None:
        answer = self._answers.get(self._settled)
        if answer is None and self._waited >= GIVE_UP_PUBLICATIONS and self._settled < self._waits_for:
            return _Answer(ABANDONED, ())
        return answer

    def _note_wait(self, *, moved: bool) -> None:
        """Count how long a missing answer has held up others, those up to `_waits_for` from the beginning on."""
        if moved or not self._answers or self.behind:
            self._waited = 0
            return
        if not self._waited:
            self._waits_for = max(self._answers)
        self._waited += 1

    def _take(self, answer: _Answer) -> None:
        for (tenant, minute, _), n in answer.counts:
            self._cell(_Key(tenant, minute, answer.stage, self._boot)).n += n
        if answer.stage == ABANDONED:
            self._abandon(self._boot << 32 | self._settled)
        self._answers.pop(self._settled, None)
        self._settled += 1

    def _abandon(self, chunk_id: int) -> None:
        """Note the id; those in a row make one line."""
        known = self._cells.get(self._run) if self._run else None
        if self._run is None or known is None or self._run.origin + known.n != chunk_id:
            self._run = _Key("", self._latest, ABANDONED_CHUNKS, chunk_id)
        self._cell(self._run).n += 1

    def _cell(self, key: _Key) -> _Cell:
        """The cell, to be changed."""
        cell = self._cells.setdefault(key, _Cell())
        self._lines += not cell.waits
        cell.changed = self._version
        return cell
