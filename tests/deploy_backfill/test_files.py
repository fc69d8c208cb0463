"""Files become events: compressed or not, broken lines among good ones, CSV through a mapping."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from deploy.backfill.events import decoded, mapped_csv
from deploy.backfill.mapping import load_mapping
from deploy.backfill.source import MAX_LINE, lines_of, opened
from ingest.decode import Faulty
from schemas.errors import ConfigError
from schemas.reasons import Reason
from schemas.taxonomy import Rejection, shipped_packs, validator

LINES = b'{"a": 1}\n\n{"a": 2}\r\n{"a": 3}'


def read_all(path: Path) -> list[bytes]:
    with opened(path) as (stream, _):
        return [line for lines in lines_of(stream, path.name) for line in lines]


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress, zstandard.compress])
def test_the_first_bytes_tell_how_a_file_is_compressed(pack: Any, tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(pack(LINES))
    events = [event for batch in decoded(iter([read_all(path)]), 10) for event in batch]
    assert events == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_several_zstd_frames_are_one_file(tmp_path: Path) -> None:
    path = tmp_path / "frames.zst"
    path.write_bytes(zstandard.compress(b"1\n") + zstandard.compress(b"2\n"))
    assert read_all(path) == [b"1", b"2"]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_cut_file_is_named_after_its_good_lines_were_read(pack: Any, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes(pack(b"".join(b'{"n": %d}\n' % n for n in range(400_000)))[:-300])
    read = 0
    with pytest.raises(ConfigError, match=r"cut.*damaged or cut off"), opened(path) as (stream, _):
        for lines in lines_of(stream, str(path)):
            read += len(lines)
    assert read > 100_000


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.*cannot be read"), opened(tmp_path / "nowhere"):
        pass


def test_progress_counts_the_bytes_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "events.gz"
    path.write_bytes(gzip.compress(LINES * 1000))
    with opened(path) as (stream, progress):
        list(lines_of(stream, "events"))
        assert progress.done == progress.size == path.stat().st_size


@pytest.mark.parametrize("block", [b"", b"\n", b"\n \n\n"])
def test_an_empty_file_has_no_events(block: bytes) -> None:
    assert [line for lines in lines_of(io.BytesIO(block), "empty") for line in lines] == []


def test_an_endless_line_is_one_bad_event_and_the_next_line_is_good() -> None:
    data = b'{"x": "' + b"y" * (5 * MAX_LINE) + b'"}\n{"a": 1}\n'
    blocks = list(lines_of(io.BytesIO(data), "endless"))
    events = [event for batch in decoded(iter(blocks), 10) for event in batch]
    assert len(events) == 2
    assert isinstance(events[0], Faulty)
    assert events[0].reason is Reason.EVENT_TOO_LARGE
    assert events[1] == {"a": 1}


def test_a_line_that_is_no_json_costs_no_other() -> None:
    lines = [b'{"a": 1}', b'{"a": NaN}', b"nonsense", b'\xff{"a": 2}', b'{"a": 3}']
    (events,) = decoded(iter([lines]), 10)
    assert [isinstance(event, Faulty) for event in events] == [False, True, True, True, False]
    assert [event.reason for event in events if isinstance(event, Faulty)][:2] == [
        Reason.NOT_FINITE,
        Reason.UNREADABLE_BODY,
    ]


def test_ids_are_derived_from_content_and_only_where_there_is_none() -> None:
    lines = [b'{"n": 1}', b'{"n": 1}', b'{"n": 2}', b'{"event_id": "mine"}', b"7"]
    first = [event for batch in decoded(iter([lines]), 2, derive_ids=True) for event in batch]
    again = [event for batch in decoded(iter([lines]), 5, derive_ids=True) for event in batch]
    assert first == again
    ids = [event["event_id"] for event in first if isinstance(event, dict)]
    assert ids[0] == ids[1] != ids[2]
    assert ids[3] == "mine"


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
    return list(mapped_csv(io.BytesIO(rows.encode()), "rows.csv", load_mapping(path)))


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
    events = mapped(ROWS + row + "\n" + ROWS.splitlines()[1] + "\n", MAPPING, tmp_path)
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
