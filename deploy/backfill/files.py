"""Whole files into the pipeline: this process cuts them into pieces and keeps how far they are sent; a pool sends.

Order between pieces is not kept; no result of the pipeline depends on it. A file's place moves on when all pieces
before it are acknowledged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from deploy.backfill.events import Ids
from deploy.backfill.mapping import Mapping
from deploy.backfill.pieces import Piece, Place, pieces
from deploy.backfill.pool import Pool, Task
from deploy.backfill.runner import Owner, Report
from deploy.backfill.source import STDIN, Progress
from deploy.backfill.state import Purpose, Sent, State
from deploy.kafka_admin import cluster_id
from deploy.settings import Settings
from schemas.clock import SystemClock
from schemas.errors import ConfigError, Fatal

_SAVE_SECONDS: Final = 1.0
_SMALL: Final = 8 << 20
"""Bytes of files that are sent before a process would have started."""
PROCESSES: Final = 2


class TooManyRejected(Fatal):
    """More events were rejected than the user allows."""


@dataclass(frozen=True)
class Job:
    """What to send and how. `processes`: beside the reading one; 0 is a thread of it, None what fits the files.

    `state`: folder of the small files that say how far each is sent. `dry`: only validate; nothing is sent or kept.
    """

    settings: Settings
    owner: Owner
    paths: tuple[Path, ...]
    mapping: Mapping | None = None
    ids: Ids = "line"
    processes: int | None = None
    state: Path | None = None
    restart: bool = False
    dry: bool = False
    max_errors: int | None = None


@dataclass
class Outcome:
    """What this run did. `before`: events that earlier runs had sent; `complete`: files that are sent whole."""

    report: Report = field(default_factory=Report)
    before: int = 0
    total: Sent = field(default_factory=Sent)
    complete: int = 0

    def summary(self) -> dict[str, Any]:
        """As the command prints it: events of all runs, but the speed of this one."""
        report = self.report
        return {
            "events": self.total.events,
            "accepted": self.total.accepted,
            "rejected": dict(sorted(self.total.rejected.items())),
            "resumed": self.before,
            "complete": self.complete,
            "retries": report.retries,
            "seconds": round(report.seconds, 3),
            "events_per_second": round(report.events / report.seconds) if report.seconds > 0 else 0,
        }


class View(NamedTuple):
    """How it goes. `share`: of all bytes, None when that is not known; `report`: of this run."""

    path: Path
    share: float | None
    report: Report


Tell = Callable[[View], None]


class _File:
    """One file on its way: `pending` holds a piece's end, and its report once it is there."""

    def __init__(self, path: Path, size: int, state: State | None, sent: Sent) -> None:
        self.path, self.size, self.sent = path, size, sent
        self._state, self._first = state, 0
        self._pending: deque[tuple[Place, Report | None]] = deque()

    def expect(self, piece: Piece) -> int:
        """One more piece is on its way; its number."""
        self._pending.append((piece.end, None))
        return self._first + len(self._pending) - 1

    def landed(self, number: int, report: Report) -> list[Report]:
        """A piece is stored. Gives the reports of those that all before them are stored as well."""
        self._pending[number - self._first] = self._pending[number - self._first][0], report
        settled: list[Report] = []
        while self._pending and self._pending[0][1] is not None:
            place, done = self._pending.popleft()
            self._first += 1
            if done is not None:
                settled.append(done)
                self.sent.place = place
                self.sent.events += done.events
                self.sent.accepted += done.accepted
                self.sent.rejected.update(done.rejected)
        return settled

    def save(self) -> None:
        """Keep how far it is sent."""
        if self._state is not None:
            self._state.save(self.sent)


class Run:
    """One run of the command. `outcome` is right at every moment, also after an error."""

    def __init__(self, job: Job, tell: Tell) -> None:
        self.outcome = Outcome()
        self._job, self._tell = job, tell
        self._clock = SystemClock()
        self._task = Task(job.settings, job.owner, job.mapping, job.ids, job.dry)
        self._pool: Pool | None = None
        self._saved = 0.0

    def run(self) -> Outcome:
        """Send all files. Raises ConfigError, Retryable, TooManyRejected or Fatal; running again goes on."""
        begin = self._clock.monotonic()
        files = self._files()
        whole, done = sum(file.size for file in files), 0
        try:
            for file in files:
                self._send(file, done, whole)
                done += file.size
            if self._pool is not None:
                self._pool.close()
        finally:
            if self._pool is not None:
                self._pool.kill()
            self.outcome.report.seconds = self._clock.monotonic() - begin
        return self.outcome

    def _files(self) -> list[_File]:
        """The files, and how far each is sent. Whatever is wrong with one is known before any event is sent."""
        job = self._job
        kafka = "" if job.dry or job.state is None else cluster_id(job.settings.kafka.bootstrap)
        purpose = Purpose(kafka, job.owner.tenant, job.owner.pack, job.mapping, job.ids)
        files = []
        for path in dict.fromkeys(job.paths):
            state, sent, size = None, Sent(), 0
            if path != STDIN:
                size = _size(path)
                if job.state is not None and not job.dry:
                    state = State(job.state, path, purpose)
                    sent = Sent() if job.restart else state.load()
            self.outcome.before += sent.events
            files.append(_File(path, size, state, sent))
        return files

    def _send(self, file: _File, done: int, whole: int) -> None:
        total = self.outcome.total
        total.events += file.sent.events
        total.accepted += file.sent.accepted
        total.rejected.update(file.sent.rejected)
        if not file.sent.done:
            with pieces(file.path, self._job.mapping, file.sent.place) as (found, progress):
                try:
                    for piece in found:
                        self._give(file, piece, whole)
                        self._tell(View(file.path, _share(done, file.size, progress, whole), self.outcome.report))
                    self._drain(file)
                    file.sent.done = True
                except ConfigError:
                    self._drain(file)
                    raise
                finally:
                    file.save()
        self.outcome.complete += 1

    def _give(self, file: _File, piece: Piece, whole: int) -> None:
        if self._pool is None:
            small = 0 < whole < _SMALL
            processes = self._job.processes
            self._pool = Pool(self._task, (0 if small else PROCESSES) if processes is None else processes)
        while self._pool.full:
            self._hear(file, self._pool)
        self._pool.give(file.expect(piece), piece)

    def _drain(self, file: _File) -> None:
        while self._pool is not None and self._pool.busy:
            self._hear(file, self._pool)

    def _hear(self, file: _File, pool: Pool) -> None:
        for number, report in pool.hear():
            for settled in file.landed(number, report):
                self._count(settled)
        now = self._clock.monotonic()
        if now >= self._saved + _SAVE_SECONDS:
            self._saved = now
            file.save()
        limit, rejected = self._job.max_errors, self.outcome.report.rejected.total()
        if limit is not None and rejected > limit:
            raise TooManyRejected(f"{rejected} events were rejected, more than --max-errors {limit}")

    def _count(self, report: Report) -> None:
        self.outcome.report.add(report)
        total = self.outcome.total
        total.events += report.events
        total.accepted += report.accepted
        total.rejected.update(report.rejected)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from error


def _share(done: int, size: int, progress: Progress, whole: int) -> float | None:
    if not whole or not progress.size:
        return None
    return (done + size * progress.done / progress.size) / whole
