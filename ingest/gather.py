"""Chunks in the making: events of concurrent requests, grouped by topic and partition, until one is full or it is time.

A chunk is sealed with its id, which stands in every line and in a header, and with its counts by tenant, minute of
receipt and reason. `Ticket` is how a request waits for all the chunks that carry a piece of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from schemas.wire import CHUNK_HEADER, COUNTS_HEADER, ChunkCount, encode_counts

CountKey = tuple[str, int, str]
"""Tenant, minute of receipt (Unix seconds), reason ("" for accepted events)."""

_CHUNK_FIELD_BYTES = 40
"""What the chunk id and the index add to a line, at most."""


class Ticket:
    """A request's wait for its chunks: `done` resolves with the last one, or fails with the first that fails."""

    __slots__ = ("_pending", "done")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self._pending = 1

    def complete(self) -> None:
        """The last piece is in its chunk."""
        self.resolve()

    def expect(self) -> None:
        """One more chunk carries a piece of this request."""
        self._pending += 1

    def resolve(self) -> None:
        """A chunk is acknowledged."""
        self._pending -= 1
        if self._pending == 0 and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        """A chunk is lost; the request has its answer."""
        if not self.done.done():
            self.done.set_exception(error)


class Group(NamedTuple):
    """Lines of one request for one partition; all share one key of the count."""

    topic: str
    partition: int
    lines: Sequence[bytes]
    key: CountKey


def size_of(lines: Sequence[bytes]) -> int:
    """Bytes of lines in a sealed chunk, an upper bound."""
    return sum(map(len, lines)) + len(lines) * _CHUNK_FIELD_BYTES


class Chunk:
    """Lines for one partition, still open. `size`: bytes of the value once sealed, an upper bound."""

    __slots__ = ("counts", "lines", "partition", "size", "tickets", "topic")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition
        self.lines: list[bytes] = []
        self.size = 0
        self.counts: dict[CountKey, int] = {}
        self.tickets: list[Ticket] = []

    def add(self, lines: Sequence[bytes], size: int, key: CountKey, ticket: Ticket) -> None:
        """Put lines in; the ticket waits for this chunk from now on."""
        self.lines.extend(lines)
        self.size += size
        self.counts[key] = self.counts.get(key, 0) + len(lines)
        if not self.tickets or self.tickets[-1] is not ticket:
            self.tickets.append(ticket)
            ticket.expect()

    def seal(self, chunk_id: int, *, indexed: bool) -> bytes:
        """The record's value: every line closed with the chunk id and, where `indexed`, its place in the chunk."""
        end = b',"chunk":%d}\n' % chunk_id
        if indexed:
            return b"".join(b'%b,"index":%d%b' % (line, index, end) for index, line in enumerate(self.lines))
        return end.join(self.lines) + end

    def headers(self, chunk_id: int) -> list[tuple[str, bytes]]:
        """The record's headers: the chunk id in decimal, and the counts."""
        counts = [ChunkCount(tenant, minute, reason, n) for (tenant, minute, reason), n in self.counts.items()]
        return [(CHUNK_HEADER, b"%d" % chunk_id), (COUNTS_HEADER, encode_counts(counts))]


class Gatherer:
    """The open chunks. `send` takes each one that is full, or all of them on `flush`."""

    def __init__(self, send: Callable[[Chunk], None], max_events: int, max_bytes: int) -> None:
        self._send, self._max_events, self._max_bytes = send, max_events, max_bytes
        self._open: dict[tuple[str, int], Chunk] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, group: Group, ticket: Ticket) -> None:
        """Spread a group over the open chunk of its partition and as many more as the limits ask for."""
        sizes = [len(line) + _CHUNK_FIELD_BYTES for line in group.lines]
        total, count = sum(sizes), len(sizes)
        chunk = self._open_chunk(group)
        if chunk.size + total <= self._max_bytes and len(chunk.lines) + count <= self._max_events:
            chunk.add(group.lines, total, group.key, ticket)
            return
        for line, size in zip(group.lines, sizes, strict=True):
            if chunk.lines and (chunk.size + size > self._max_bytes or len(chunk.lines) >= self._max_events):
                del self._open[group.topic, group.partition]
                self._send(chunk)
                chunk = self._open_chunk(group)
            chunk.add((line,), size, group.key, ticket)

    def flush(self) -> None:
        """Send every open chunk."""
        chunks, self._open = self._open, {}
        for chunk in chunks.values():
            self._send(chunk)

    def _open_chunk(self, group: Group) -> Chunk:
        place = (group.topic, group.partition)
        chunk = self._open.get(place)
        if chunk is None:
            chunk = self._open[place] = Chunk(group.topic, group.partition)
        return chunk
