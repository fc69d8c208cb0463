"""A spooled chunk of events after the number of partitions has changed: its users now belong to several partitions.

Each line says its slot, so the chunk is cut into one chunk for each partition. Counts are kept by chunk number, so the
parts need numbers of their own, and the same ones each time, because a crash may bring the chunk here again: they
are those of an incarnation whose number is derived from the chunk's and the new place. Its watermark goes along: the
events of these chunks are in the counts of the collector that took them (`schemas.ledger`).
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from typing import Final

import msgspec

from ingest.spool.frames import SpoolRecord
from schemas.ledger import WATERMARK
from schemas.topics import EVENTS, LEDGER
from schemas.wire import CHUNK_HEADER, COUNTS_HEADER, ChunkCount, LedgerLine, encode_counts, encode_lines

_CHUNK_FIELD: Final = b',"chunk":'
_ALL: Final = 2**32 - 1
"""The watermark of an incarnation that counts nothing itself."""


class _Line(msgspec.Struct):
    """What decides where a line goes and where it is counted."""

    tenant: str
    received_at: float
    slot: int


_decoder: Final = msgspec.json.Decoder(_Line)


def reroute(record: SpoolRecord, partitions: int) -> list[SpoolRecord]:
    """The records to send instead, in order, to topics of `partitions` partitions."""
    if record.partitions == partitions:
        return [record]
    if record.topic != EVENTS:
        return [record._replace(partition=record.partition % partitions, partitions=partitions)]
    lines: dict[int, list[bytes]] = {}
    counts: dict[int, Counter[tuple[str, int]]] = {}
    for line in record.value.splitlines():
        fields = _decoder.decode(line)
        partition = fields.slot % partitions
        lines.setdefault(partition, []).append(line)
        counts.setdefault(partition, Counter())[fields.tenant, int(fields.received_at // 60 * 60)] += 1
    number = int(dict(record.headers)[CHUNK_HEADER])
    found: list[SpoolRecord] = []
    for partition in sorted(lines):
        boot = _boot(number >> 32, partition, partitions)
        minute = max(minute for _, minute in counts[partition])
        mark = encode_lines([LedgerLine("", minute, WATERMARK, "", boot, _ALL, 1)])
        found.append(SpoolRecord(LEDGER, 0, partitions, record.at, [], mark))
        part = record._replace(partition=partition, partitions=partitions)
        found.append(_cut(part, boot << 32 | number & _ALL, lines[partition], counts[partition]))
    return found


def _boot(boot: int, partition: int, partitions: int) -> int:
    """32 bits that name the incarnation of parts."""
    return int.from_bytes(blake2b(b"%d %d/%d" % (boot, partition, partitions), digest_size=4).digest())


def _cut(record: SpoolRecord, number: int, lines: list[bytes], counts: Counter[tuple[str, int]]) -> SpoolRecord:
    value = b"".join(b"%b%b%d}\n" % (line[: line.rindex(_CHUNK_FIELD)], _CHUNK_FIELD, number) for line in lines)
    header = encode_counts([ChunkCount(tenant, minute, "", n) for (tenant, minute), n in counts.items()])
    others = [pair for pair in record.headers if pair[0] not in (CHUNK_HEADER, COUNTS_HEADER)]
    headers = [(CHUNK_HEADER, b"%d" % number), (COUNTS_HEADER, header), *others]
    return record._replace(headers=headers, value=value)
