"""Migrations against a real server."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest

from schemas.clock import ManualClock
from schemas.errors import ConfigError, Permanent
from sinks.migrate import extra_columns, migrate
from sinks.migration_files import FOLDER, load_migrations, split_statements
from sinks.warehouse import Warehouse

CLOCK = ManualClock()
TABLES = {
    *("alerts", "anomalies", "checkpoints", "data_quality", "evaluations", "events", "ledger", "notifications"),
    *("predictions", "rejected_events", "schema_migrations", "user_state", "windows"),
}


def tables(warehouse: Warehouse) -> set[str]:
    """Names of the tables in the warehouse's database."""
    sql = "SELECT name FROM system.tables WHERE database = {db:String}"
    return {row["name"] for row in warehouse.query(sql, {"db": warehouse.database})}


def write(folder: Path, **files: str) -> Path:
    """Migration files by short name (`a` is 0001)."""
    for number, (name, text) in enumerate(files.items(), start=1):
        (folder / f"{number:04d}_{name}.sql").write_text(text)
    return folder


@pytest.mark.integration
def test_the_first_run_makes_every_table_and_the_second_does_nothing(empty: Warehouse) -> None:
    heard: list[str] = []
    report = migrate(empty, CLOCK, tell=heard.append)
    assert tables(empty) >= TABLES
    assert len(report.done) == len(load_migrations())
    assert heard[0] == "applying 0001_events.sql"
    assert migrate(empty, CLOCK).done == []


@pytest.mark.integration
def test_dry_run_says_what_would_run_and_changes_nothing(
    warehouse: Warehouse, empty: Warehouse, tmp_path: Path
) -> None:
    folder = write(tmp_path, a="CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = Memory;")
    fresh = Warehouse(empty._settings.model_copy(update={"url": empty._settings.url + "_fresh"}))
    report = migrate(fresh, CLOCK, {"p": [("p_x", "Bool")]}, dry_run=True, folder=folder)
    assert report.done == ["0001_a.sql", "column events.p_x"]
    assert report.statements[0].startswith("CREATE TABLE IF NOT EXISTS a")
    there = warehouse.query(
        "SELECT count() AS n FROM system.databases WHERE name = {db:String}", {"db": fresh.database}
    )
    assert there == [{"n": 0}]
    assert migrate(warehouse, CLOCK, dry_run=True).done == []
    fresh.close()


@pytest.mark.integration
def test_a_changed_applied_file_is_refused_by_name(empty: Warehouse, tmp_path: Path) -> None:
    folder = write(tmp_path, a="CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = Memory;")
    migrate(empty, CLOCK, folder=folder)
    write(folder, a="CREATE TABLE IF NOT EXISTS a (x UInt16) ENGINE = Memory;")
    for dry_run in (True, False):
        with pytest.raises(ConfigError, match=r"0001_a\.sql: was applied .* Restore the file"):
            migrate(empty, CLOCK, folder=folder, dry_run=dry_run)


@pytest.mark.integration
def test_a_newer_warehouse_is_refused(empty: Warehouse, tmp_path: Path) -> None:
    both = write(tmp_path, a="CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = Memory;", b="DROP TABLE IF EXISTS b;")
    migrate(empty, CLOCK, folder=both)
    (both / "0002_b.sql").unlink()
    with pytest.raises(ConfigError, match="newer version"):
        migrate(empty, CLOCK, folder=both)


@pytest.mark.integration
def test_a_run_that_failed_half_way_is_finished_by_the_next(empty: Warehouse, tmp_path: Path) -> None:
    good = "CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = Memory;\n"
    folder = write(tmp_path, a=good + "CREATE TABLE IF NOT EXISTS b (x Nonsense) ENGINE = Memory;")
    with pytest.raises(Permanent):
        migrate(empty, CLOCK, folder=folder)
    write(folder, a=good + "CREATE TABLE IF NOT EXISTS b (x UInt8) ENGINE = Memory;")
    assert migrate(empty, CLOCK, folder=folder).done == ["0001_a.sql"]
    assert tables(empty) >= {"a", "b"}


@pytest.mark.integration
def test_pack_columns_are_added_once_and_take_values(warehouse: Warehouse) -> None:
    packs = {
        "a": [("p_score", "Nullable(Float64)"), ("p_kind", "LowCardinality(String)")],
        "b": [("p_kind", "LowCardinality(String)")],
    }
    assert migrate(warehouse, CLOCK, packs).done == ["column events.p_score", "column events.p_kind"]
    assert migrate(warehouse, CLOCK, packs).done == []
    warehouse.insert_lines("events", b'{"received_at":"2100-01-01 00:00:00","p_score":0.5,"p_kind":"x"}')
    assert warehouse.query("SELECT p_score, p_kind FROM events") == [{"p_score": 0.5, "p_kind": "x"}]
    with pytest.raises(ConfigError, match=r"events: p_score: .*Nullable\(Float64\).*Bool"):
        migrate(warehouse, CLOCK, {"a": [("p_score", "Bool")]})


@pytest.mark.integration
def test_lengths_of_sessions_stored_before_their_column_are_found(empty: Warehouse, tmp_path: Path) -> None:
    for migration in load_migrations()[:17]:
        (tmp_path / migration.name).write_bytes((FOLDER / migration.name).read_bytes())
    migrate(empty, CLOCK, folder=tmp_path)
    lengths = {"": None, '{"session_duration_seconds":7}': 7, '{"session_duration_seconds":"7"}': None}
    rows = [
        {"event_id": str(at), "received_at": "2100-01-01 00:00:00", "properties": one} for at, one in enumerate(lengths)
    ]
    empty.insert_lines("events", b"".join(orjson.dumps(row) + b"\n" for row in rows))
    migrate(empty, CLOCK)
    found = empty.query("SELECT session_seconds FROM events ORDER BY event_id")
    assert [row["session_seconds"] for row in found] == [*lengths.values()]


@pytest.mark.integration
def test_two_processes_may_migrate_at_once(empty: Warehouse) -> None:
    program = (
        "import sys; from schemas.clock import SystemClock; from sinks.migrate import migrate; "
        "from sinks.warehouse import Warehouse; "
        "migrate(Warehouse(sys.argv[1]), SystemClock(), {'p': [('p_a', 'Bool'), ('p_b', 'Int64')]})"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", program, empty._settings.url], stderr=subprocess.PIPE) for _ in range(2)
    ]
    errors = [run.communicate(timeout=120)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors
    assert tables(empty) >= TABLES
    rows = empty.query("SELECT count() AS n, uniqExact(checksum) AS checksums FROM schema_migrations FINAL")
    assert rows == [{"n": len(load_migrations()), "checksums": len(load_migrations())}]
    assert migrate(empty, CLOCK, {"p": [("p_a", "Bool"), ("p_b", "Int64")]}).done == []


@pytest.mark.integration
def test_many_threads_may_migrate_at_once(empty: Warehouse) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            migrate(empty, CLOCK, {"p": [("p_a", "Bool")]})
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert tables(empty) >= TABLES


def test_statements_are_split_outside_quotes_and_comments() -> None:
    text = "-- a; comment\nSELECT ';' AS `a;b`; /* c; */ SELECT 'it''s', \"x;\" -- end;\n;\n\n; SELECT 1 - 2 / 3"
    assert split_statements(text) == ["SELECT ';' AS `a;b`", "SELECT 'it''s', \"x;\"", "SELECT 1 - 2 / 3"]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE a (x UInt8) ENGINE = Memory",
        "DROP TABLE a",
        "INSERT INTO a SELECT 1",
        "ALTER TABLE a ADD COLUMN IF NOT EXISTS x UInt8, ADD COLUMN y UInt8",
        "ALTER TABLE a DELETE WHERE 1",
        "RENAME TABLE a TO b",
        "SELECT 1",
    ],
)
def test_a_statement_that_cannot_be_repeated_is_refused_with_its_line(tmp_path: Path, statement: str) -> None:
    """Without a lock, repeatable statements are what makes two migrations at once harmless."""
    folder = write(tmp_path, a=f"-- one\nDROP TABLE IF EXISTS z;\n{statement};\n")
    with pytest.raises(ConfigError, match=r"^0001_a\.sql:3: .*cannot be run twice"):
        load_migrations(folder)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE a ADD COLUMN IF NOT EXISTS x Map(String, UInt8), MODIFY COLUMN y UInt16",
        "ALTER TABLE `a` ADD INDEX IF NOT EXISTS i x TYPE minmax",
        "ALTER TABLE a MODIFY TTL t + INTERVAL 1 DAY",
        "create or replace view v as select 1",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS v TO a AS SELECT 1",
    ],
)
def test_repeatable_statements_are_taken(tmp_path: Path, statement: str) -> None:
    [migration] = load_migrations(write(tmp_path, a=statement))
    assert migration.statements == (statement,)


def test_numbers_have_no_gaps_and_names_say_what_they_add(tmp_path: Path) -> None:
    (tmp_path / "0002_b.sql").write_text("DROP TABLE IF EXISTS b;")
    with pytest.raises(ConfigError, match="expected number 0001"):
        load_migrations(tmp_path)
    (tmp_path / "0002_b.sql").rename(tmp_path / "b.sql")
    with pytest.raises(ConfigError, match="name it like"):
        load_migrations(tmp_path)


def test_line_ends_do_not_change_a_checksum(tmp_path: Path) -> None:
    [unix] = load_migrations(write(tmp_path, a="DROP TABLE IF EXISTS a;\n"))
    (tmp_path / "0001_a.sql").write_bytes(b"DROP TABLE IF EXISTS a;\r\n")
    assert load_migrations(tmp_path)[0].checksum == unix.checksum


@pytest.mark.parametrize(
    ("packs", "message"),
    [
        ({"a": [("p_x", "Bool")], "b": [("p_x", "Int64")]}, "pack a declares this column as Bool, pack b as Int64"),
        ({"a": [("tenant", "String")]}, "p_<property>"),
        ({"a": [("p_x Int8, DROP COLUMN y", "String")]}, "p_<property>"),
        ({"a": [("p_x", "String DEFAULT file('/etc/passwd')")]}, "is no type"),
    ],
)
def test_pack_columns_that_cannot_be_added_are_refused(packs: dict[str, list[tuple[str, str]]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        extra_columns(packs)


def test_every_type_of_a_taxonomy_column_is_known() -> None:
    kinds = ["Nullable(Int64)", "Nullable(Float64)", "Nullable(Bool)", "Nullable(DateTime64(3, 'UTC'))", "String"]
    columns = [(f"p_{n}x".replace("p_", "p_a"), kind) for n, kind in enumerate(kinds)]
    assert extra_columns({"p": columns}) == dict(columns)
