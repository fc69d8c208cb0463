"""Whole files into the pipeline: one process that reads, and as many as wanted that decode, validate and send.

NDJSON is cut into blocks of lines, which go to the worker processes in turn. CSV is mapped in the reading process.
Order between blocks is not kept; no result of the pipeline depends on it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final

from deploy.backfill.connect import gateway
from deploy.backfill.events import batches, decoded, mapped_csv
from deploy.backfill.mapping import Mapping
from deploy.backfill.runner import Backfill, Owner, Report
from deploy.backfill.source import Progress, lines_of, opened
from deploy.settings import Settings
from schemas.clock import SystemClock
from schemas.errors import Fatal, HeadraceError

BATCH: Final = 1_000
_DIED: Final = "a backfill process died; run the same command again, nothing is stored twice"
_AHEAD: Final = 2
"""Blocks that wait in each worker's pipe."""


@dataclass(frozen=True)
class Job:
    """What to send and how. `processes`: beside the reading one; 0 does everything in one."""

    settings: Settings
    owner: Owner
    paths: tuple[Path, ...]
    mapping: Mapping | None = None
    derive_ids: bool = False
    processes: int = 0


Tell = Callable[[Path, Progress, Report], None]


def run(job: Job, tell: Tell) -> Report:
    """Send all files; `tell` is called now and then. Raises ConfigError, Retryable or Fatal; sending again is safe."""
    if job.processes > 0 and job.mapping is None:
        return _Pool(job, tell).run()
    return asyncio.run(_alone(job, tell))


async def _alone(job: Job, tell: Tell) -> Report:
    clock = SystemClock()
    async with gateway(job.settings, clock) as door:
        sender = Backfill(door, job.owner, clock)
        for path in job.paths:
            with opened(path) as (stream, progress):
                if job.mapping is not None:
                    events = batches(mapped_csv(stream, str(path), job.mapping), BATCH)
                else:
                    events = decoded(lines_of(stream, str(path)), BATCH, derive_ids=job.derive_ids)
                await sender.send(_watched(events, partial(tell, path, progress, sender.report)))
                tell(path, progress, sender.report)
        return sender.report


def _watched(events: Iterator[list[object]], tell: Callable[[], None]) -> Iterator[list[object]]:
    for batch in events:
        tell()
        yield batch


class _Pool:
    """The reading process: hands blocks of lines to worker processes and adds up what they report."""

    def __init__(self, job: Job, tell: Tell) -> None:
        self._job, self._tell, self._report = job, tell, Report()
        self._clock = SystemClock()
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._workers: list[Any] = []
        self._waiting: dict[Connection, int] = {}
        for _ in range(job.processes):
            ours, theirs = context.Pipe()
            worker = context.Process(target=work, args=(theirs, job), daemon=True)
            worker.start()
            theirs.close()
            self._pipes.append(ours)
            self._workers.append(worker)
            self._waiting[ours] = 0

    def run(self) -> Report:
        begin = self._clock.monotonic()
        try:
            for path in self._job.paths:
                self._send_file(path)
            for pipe in self._pipes:
                pipe.send(None)
            while any(self._waiting.values()):
                self._hear()
            for worker in self._workers:
                worker.join(30)
            if any(worker.exitcode != 0 for worker in self._workers):
                raise Fatal(_DIED)
        finally:
            for worker in self._workers:
                if worker.is_alive():
                    worker.terminate()
        self._report.seconds = self._clock.monotonic() - begin
        return self._report

    def _send_file(self, path: Path) -> None:
        with opened(path) as (stream, progress):
            for lines in lines_of(stream, str(path)):
                while min(self._waiting.values()) >= _AHEAD:
                    self._hear()
                pipe = min(self._waiting, key=lambda one: self._waiting[one])
                self._waiting[pipe] += 1
                self._give(pipe, lines)
                self._report.events += len(lines)
                self._tell(path, progress, self._report)

    def _give(self, pipe: Connection, lines: list[bytes]) -> None:
        try:
            pipe.send((self._report.events, lines))
        except OSError as error:
            while True:
                self._hear()
                if not self._waiting[pipe]:
                    raise Fatal(_DIED) from error

    def _hear(self) -> None:
        """Wait until a worker is done with a block; raises what a worker raised."""
        for pipe in wait([pipe for pipe, blocks in self._waiting.items() if blocks]):
            assert isinstance(pipe, Connection)
            try:
                answer = pipe.recv()
            except EOFError as error:
                raise Fatal(_DIED) from error
            if isinstance(answer, HeadraceError):
                raise answer
            self._waiting[pipe] -= 1
            self._report.add(answer)


def work(pipe: Connection, job: Job) -> None:
    """A worker process: blocks of lines in, reports out, until None comes."""
    try:
        asyncio.run(_work(pipe, job))
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        return
    except HeadraceError as error:
        pipe.send(error)


async def _work(pipe: Connection, job: Job) -> None:
    clock = SystemClock()
    async with gateway(job.settings, clock) as door:
        while (block := await asyncio.to_thread(pipe.recv)) is not None:
            first, lines = block
            sender = Backfill(door, job.owner, clock, first=first)
            pipe.send(await sender.send(decoded(iter([lines]), BATCH, derive_ids=job.derive_ids)))
