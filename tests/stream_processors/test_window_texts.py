"""Window cells hold each text once, however many events brought it."""

from __future__ import annotations

from schemas.wire import EventLine, decode_events, encode_lines
from stream_processors.windows import Windows, event_key

MINUTE = 1_700_000_040


def came(event_type: str, n: int) -> EventLine:
    """An event as it comes from Kafka: with texts of its own."""
    line = EventLine("demo", f"{event_type}-{n}", event_type, MINUTE, MINUTE, "user-1", campaign_id=f"campaign-{n}")
    (event,) = decode_events(encode_lines([line]))
    return event


def test_cells_share_the_texts_of_users_and_keys() -> None:
    windows = Windows("0/1")
    for n, event_type in enumerate(("seen", "clicked", "bought"), 1):
        for campaign in (1, 2):
            windows.add("demo", [came(event_type, campaign)], MINUTE)
        stored = came(event_type, 1)
        windows.restore(("demo", MINUTE + 60 * n), event_key(stored), [stored.user_id], (1, 0, 0))
    cells = [cell for minute in windows._cells.values() for cell in minute.values()]
    assert len(cells) == 9
    assert len({id(user) for cell in cells for user in cell.users}) == 1
    assert len({id(cell.key[2]) for cell in cells}) == 2
