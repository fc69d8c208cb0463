"""Parquet files: the same mapping as CSV, nested columns, any place to begin at; advice where pyarrow is missing."""

from __future__ import annotations

import builtins
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.backfill.mapping import load_mapping
from deploy.backfill.pieces import Place
from ingest.decode import Faulty
from schemas.errors import ConfigError
from schemas.taxonomy import Rejection, shipped_packs, validator
from tests.deploy_backfill.test_files import cut, numbered

MAPPING = """
event_type: user_purchased
timestamp: {column: at}
user_id: {column: who.id, prefix: "customer-"}
source: backend
properties:
  order_id: {uuid: [who.id, at], row: true}
  order_value: {column: dollars, type: float}
  order_category: {column: kind, values: {m: music}, default: other}
context:
  region: {column: who.place.region}
"""
NOON = datetime(1997, 1, 1, 12, tzinfo=UTC)


def table(count: int) -> Any:
    return pa.table(
        {
            "at": pa.array([NOON] * count, pa.timestamp("ns", "UTC")),
            "who": [{"id": n, "place": {"region": "eu"} if n % 2 else None} for n in range(count)],
            "dollars": pa.array([Decimal("29.33")] * count, pa.decimal128(9, 2)),
            "kind": pa.array(["m", None] * (count // 2)).dictionary_encode(),
            "unused": [[1, 2]] * count,
        }
    )


def mapping(text: str, tmp_path: Path) -> Any:
    (tmp_path / "mapping.yaml").write_text(text)
    return load_mapping(tmp_path / "mapping.yaml")


def test_rows_become_events_that_the_taxonomy_accepts_from_any_row_on(tmp_path: Path) -> None:
    pq.write_table(table(100), tmp_path / "rows.parquet", row_group_size=30)
    rules = mapping(MAPPING, tmp_path)
    whole = numbered(tmp_path / "rows.parquet", rules)
    assert [number for number, _ in whole] == list(range(1, 101))
    check = validator(shipped_packs()["marketing"])
    for number, event in whole:
        line = check.validate(event, received_at=1.8e9, backfill=True)
        assert not isinstance(line, Rejection), line
        assert (line["user_id"], line["timestamp"]) == (f"customer-{number - 1}", NOON.timestamp())
        assert line["amount_micros"] == 29_330_000
        assert event["context"] == ({"region": "eu"} if number % 2 == 0 else {})
        assert event["properties"]["order_category"] == ("music" if number % 2 else "other")
    assert len({event["event_id"] for _, event in whole}) == 100
    for row in (1, 30, 31, 99, 100):
        assert numbered(tmp_path / "rows.parquet", rules, Place(row=row)) == whole[row:]


def test_columns_that_are_the_fields_of_an_event_need_no_mapping(tmp_path: Path) -> None:
    rows = {
        "event_id": ["a", None, None],
        "event_type": ["user_purchased"] * 3,
        "timestamp": pa.array([NOON, NOON.replace(tzinfo=None), NOON], pa.timestamp("us")),
        "day": [date(1997, 1, 1)] * 3,
        "properties": ['{"order_value": 1.5}', None, "no JSON"],
        "context": pa.array([[("platform", "ios")], [], None], pa.map_(pa.string(), pa.string())),
        "raw": [b"text", None, None],
    }
    pq.write_table(pa.table(rows), tmp_path / "events.parquet")
    (_, first), (_, second), (_, third) = numbered(tmp_path / "events.parquet", ids="line")
    assert first == {
        "event_id": "a",
        "event_type": "user_purchased",
        "timestamp": "1997-01-01T12:00:00.000+00:00",
        "day": "1997-01-01",
        "properties": {"order_value": 1.5},
        "context": {"platform": "ios"},
        "raw": "text",
    }
    assert len(second["event_id"]) == 36
    assert "properties" not in second
    assert isinstance(third, Faulty)
    assert third.field == "properties"


def test_only_the_columns_that_are_needed_are_read(tmp_path: Path) -> None:
    pq.write_table(table(10), tmp_path / "rows.parquet")
    text = MAPPING + "event_id: {uuid: [who.id, at]}\n"
    (piece,) = cut(tmp_path / "rows.parquet", mapping(text, tmp_path))
    assert pa.ipc.open_stream(piece.data).schema.names == ["at", "who", "dollars", "kind"]


def test_a_column_that_is_missing_and_a_file_that_is_damaged_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(table(10), path)
    with pytest.raises(ConfigError, match=r"rows\.parquet: has no column 'euro'; it has: at, who"):
        cut(path, mapping(MAPPING.replace("column: dollars", "column: euro"), tmp_path))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ConfigError, match=r"rows\.parquet: is no readable Parquet file"):
        cut(path)


def test_without_pyarrow_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(table(10), tmp_path / "rows.parquet")
    real = builtins.__import__

    def missing(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"rows.*headrace\[parquet\]"):
        cut(tmp_path / "rows.parquet")
