"""`headrace attribution`: the same answer from every kind of file, the public reference, and faults that say where."""

from __future__ import annotations

import csv
import gzip
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from api.attribution.models import MODELS
from deploy.cli import app
from deploy.paths import MOST_CHANNELS
from schemas.errors import ConfigError

DATA = Path("/work/shared/data/channel_attribution")
ROWS = [("a > b > a > c", 10, 100.5, 3), ("b", 2, 7, 0), ("c>b", 0, 0, 5), ("a > b > a > c", 1, -0.5, 0)]
HEADER = ["path", "conversions", "value", "nulls"]


def run(path: Path, *more: str) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """The summary and the rows by channel."""
    out = path.with_name("out.csv")
    result = CliRunner().invoke(app, ["attribution", str(path), "--out", str(out), *more], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    with out.open(encoding="utf-8") as file:
        rows = {row.pop("channel"): {key: float(n) for key, n in row.items()} for row in csv.DictReader(file)}
    return json.loads(result.stdout), rows


def text(separator: str = ",", header: list[str] = HEADER, end: str = "\n") -> str:
    return "".join(separator.join(map(str, row)) + end for row in (header, *ROWS))


def test_each_kind_of_file_gives_the_same(tmp_path: Path) -> None:
    """Comma, semicolon, tab, other names, other order, byte order mark, CRLF, gzip, Parquet."""
    plain = tmp_path / "plain.csv"
    plain.write_text(text())
    summary, rows = run(plain)
    assert {**summary, "seconds": 0} == {
        "rows": 4, "channels": 3, "conversions": 13, "value": 107, "nulls": 8, "seconds": 0,
    }  # fmt: skip
    assert [rows["a"][model] for model in MODELS[:3]] == [11, 0, 5.5] and rows["a"]["position"] == 5.5
    assert rows["b"]["linear"] == 2 + 11 / 4 and rows["b"]["linear_value"] == 7 + 25 and rows["b"]["last"] == 2
    for model in MODELS:
        assert sum(row[model] for row in rows.values()) == pytest.approx(13, rel=1e-15)
    names = ["path", "total_conversions", "total_conversion_value", "total_null"]
    (tmp_path / "package.csv").write_text("﻿" + text(";", names, "\r\n"))
    (tmp_path / "tabs.tsv").write_text(text("\t", [name.upper() for name in HEADER]))
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(text().encode()))
    turned = "".join(f"{n},{v},x,{c},{p}\n" for p, c, v, n in [("path", "conversions", "value", "nulls"), *ROWS])
    (tmp_path / "turned.csv").write_text(turned.replace(",x,", ",note,", 1))
    columns: dict[str, Any] = dict(zip(names, zip(*ROWS, strict=True), strict=True))
    pq.write_table(pa.table({name: list(some) for name, some in columns.items()}), tmp_path / "paths.parquet")
    for name in ("package.csv", "tabs.tsv", "packed.csv.gz", "turned.csv", "paths.parquet"):
        again, found = run(tmp_path / name)
        assert (found, {**again, "seconds": 0}) == (rows, {**summary, "seconds": 0}), name


def test_without_nulls_and_with_another_half_life(tmp_path: Path) -> None:
    """Time decay takes touches to be a day apart: with a half-life of one step, `a > b` is one third and two."""
    path = tmp_path / "paths.csv"
    path.write_text("path,conversions,value\na > b,3,0\n")
    summary, rows = run(path, "--half-life", "1")
    assert summary["nulls"] == 0
    assert [rows[name]["time_decay"] for name in "ab"] == pytest.approx([1, 2], abs=1e-8)
    assert [rows[name]["removal_effect"] for name in "ab"] == [1, 1]


@pytest.mark.skipif(not DATA.exists(), reason="the public data set is not here")
def test_the_reference_of_a_public_data_set(tmp_path: Path) -> None:
    (tmp_path / "Data.csv").write_bytes((DATA / "Data.csv").read_bytes())
    summary, rows = run(tmp_path / "Data.csv")
    assert (summary["rows"], summary["channels"], summary["conversions"], summary["nulls"]) == (
        10_000,
        12,
        19_785,
        68_602,
    )
    assert summary["value"] == pytest.approx(74_802.97, abs=0.005)
    names = {"markov1_conv": "markov", **{f"{name}_val": f"{name}_value" for name in MODELS[:3]}}
    with (DATA / "reference_attribution_exact.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            channel = row.pop("channel")
            for name, expected in row.items():
                assert rows[channel][names.get(name, name)] == pytest.approx(float(expected), abs=0.5001e-4)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", r"f\.csv:1: is empty"),
        ("path,conversions,value\n", r"f\.csv: has no rows"),
        ("path,conversion,value\na,1,1\n", r"f\.csv:1: conversions: .*did you mean 'conversion'"),
        ("path,path,conversions,value\n", r"f\.csv:1: path: stands twice"),
        ("path,conversions,value\na,1,1\nb,x,1\n", r"f\.csv:3: conversions: 'x' is no number"),
        ("path,conversions,value\na,,1\n", r"f\.csv:2: conversions: '' is no number"),
        ("path,conversions,value\na,-1,1\n", r"f\.csv:2: conversions: '-1' is negative"),
        ("path,conversions,value\na,1,nan\n", r"f\.csv:2: value: 'nan' is too large, too small or no number"),
        ("path,conversions,value\na,1,1e999999\n", r"f\.csv:2: value: '1e999999' is too large"),
        ("path,conversions,value\na > > b,1,1\n", r"f\.csv:2: path: has an empty step; write"),
        ("path,conversions,value\n\n\na,1\n", r"f\.csv:4: has 2 cells, the header 3"),
        ('path,conversions,value\n"a\nb",1,1\nc,y,1\n', r"f\.csv:4: conversions: 'y'"),
        ('path,conversions,value\n"a"b,1,1\n', r"f\.csv:2: is no CSV here"),
    ],
)
def test_a_fault_names_file_line_and_column(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "f.csv"
    path.write_text(content)
    with pytest.raises(ConfigError) as refused:
        run(path)
    assert re.search(says, str(refused.value)), str(refused.value)


def test_other_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    with pytest.raises(ConfigError, match="cannot be read"):
        run(path)
    path.write_bytes(b"path,conversions,value\n\xff\xfe,1,1\n")
    with pytest.raises(ConfigError, match="is no UTF-8"):
        run(path)
    path.write_bytes(gzip.compress(text().encode())[:-20])
    with pytest.raises(ConfigError, match="damaged or cut off"):
        run(path)
    path.write_bytes(b"PAR1" + b"x" * 50)
    with pytest.raises(ConfigError, match="no readable Parquet"):
        run(path)
    path.write_text("path,conversions,value\n" + " > ".join(f"c{n}" for n in range(MOST_CHANNELS + 1)) + ",1,1\n")
    with pytest.raises(ConfigError, match="channels are too many"):
        run(path)
    path.write_text(text())
    with pytest.raises(ConfigError, match="--half-life: must lie between"):
        run(path, "--half-life", "0")
    for out in (tmp_path, tmp_path / "no" / "out.csv", path):
        with pytest.raises(ConfigError, match="--out"):
            CliRunner().invoke(app, ["attribution", str(path), "--out", str(out)], catch_exceptions=False)
    assert path.read_text() == text()


def test_many_decimals_stay_exact(tmp_path: Path) -> None:
    """Ten times a tenth is one."""
    path = tmp_path / "f.csv"
    path.write_text("path,conversions,value\n" + "a,1,0.1\n" * 10)
    summary, rows = run(path)
    assert summary["value"] == 1 == Fraction(rows["a"]["first_value"])
