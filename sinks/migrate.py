"""Bringing the warehouse's tables to this version: numbered SQL files, then the columns that packs declare.

Reads: `sinks/migrations`, `schema_migrations`, `system.columns`. Writes: tables, and one row of `schema_migrations` a
file. Guarantee: run it as often and from as many processes as you like, the tables end the same; a file that was
applied and then changed is refused. On failure: what was applied stays, the next run goes on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from schemas.clock import Clock
from schemas.errors import ConfigError
from sinks.codes import UNKNOWN_DATABASE, RequestRefused
from sinks.migration_files import FOLDER, Migration, load_migrations
from sinks.warehouse import Warehouse

TABLE: Final = """CREATE TABLE IF NOT EXISTS schema_migrations
(
    number     UInt32,
    name       String,
    checksum   FixedString(64),
    applied_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY number"""

Columns = Iterable[tuple[str, str]]
_COLUMN: Final = re.compile(r"p_[a-z][a-z0-9_]{0,63}\Z")
_WORD: Final = r"(?:U?Int(?:8|16|32|64)|Float(?:32|64)|String|Bool|UUID|Date|DateTime|DateTime64\(3(?:, 'UTC')?\))"
_TYPE: Final = re.compile(
    rf"(?:{_WORD}|LowCardinality\(String\)|(?:Nullable|Array)\({_WORD}\)|LowCardinality\(Nullable\(String\)\))\Z"
)


class AppliedRow(msgspec.Struct, frozen=True):
    """A row of `schema_migrations`."""

    number: int
    name: str
    checksum: str
    applied_at: float


@dataclass
class Report:
    """What ran (or, in a dry run, would run): file names and columns in order, and the SQL of each."""

    done: list[str] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)


@dataclass
class _Run:
    warehouse: Warehouse
    dry_run: bool
    tell: Callable[[str], None]
    report: Report = field(default_factory=Report)

    def step(self, name: str, statements: Sequence[str]) -> None:
        self.tell(f"would apply {name}" if self.dry_run else f"applying {name}")
        if not self.dry_run:
            for statement in statements:
                self.warehouse.command(statement)
        self.report.done.append(name)
        self.report.statements.extend(statements)


def migrate(
    warehouse: Warehouse,
    clock: Clock,
    columns: Mapping[str, Columns] | None = None,
    *,
    dry_run: bool = False,
    folder: Path = FOLDER,
    tell: Callable[[str], None] = lambda line: None,
) -> Report:
    """Apply what is missing. `columns`: pack name -> its extra columns of `events`. `dry_run`: only say what would run.

    `tell` hears one line a step. Raises `ConfigError` for files or columns that cannot be used, `Retryable` when the
    warehouse is away, `Permanent` when it refuses a statement.
    """
    migrations = load_migrations(folder)
    wanted = extra_columns(columns or {})
    if not dry_run:
        warehouse.create_database()
        warehouse.command(TABLE)
    applied = _applied(warehouse)
    _check_unchanged(migrations, applied)
    run = _Run(warehouse, dry_run, tell)
    for migration in migrations:
        if migration.number not in applied:
            run.step(migration.name, migration.statements)
            if not dry_run:
                row = AppliedRow(migration.number, migration.name, migration.checksum, clock.now())
                warehouse.insert_rows("schema_migrations", [row])
    for name, kind in _missing(warehouse, wanted):
        statement = f"ALTER TABLE events ADD COLUMN IF NOT EXISTS {name} {kind}"
        run.step(f"column events.{name}", (statement,))
    return run.report


def extra_columns(packs: Mapping[str, Columns]) -> dict[str, str]:
    """Column name -> type over all packs. Raises `ConfigError` for a wrong name or type, or two packs that disagree."""
    found: dict[str, tuple[str, str]] = {}
    for pack, columns in packs.items():
        for name, kind in columns:
            if not _COLUMN.match(name):
                raise ConfigError("name a column p_<property>, in small letters, digits and _", file=pack, key=name)
            if not _TYPE.match(kind):
                raise ConfigError(f"{kind!r} is no type that a property's column can have", file=pack, key=name)
            known, owner = found.setdefault(name, (kind, pack))
            if known != kind:
                raise ConfigError(
                    f"pack {owner} declares this column as {known}, pack {pack} as {kind}; make them the same",
                    file=pack,
                    key=name,
                )
    return {name: kind for name, (kind, _) in found.items()}


def _applied(warehouse: Warehouse) -> dict[int, AppliedRow]:
    if not _describe(warehouse, "schema_migrations"):
        return {}
    rows = warehouse.query(
        "SELECT number, name, toString(checksum) AS checksum, applied_at FROM schema_migrations FINAL"
    )
    return {row["number"]: AppliedRow(row["number"], row["name"], row["checksum"], row["applied_at"]) for row in rows}


def _check_unchanged(migrations: Sequence[Migration], applied: Mapping[int, AppliedRow]) -> None:
    by_number = {migration.number: migration for migration in migrations}
    for number, row in sorted(applied.items()):
        migration = by_number.get(number)
        if migration is None:
            raise ConfigError(
                "the warehouse was migrated by a newer version of this program; run that version", file=row.name
            )
        if migration.checksum != row.checksum:
            raise ConfigError(
                f"was applied as {row.name} with checksum {row.checksum[:12]}, and is now {migration.checksum[:12]}. "
                "Restore the file, and put the change into a new one",
                file=migration.name,
            )


def _missing(warehouse: Warehouse, wanted: Mapping[str, str]) -> list[tuple[str, str]]:
    have = _describe(warehouse, "events")
    for name, kind in wanted.items():
        if name in have and have[name] != kind:
            raise ConfigError(
                f"the table has this column as {have[name]}, the pack declares {kind}; "
                "restore the type, or give the property another column name",
                file="events",
                key=name,
            )
    return [(name, kind) for name, kind in wanted.items() if name not in have]


def _describe(warehouse: Warehouse, table: str) -> dict[str, str]:
    """Column name -> type of a table; empty when the table or the database is not there."""
    sql = "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {table:String}"
    try:
        rows = warehouse.query(sql, {"database": warehouse.database, "table": table})
    except RequestRefused as error:
        if error.code != UNKNOWN_DATABASE:
            raise
        return {}
    return {row["name"]: row["type"] for row in rows}
