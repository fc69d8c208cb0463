"""What the ledger's counts add up to, and what must be equal. Pure arithmetic; nothing here reads."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from schemas import ledger


@dataclass
class Sums:
    """Counts of a range of minutes, of events. `stored` counts distinct events in the table.

    `received`: all that were acknowledged or came through; `recovered`: of these, what no collector counted.
    `abandoned`: not acknowledged, so that their sender was told to send them again.
    """

    received: int = 0
    recovered: int = 0
    abandoned: int = 0
    accepted: int = 0
    duplicates: int = 0
    late: int = 0
    suppressed: int = 0
    stored: int = 0
    dead_letters: int = 0
    rejected: dict[str, int] = field(default_factory=dict)

    def add(self, stage: str, reason: str, n: int) -> None:
        """Take in one row of the ledger."""
        match stage:
            case ledger.RECEIVED:
                self.received += n
            case ledger.RECOVERED:
                self.received += n
                self.recovered += n
            case ledger.ABANDONED:
                self.abandoned += n
            case ledger.ACCEPTED:
                self.accepted += n
            case ledger.DUPLICATE:
                self.duplicates += n
            case ledger.LATE:
                self.late += n
            case ledger.SUPPRESSED:
                self.suppressed += n
            case ledger.DEAD_LETTER:
                self.dead_letters += n
            case ledger.REJECTED:
                self.rejected[reason] = self.rejected.get(reason, 0) + n

    def __add__(self, other: Sums) -> Sums:
        numbers = {
            one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self) if one.type == "int"
        }
        reasons = sorted({*self.rejected, *other.rejected})
        rejected = {reason: self.rejected.get(reason, 0) + other.rejected.get(reason, 0) for reason in reasons}
        return Sums(**numbers, rejected=rejected)

    @property
    def expected(self) -> int:
        """Events that must end up stored or duplicate; collectors and workers may each be a second ahead."""
        return max(self.accepted, self.received - sum(self.rejected.values()))

    @property
    def settled(self) -> int:
        """Accepted events whose fate is known: stored, a duplicate, dropped on purpose, or refused and kept aside."""
        return self.stored + self.duplicates + self.suppressed + self.dead_letters

    @property
    def completeness(self) -> float:
        """Percent of the expected events that are there; 100 where none are expected."""
        if self.expected <= 0:
            return 100.0
        return min(100.0, 100 * (self.settled - self.dead_letters) / self.expected)

    @property
    def difference(self) -> dict[str, int]:
        """What is missing between received and accepted, and between accepted and settled; 0 when nothing is."""
        return {
            "received": self.received - self.accepted - sum(self.rejected.values()),
            "accepted": self.accepted - self.settled,
        }


@dataclass
class Book:
    """The sums of a range, and of those of its minutes that are closed."""

    all: Sums = field(default_factory=Sums)
    closed: Sums = field(default_factory=Sums)

    def __add__(self, other: Book) -> Book:
        return Book(self.all + other.all, self.closed + other.closed)
