"""Workers that decode, validate and send pieces: processes of their own, or one thread of this process.

Each hears pieces through a pipe and answers with a report when Kafka has all events of a piece, or with the error.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Final, Protocol

from deploy.backfill.connect import gateway
from deploy.backfill.events import Ids, decoded
from deploy.backfill.mapping import Mapping
from deploy.backfill.pieces import Piece
from deploy.backfill.runner import Backfill, Owner, Report
from deploy.settings import Settings
from schemas.clock import SystemClock
from schemas.errors import Fatal, HeadraceError

DIED: Final = "a backfill process died; run the same command again, nothing is stored twice"
_AHEAD: Final = 3
"""Pieces that a worker holds at most, in its pipe too."""
_AT_ONCE: Final = 2
"""Pieces that a worker has on their way to Kafka."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What a worker does with each piece. `dry`: validate only."""

    settings: Settings
    owner: Owner
    mapping: Mapping | None
    ids: Ids
    dry: bool


class _Runner(Protocol):
    """A thread or a process."""

    def start(self) -> None: ...
    def join(self, timeout: float | None = None) -> None: ...
    def is_alive(self) -> bool: ...


class Pool:
    """Workers and their pipes. `processes` 0: one thread. Methods raise what a worker raised, Fatal when one died."""

    def __init__(self, task: Task, processes: int) -> None:
        context: Any = multiprocessing.get_context("spawn")
        self._waiting: dict[Connection, int] = {}
        self._runners: list[_Runner] = []
        for _ in range(max(1, processes)):
            ours, theirs = context.Pipe()
            make = context.Process if processes else threading.Thread
            runner: _Runner = make(target=work, args=(theirs, task), daemon=True)
            runner.start()
            if processes:
                theirs.close()
            self._runners.append(runner)
            self._waiting[ours] = 0

    @property
    def full(self) -> bool:
        """No worker takes another piece now."""
        return min(self._waiting.values()) >= _AHEAD

    @property
    def busy(self) -> bool:
        """Some piece is not answered yet."""
        return any(self._waiting.values())

    def give(self, number: int, piece: Piece) -> None:
        """Hand a piece to the worker that has the least to do."""
        pipe = min(self._waiting, key=lambda one: self._waiting[one])
        self._waiting[pipe] += 1
        try:
            pipe.send((number, piece))
        except OSError as error:
            while pipe.poll():
                self._take(pipe)
            raise Fatal(DIED) from error

    def hear(self) -> list[tuple[int, Report]]:
        """Wait until some pieces are done: their numbers, and what became of them."""
        ready = wait([pipe for pipe, pieces in self._waiting.items() if pieces])
        return [self._take(pipe) for pipe in ready if isinstance(pipe, Connection)]

    def close(self) -> None:
        """Let the workers end; those that do not are ended."""
        for pipe in self._waiting:
            try:
                pipe.send(None)
            except OSError:
                continue
        for runner in self._runners:
            runner.join(30)

    def kill(self) -> None:
        """End the workers; what is on its way may arrive."""
        for pipe in self._waiting:
            pipe.close()
        for runner in self._runners:
            if isinstance(runner, multiprocessing.process.BaseProcess):
                runner.terminate()
            runner.join(10)

    def _take(self, pipe: Connection) -> tuple[int, Report]:
        try:
            answer = pipe.recv()
        except (EOFError, OSError) as error:
            raise Fatal(DIED) from error
        if isinstance(answer, HeadraceError):
            raise answer
        self._waiting[pipe] -= 1
        number, report = answer
        return number, report


def work(pipe: Connection, task: Task) -> None:
    """A worker: pieces in, reports out, until None comes or the pipe is closed."""
    if threading.current_thread() is threading.main_thread():
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)
    try:
        asyncio.run(_work(pipe, task))
    except (EOFError, OSError, KeyboardInterrupt):
        return
    except HeadraceError as error:
        pipe.send(error)
    finally:
        pipe.close()


async def _work(pipe: Connection, task: Task) -> None:
    clock = SystemClock()
    async with gateway(task.settings, clock, dry=task.dry) as door:
        sender = Backfill(door, task.owner, clock)
        room = asyncio.Semaphore(_AT_ONCE)
        running: set[asyncio.Task[None]] = set()

        async def one(number: int, piece: Piece) -> None:
            try:
                pipe.send((number, await _send(sender, piece, task)))
            except HeadraceError as error:
                pipe.send(error)
            except Exception as error:
                _log.exception("a piece cannot be sent")
                pipe.send(Fatal(f"{piece.name}: after line {piece.begin.line}: {error!r}"))
            finally:
                room.release()

        while (given := await asyncio.to_thread(pipe.recv)) is not None:
            await room.acquire()
            started = asyncio.create_task(one(*given))
            running.add(started)
            started.add_done_callback(running.discard)
        await asyncio.gather(*running)


async def _send(sender: Backfill, piece: Piece, task: Task) -> Report:
    report = Report()
    for batch in decoded(piece, task.mapping, task.ids):
        report.add(await sender.submit(batch.events, batch.where))
    return report
