"""Files become events: compressed or not, broken lines among good ones, rows through a mapping, from any place on."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from deploy.backfill import pieces as cutting
from deploy.backfill.events import Ids, decoded
from deploy.backfill.mapping import Mapping, load_mapping
from deploy.backfill.pieces import MAX_LINE, Piece, Place, pieces
from ingest.decode import Faulty
from schemas.errors import ConfigError
from schemas.reasons import Reason
from schemas.taxonomy import Rejection, shipped_packs, validator

START = Place()
LINES = b'{"a": 1}\n\n{"a": 2}\r\n{"a": 3}'


def cut(path: Path, mapping: Mapping | None = None, begin: Place = START) -> list[Piece]:
    with pieces(path, mapping, begin) as (found, _):
        return list(found)


def numbered(
    path: Path,
    mapping: Mapping | None = None,
    begin: Place = START,
    ids: Ids = "off",
) -> list[tuple[int, Any]]:
    """(line, event) of each event of a file."""
    return [
        (line, event)
        for piece in cut(path, mapping, begin)
        for batch in decoded(piece, mapping, ids)
        for line, event in zip(batch.lines, batch.events, strict=True)
    ]


def written(data: bytes, tmp_path: Path, name: str = "events") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress, zstandard.compress])
def test_the_first_bytes_tell_how_a_file_is_compressed(pack: Any, tmp_path: Path) -> None:
    assert numbered(written(pack(LINES), tmp_path)) == [(1, {"a": 1}), (3, {"a": 2}), (4, {"a": 3})]


def test_several_zstd_frames_are_one_file(tmp_path: Path) -> None:
    path = written(zstandard.compress(b'{"a":1}\n') + zstandard.compress(b'{"a":2}\n'), tmp_path)
    assert [event["a"] for _, event in numbered(path)] == [1, 2]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_cut_file_is_named_after_its_good_lines_were_read(pack: Any, tmp_path: Path) -> None:
    path = written(pack(b"".join(b'{"n": %d}\n' % n for n in range(400_000)))[:-300], tmp_path, "cut")
    read = 0
    with pytest.raises(ConfigError, match=r"cut.*damaged or cut off"), pieces(path, None, Place()) as (found, _):
        for piece in found:
            read += piece.data.count(b"\n")
    assert read > 100_000


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.*cannot be read"):
        cut(tmp_path / "nowhere")


def test_progress_counts_the_bytes_on_disk(tmp_path: Path) -> None:
    path = written(gzip.compress(LINES * 1000), tmp_path)
    with pieces(path, None, Place()) as (found, progress):
        list(found)
        assert progress.done == progress.size == path.stat().st_size


@pytest.mark.parametrize("block", [b"", b"\n", b"\n \n\n"])
def test_an_empty_file_has_no_events(block: bytes, tmp_path: Path) -> None:
    assert numbered(written(block, tmp_path)) == []


def test_an_endless_line_is_one_bad_event_and_the_next_line_is_good(tmp_path: Path) -> None:
    data = b'{"a": 0}\n{"x": "' + b"y" * (5 * MAX_LINE) + b'"}\n{"a": 1}\n'
    first, bad, last = numbered(written(data, tmp_path))
    assert (first, last) == ((1, {"a": 0}), (3, {"a": 1}))
    assert bad[0] == 2
    assert bad[1].reason is Reason.EVENT_TOO_LARGE


def test_a_line_that_is_no_json_costs_no_other(tmp_path: Path) -> None:
    lines = [b'\xef\xbb\xbf{"a": 1}', b'{"a": NaN}', b"nonsense", b'\xff{"a": 2}', b"", b'{"a": 3}']
    found = numbered(written(b"\n".join(lines), tmp_path))
    assert [line for line, _ in found] == [1, 2, 3, 4, 6]
    assert [isinstance(event, Faulty) for _, event in found] == [False, True, True, True, False]
    assert [event.reason for _, event in found if isinstance(event, Faulty)][:2] == [
        Reason.NOT_FINITE,
        Reason.UNREADABLE_BODY,
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"a,b\n1,2\n", "--mapping"), (b'[{"a": 1},\n {"a": 2}]', "JSON array"), (b"PAR1x", "Parquet")],
)
def test_a_file_of_another_format_is_refused_with_advice(data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        cut(written(data, tmp_path))


def test_ids_are_derived_only_where_there_is_none_and_are_the_same_again(tmp_path: Path) -> None:
    path = written(b'{"n": 1}\n{"n": 1}\n{"n": 2}\n{"event_id": "mine"}\n7\n', tmp_path)
    for choice, same in (("content", True), ("line", False)):
        found: Any = numbered(path, ids=choice)  # type: ignore[arg-type]
        assert found == numbered(path, ids=choice)  # type: ignore[arg-type]
        ids = [event["event_id"] for _, event in found if isinstance(event, dict)]
        assert (ids[0] == ids[1]) is same
        assert ids[1] != ids[2]
        assert ids[3] == "mine"
    assert "event_id" not in numbered(path, ids="off")[0][1]


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress, zstandard.compress])
def test_from_any_place_on_the_same_rows_come_with_the_same_numbers(
    pack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resuming: the events before a place and those from it on are the events of the file, for NDJSON and CSV."""
    monkeypatch.setattr(cutting, "BLOCK", 1 << 12)
    monkeypatch.setattr(cutting, "_CSV_BYTES", 1 << 12)
    lines = b"\n".join(b'{"n": %d}%s' % (n, b"\n" * (n % 3)) for n in range(3000))
    header, *rows = ROWS.splitlines()
    more = [f'{n:04d},19970101,{n}.5,yes,CC,2,"a\nb ""{n}"""' for n in range(2000)]
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    mapping = load_mapping(tmp_path / "mapping.yaml")
    csv = "\n".join([header, *rows, *more]).encode()
    for data, rules in ((lines, None), (csv, mapping)):
        path = written(pack(data), tmp_path)
        whole, ends = numbered(path, rules, ids="line"), [piece.end for piece in cut(path, rules)]
        assert len(whole) > 1999
        assert len(ends) > 5
        for place in ends[:: len(ends) // 5]:
            rest = numbered(path, rules, place, ids="line")
            assert rest == whole[len(whole) - len(rest) :]
        assert numbered(path, rules, ends[-1]) == []


MAPPING = """
event_type: user_purchased
timestamp: {column: date, format: "%Y%m%d"}
user_id: {column: customer, prefix: "customer-"}
source: backend
properties:
  order_id: {uuid: [customer, date], row: true}
  order_value: {column: dollars, type: float}
  order_category: music
  promo_code_used: {column: promo, type: bool}
  payment_method: {column: paid, values: {CC: card, PP: wallet}}
  discs: {column: discs, type: int}
context:
  region: {column: region}
"""
ROWS = """customer,date,dollars,promo,paid,discs,region
0001,19970101,29.33,yes,CC,2,
0002,19970118,"14.96",0,PP,1,"us-east, new"
"""


def mapped(rows: str, text: str, tmp_path: Path) -> list[Any]:
    path = tmp_path / "mapping.yaml"
    path.write_text(text)
    return [event for _, event in numbered(written(rows.encode(), tmp_path, "rows.csv"), load_mapping(path))]


def test_rows_become_events_that_the_taxonomy_accepts(tmp_path: Path) -> None:
    events = mapped(ROWS, MAPPING, tmp_path)
    assert events[0]["user_id"] == "customer-0001"
    assert events[0]["timestamp"] == "1997-01-01T00:00:00.000+00:00"
    assert events[1]["properties"]["order_value"] == 14.96
    assert events[1]["properties"]["payment_method"] == "wallet"
    assert events[1]["context"] == {"region": "us-east, new"}
    assert events[0]["context"] == {}
    check = validator(shipped_packs()["marketing"])
    for event in events:
        line = check.validate(event, received_at=1.8e9, backfill=True)
        assert not isinstance(line, Rejection), line
    assert mapped(ROWS, MAPPING, tmp_path) == events


def test_equal_rows_are_two_events(tmp_path: Path) -> None:
    row = "0001,19970101,29.33,yes,CC,2,x\n"
    events = mapped(ROWS.splitlines()[0] + "\n" + row + row, MAPPING, tmp_path)
    assert len({event["event_id"] for event in events}) == 2
    assert len({event["properties"]["order_id"] for event in events}) == 2


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("1,19970101,many,yes,CC,2,x", "properties.order_value"),
        ("1,1.1.1997,3,yes,CC,2,x", "timestamp"),
        ("1,19970101,3,maybe,CC,2,x", "properties.promo_code_used"),
        ("1,19970101,3,yes,XX,2,x", "properties.payment_method"),
        ("1,19970101,3,yes,CC,2.5,x", "properties.discs"),
        ("1,19970101,3", ""),
    ],
)
def test_a_bad_row_is_rejected_with_its_field_and_the_next_is_read(row: str, field: str, tmp_path: Path) -> None:
    events = mapped(ROWS + row + "\n\n" + ROWS.splitlines()[1] + "\n", MAPPING, tmp_path)
    assert [isinstance(event, Faulty) for event in events] == [False, False, True, False]
    assert events[2].field == field
    assert "row 3" in events[2].message


def test_a_column_that_the_file_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rows\.csv.*no column 'discs'.*customer, date"):
        mapped("customer,date\n", MAPPING, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("column: dollars, type: float", "column: dollars, type: money"), r"mapping\.yaml:8.*order_value"),
        (("source: backend", "sauce: backend"), r"mapping\.yaml:5.*sauce"),
        (("{column: region}", "{type: text}"), "either column or uuid"),
        (("timestamp: {column: date, format: \"%Y%m%d\"}\n", ""), "timestamp.*missing"),
    ],
)  # fmt: skip
def test_a_fault_of_the_mapping_names_file_line_and_key(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        mapped(ROWS, MAPPING.replace(*change), tmp_path)


def test_a_headerless_file_takes_its_columns_from_the_mapping(tmp_path: Path) -> None:
    text = MAPPING + "columns: [customer, date, dollars, promo, paid, discs, region]\ndelimiter: ';'\n"
    rows = "\n".join(json.loads(json.dumps(ROWS)).splitlines()[1:2]).replace(",", ";") + "\n"
    assert mapped(rows, text, tmp_path)[0]["properties"]["order_value"] == 29.33


def test_an_open_quote_and_bytes_that_are_no_text_cost_one_row_each(tmp_path: Path) -> None:
    """A quote that is never closed takes what a cell may hold, 131,072 characters, and no more."""
    rows = ROWS.encode() + b'3,19970101,"' + b"x" * 140_000 + b"\n4,19970101,1,yes,CC,2,\xff\n" + ROWS.encode()[50:]
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    found = numbered(written(rows, tmp_path), load_mapping(tmp_path / "mapping.yaml"))
    assert [isinstance(event, Faulty) for _, event in found[:4]] == [False, False, True, False]
    assert found[2][0] == 4
    check = validator(shipped_packs()["marketing"])
    verdict = check.validate(found[3][1], received_at=1.8e9, backfill=True)
    assert isinstance(verdict, Rejection)
    assert verdict.reason is Reason.INVALID_TEXT


LOG = """
event_type: user_engaged
timestamp: {column: ts}
user_id: {column: user.id, prefix: "listener-", default: anonymous}
source: mobile
properties:
  engagement_type: {column: page, values: {Home: app_open}, default: view_catalog}
  screen_name: {column: page}
"""


def test_json_of_another_shape_goes_through_the_mapping_too(tmp_path: Path) -> None:
    rows = [
        {"ts": 1541105830796, "page": "Home", "user": {"id": 39}},
        {"ts": 1541105830797, "page": "NextSong", "user": {"id": None}},
        ["no row"],
    ]
    (tmp_path / "mapping.yaml").write_text(LOG)
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    first, second, bad = (
        event for _, event in numbered(written(data, tmp_path), load_mapping(tmp_path / "mapping.yaml"))
    )
    check = validator(shipped_packs()["marketing"])
    for event, user, kind in ((first, "listener-39", "app_open"), (second, "anonymous", "view_catalog")):
        line = check.validate(event, received_at=1.8e9, backfill=True)
        assert not isinstance(line, Rejection), line
        assert (line["user_id"], line["properties"]["engagement_type"]) == (user, kind)
        assert int(line["timestamp"]) == 1541105830
    assert bad.reason is Reason.NOT_AN_OBJECT
