"""The board replaces cells by version and sums them by tenant, campaign and measure."""

from __future__ import annotations

import pytest

from schemas.wire import WindowCell
from stream_processors.watch.board import Board, Sum
from stream_processors.watch.metric_readings import metric_readings
from tests.support.chunks import NOW, ROLES

MINUTE = int(NOW) // 60 * 60
PACK = {
    **ROLES["marketing"],
    "conversion": [("campaign_converted", None)],
    "spend": [("campaign_spend_recorded", None)],
}


def cell(event_type: str, events: int, *, amount: int = 0, version: int = 1, **fields: object) -> WindowCell:
    given = {"subtype": "", "campaign_id": "spring", "shard": "0/4", "minute": MINUTE, **fields}
    return WindowCell(
        tenant="demo",
        event_type=event_type,
        creative_id="",
        segment="",
        channel="",
        events=events,
        users=events,
        amount_micros=amount,
        late=0,
        version=version,
        **given,  # type: ignore[arg-type]
    )


def test_a_cell_that_comes_again_replaces_itself() -> None:
    board = Board([PACK])
    board.update([cell("campaign_clicked", 3, version=1)], NOW)
    board.update([cell("campaign_clicked", 5, version=2)], NOW)
    board.update([cell("campaign_clicked", 5, version=2)], NOW)
    assert board.sums("demo", "spring", MINUTE, NOW + 60)["click"] == Sum(5, 0)


def test_an_older_version_that_arrives_late_changes_nothing() -> None:
    board = Board([PACK])
    board.update([cell("campaign_clicked", 5, version=2)], NOW)
    assert board.update([cell("campaign_clicked", 3, version=1)], NOW) == []
    assert board.sums("demo", "", MINUTE, NOW + 60)["click"] == Sum(5, 0)


@pytest.mark.parametrize("most_keys", [0, 3, 100])
def test_minutes_share_the_keys_of_their_cells(most_keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of them are remembered, the sums are the same."""
    monkeypatch.setattr("stream_processors.watch.board.MOST_KEYS", most_keys)
    board = Board([PACK])
    for version in (1, 2):
        for ago in range(5):
            minute = MINUTE - 60 * ago
            board.update([cell("campaign_clicked", version, version=version, minute=minute, shard=f"{ago % 2}/4")], NOW)
            board.update([cell("campaign_viewed", 7, version=version, minute=minute)], NOW)
    assert board.sums("demo", "spring", MINUTE - 240, NOW + 60)["click"] == Sum(10, 0)
    keys = {id(key) for cells in board._cells.values() for key in cells}
    assert len(keys) == 3 if most_keys == 100 else len(keys) >= 3


def test_shards_and_campaigns_add_up_to_the_tenant() -> None:
    board = Board([PACK])
    touched = board.update(
        [
            cell("campaign_clicked", 3),
            cell("campaign_clicked", 4, shard="1/4"),
            cell("campaign_clicked", 5, campaign_id="autumn"),
        ],
        NOW,
    )
    assert board.sums("demo", "", MINUTE, NOW + 60) == {"event": Sum(12, 0), "click": Sum(12, 0)}
    assert board.campaigns("demo") == ["autumn", "spring"]
    assert ("demo", "click", MINUTE, Sum(12, 0)) in touched


def test_a_holdout_delivery_is_no_impression() -> None:
    board = Board([PACK])
    board.update([cell("campaign_delivered", 9), cell("campaign_delivered", 1, subtype="holdout")], NOW)
    sums = board.sums("demo", "", MINUTE, NOW + 60)
    assert (sums["impression"], sums["event"]) == (Sum(9, 0), Sum(10, 0))


def test_what_is_older_than_the_board_is_left_out_and_let_go() -> None:
    board = Board([PACK], keep_seconds=3600)
    board.update([cell("campaign_clicked", 1, minute=MINUTE - 7200), cell("campaign_clicked", 1)], NOW)
    assert len(board) == 1
    board.update([], NOW + 7200)
    assert len(board) == 0
    assert board.tenants() == set()


def test_of_older_minutes_only_the_sums_are_kept_and_cells_that_come_again_are_missed() -> None:
    """Whether a cell comes again, changed, emptied or for the first time: the table says what the minute is."""
    board = Board([PACK], cell_seconds=3600)
    old = [cell("campaign_clicked", 3), cell("campaign_clicked", 4, campaign_id="autumn")]
    board.update(old, NOW)
    later = NOW + 3700
    assert board.update([cell("campaign_clicked", 1, minute=MINUTE + 3660)], later)
    assert (len(board), board.missed) == (1, set())
    assert board.sums("demo", "", MINUTE, MINUTE + 60)["click"] == Sum(7, 0)
    again = cell("campaign_clicked", 5, version=2)
    assert board.update([again], later) == []
    assert board.missed == {MINUTE}
    assert board.sums("demo", "", MINUTE, MINUTE + 60)["click"] == Sum(7, 0)
    touched = board.recount({MINUTE}, [again], later)
    assert ("demo", "click", MINUTE, Sum(5, 0)) in touched
    assert (len(board), board.missed) == (1, set())
    assert board.sums("demo", "spring", MINUTE, MINUTE + 60)["click"] == Sum(5, 0)
    assert not board.sums("demo", "autumn", MINUTE, MINUTE + 60)
    assert ("demo", "click", MINUTE, Sum(0, 0)) in board.recount({MINUTE}, [], later)
    assert not board.sums("demo", "", MINUTE, MINUTE + 60)


@pytest.mark.parametrize("spend, expected", [(2_000_000, 3.0), (0, None)])
def test_roas_is_revenue_over_spend_and_null_without_spend(spend: int, expected: float | None) -> None:
    board = Board([PACK])
    board.update([cell("campaign_converted", 2, amount=6_000_000)], NOW)
    if spend:
        board.update([cell("campaign_spend_recorded", 1, amount=spend)], NOW)
    readings = {
        reading.subject: reading for reading in metric_readings(board, {("metric.roas", 86400.0, "campaign")}, NOW)
    }
    assert readings["campaign:spring"].value == expected
    assert readings["campaign:spring"].count == 2
