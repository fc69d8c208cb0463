"""Counts of the settled prefix: what is published, when, and that it fits one record."""

from __future__ import annotations

import msgspec

from ingest.ledger import GIVE_UP_PUBLICATIONS, MOST_LINES, Received
from schemas.wire import LedgerLine

BOOT = 7
_decoder = msgspec.json.Decoder(LedgerLine)
Row = tuple[str, int, str, int, int]


def counts(n: int, tenant: str = "acme", minute: int = 600) -> list[tuple[tuple[str, int, str], int]]:
    return [((tenant, minute, ""), n)]


def publish(received: Received, *, confirm: bool = True) -> list[Row]:
    """(tenant, minute, stage, origin, n) of the next publication."""
    version, lines = received.publication()
    rows = _decoder.decode_lines(lines)
    assert all(row.version == version for row in rows)
    if confirm:
        received.confirm(version)
    return [(row.tenant, row.minute, row.stage, row.origin, row.n) for row in rows]


def test_only_a_prefix_without_gaps_is_published() -> None:
    received = Received(BOOT)
    received.settled(0, counts(10))
    received.settled(2, counts(7))
    assert publish(received) == [("acme", 600, "received", BOOT, 10), ("", 600, "watermark", BOOT, 1)]
    assert publish(received) == []
    received.settled(1, counts(3))
    assert publish(received) == [("acme", 600, "received", BOOT, 20), ("", 600, "watermark", BOOT, 3)]


def test_chunks_that_failed_are_named_and_counted_apart_and_neighbours_share_a_line() -> None:
    received = Received(BOOT)
    received.failed(0, counts(1))
    received.failed(1, counts(2))
    received.settled(2, counts(4))
    received.failed(3, counts(8))
    first = BOOT << 32
    assert publish(received) == [
        ("acme", 600, "abandoned", BOOT, 11),
        ("", 600, "abandoned_chunks", first, 2),
        ("acme", 600, "received", BOOT, 4),
        ("", 600, "abandoned_chunks", first | 3, 1),
        ("", 600, "watermark", BOOT, 4),
    ]
    received.failed(4, counts(1))
    assert ("", 600, "abandoned_chunks", first | 3, 2) in publish(received)


def test_a_chunk_that_failed_and_then_reached_the_spool_counts() -> None:
    """As long as it is not published as abandoned; an answer that comes after that changes nothing."""
    received = Received(BOOT)
    received.failed(0, counts(5))
    received.settled(0, counts(5))
    assert ("acme", 600, "received", BOOT, 5) in publish(received)
    received.failed(1, counts(5))
    publish(received)
    received.settled(1, counts(5))
    received.failed(0, counts(5))
    assert publish(received) == []


def test_what_kafka_did_not_take_is_published_again_with_a_higher_version() -> None:
    received = Received(BOOT)
    received.settled(0, counts(5))
    first = publish(received, confirm=False)
    received.settled(1, counts(1, minute=660))
    assert publish(received) == [*first, ("acme", 660, "received", BOOT, 1), ("", 660, "watermark", BOOT, 2)]
    assert publish(received) == []


def test_an_answer_that_never_comes_holds_up_the_others_for_a_while_only() -> None:
    received = Received(BOOT)
    received.settled(1, counts(5))
    for _ in range(GIVE_UP_PUBLICATIONS):
        assert publish(received) == []
    received.settled(3, counts(7))
    assert publish(received) == [
        ("", 600, "abandoned_chunks", BOOT << 32, 1),
        ("acme", 600, "received", BOOT, 5),
        ("", 600, "watermark", BOOT, 2),
    ]
    assert publish(received) == [], "the next one has its own time"
    received.settled(2, counts(1))
    assert publish(received) == [("acme", 600, "received", BOOT, 13), ("", 600, "watermark", BOOT, 4)]


def test_a_publication_fits_one_record_and_the_rest_follows() -> None:
    """Counts and watermark come together or not at all, so many tenants take several publications."""
    received = Received(BOOT)
    for sequence in range(3 * MOST_LINES):
        received.settled(sequence, counts(1, tenant=f"{'t' * 100}-{sequence}"))
    seen: set[str] = set()
    marks = []
    while True:
        version, lines = received.publication()
        received.confirm(version)
        rows = _decoder.decode_lines(lines)
        assert len(lines) < 900_000
        seen |= {row.tenant for row in rows if row.stage == "received"}
        marks += [row.n for row in rows if row.stage == "watermark"]
        assert len(seen) == marks[-1]
        if not received.behind:
            break
    assert marks[-1] == 3 * MOST_LINES and len(marks) in (3, 4)


def test_one_chunk_with_more_counts_than_that_is_published_nevertheless() -> None:
    received = Received(BOOT)
    received.settled(0, [((f"t{n}", 600, ""), 1) for n in range(MOST_LINES + 5)])
    assert len(publish(received)) == MOST_LINES + 6


def test_counts_of_long_ago_are_forgotten() -> None:
    received = Received(BOOT)
    for sequence in range(2_000):
        received.settled(sequence, counts(1, minute=60 * sequence))
        publish(received)
    assert len(received._cells) < 700
