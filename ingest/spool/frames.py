"""How a record stands in a segment file: magic, length, checksum, body. Pure bytes; no files here.

A body is a header (a MessagePack array) and the value. The checksum covers the body, so a record that a crash cut
short, or that the disk changed, is never taken for whole. The magic lets a reader find the next one behind it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

MAGIC: Final = b"\xf7HS1"
_FRAME: Final = struct.Struct("<4sIII")
"""Magic, bytes of the header, bytes of the value, CRC-32 of both."""

MOST_BYTES: Final = 16 << 20
"""Of a body; a longer length is damage."""


class SpoolRecord(NamedTuple):
    """A Kafka record that waits on disk.

    `partitions`: how many its topic had when the partition was chosen. `at`: Unix seconds when it was spooled.
    """

    topic: str
    partition: int
    partitions: int
    at: float
    headers: list[tuple[str, bytes]]
    value: bytes


class _Head(msgspec.Struct, array_like=True):
    topic: str
    partition: int
    partitions: int
    at: float
    headers: list[tuple[str, bytes]]


class Found(NamedTuple):
    """A whole record, from byte `start` up to byte `end` of what was scanned."""

    start: int
    end: int
    record: SpoolRecord


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Head)


def pack(record: SpoolRecord) -> bytes:
    """The record's bytes in a segment."""
    head = _encoder.encode(_Head(record.topic, record.partition, record.partitions, record.at, record.headers))
    checksum = crc32(record.value, crc32(head))
    return b"".join((_FRAME.pack(MAGIC, len(head), len(record.value), checksum), head, record.value))


def scan(data: bytes, start: int = 0) -> Iterator[Found]:
    """The whole records of `data`, in order. What lies between them, or behind the last, is damaged or cut short."""
    while True:
        start = data.find(MAGIC, start)
        if start < 0 or start + _FRAME.size > len(data):
            return
        found = _read(data, start)
        if found is None:
            start += 1
        else:
            yield found
            start = found.end


def _read(data: bytes, start: int) -> Found | None:
    _, head_size, value_size, checksum = _FRAME.unpack_from(data, start)
    begin = start + _FRAME.size
    end = begin + head_size + value_size
    if head_size + value_size > MOST_BYTES or end > len(data) or crc32(memoryview(data)[begin:end]) != checksum:
        return None
    try:
        head = _decoder.decode(memoryview(data)[begin : begin + head_size])
    except msgspec.DecodeError:
        return None
    value = data[begin + head_size : end]
    return Found(start, end, SpoolRecord(head.topic, head.partition, head.partitions, head.at, head.headers, value))
