"""Collectors in memory for tests of the ledger: chunks, answers, publications, kills, and a worker that stores."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import orjson

from ingest.gather import CountKey
from ingest.ledger import Received
from schemas.wire import LedgerLine, RejectedLine, encode_lines
from tests.support.chdb_warehouse import ChdbWarehouse

_lines = msgspec.json.Decoder(LedgerLine)


class Sent(NamedTuple):
    """A chunk: its id, whether it holds rejected events, and counts."""

    number: int
    rejected: bool
    counts: dict[CountKey, int]


@dataclass
class Collector:
    """One incarnation. `asked`: chunks without an answer. `acknowledged`: those whose senders heard 200."""

    boot: int
    asked: list[Sent] = field(default_factory=list)
    acknowledged: set[int] = field(default_factory=set)
    published_until: int = 0

    def __post_init__(self) -> None:
        self.received = Received(self.boot)
        self._sequence = 0

    def send(self, tenant: str, minute: int, n: int, *, rejected: bool = False) -> Sent:
        """A chunk on its way."""
        reason = "invalid_enum" if rejected else ""
        chunk = Sent(self.boot << 32 | self._sequence, rejected, {(tenant, minute, reason): n})
        self._sequence += 1
        self.asked.append(chunk)
        return chunk

    def answer(self, chunk: Sent, *, good: bool) -> None:
        """Kafka (or the spool) has it, or the time is up."""
        self.asked.remove(chunk)
        sequence = chunk.number & 0xFFFF_FFFF
        if good:
            self.acknowledged.add(chunk.number)
            self.received.settled(sequence, chunk.counts.items())
        else:
            self.received.failed(sequence, chunk.counts.items())

    def publish(self, *, arrives: bool = True, heard: bool = True) -> bytes:
        """What reaches Kafka of a publication. `heard`: the collector knows that it did."""
        version, lines = self.received.publication()
        if lines and arrives:
            marks = [line.n for line in _lines.decode_lines(lines) if line.stage == "watermark"]
            self.published_until = max(self.published_until, *marks, 0)
            if heard:
                self.received.confirm(version)
            return lines
        return b""


class Downstream:
    """A worker and the warehouse behind it."""

    def __init__(self, warehouse: ChdbWarehouse) -> None:
        self.warehouse = warehouse

    def publication(self, lines: bytes) -> None:
        """Counts of a collector, on to the ledger."""
        self.warehouse.insert_lines("ledger", lines)

    def take(self, chunk: Sent) -> None:
        """Store a chunk; again when it is read again."""
        stage = "rejected" if chunk.rejected else "accepted"
        ledger = [
            LedgerLine(tenant, minute, stage, reason, chunk.number, n, 1)
            for (tenant, minute, reason), n in chunk.counts.items()
        ]
        events, rejected = b"", []
        for (tenant, minute, reason), n in chunk.counts.items():
            if chunk.rejected:
                rejected += [
                    RejectedLine(tenant, minute + i / 100, reason, "f", "m", "k", chunk.number, i) for i in range(n)
                ]
            else:
                events += _events(tenant, minute, chunk.number, n)
        self.warehouse.write(events, ledger, rejected)

    def differences(self) -> dict[tuple[str, int, str], int]:
        """What the last reconciliation of each minute found wrong."""
        rows = self.warehouse.query(
            "SELECT tenant, toUnixTimestamp(minute) AS at, what, difference FROM reconciliation FINAL"
            " WHERE tenant != '' AND difference != 0"
        )
        return {(row["tenant"], int(row["at"]), row["what"]): int(row["difference"]) for row in rows}

    def sums(self) -> Counter[str]:
        """The ledger by stage, over all tenants."""
        rows = self.warehouse.query("SELECT stage, sum(n) AS n FROM ledger FINAL WHERE tenant != '' GROUP BY stage")
        return Counter({row["stage"]: int(row["n"]) for row in rows})


def _events(tenant: str, minute: int, number: int, n: int) -> bytes:
    rows = (
        {
            "tenant": tenant,
            "event_id": f"{number}-{i}",
            "event_type": "user_engaged",
            "user_id": "u",
            "timestamp": minute,
            "received_at": minute + 0.5,
            "inserted_at": minute + 1,
            "chunk": number,
        }
        for i in range(n)
    )
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def ledger_line(tenant: str, minute: int, stage: str, n: int, *, origin: int = 1 << 32, reason: str = "") -> bytes:
    """One row, for planting."""
    return encode_lines([LedgerLine(tenant, minute, stage, reason, origin, n, 10**15)])
