"""The tables that a replay writes: a database of its own beside the live one, with every table made from its live twin.

So the code that runs is the live code over another database, down to the SQL, and nothing that it does can touch a
live table. The stored events are not copied: their parts are linked (`ATTACH PARTITION … FROM`), which takes no room,
and what is replayed stands still while the live table goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from schemas.errors import ConfigError
from sinks.settings import WarehouseSettings
from sinks.warehouse import Warehouse
from stream_processors.sql import text

SEPARATOR: Final = "__"
_OWN: Final = ("schema_migrations",)


def shadow_name(live: str, name: str) -> str:
    """The database of a replay's tables."""
    return f"{live}{SEPARATOR}{name}"


def at_database(settings: WarehouseSettings, database: str) -> WarehouseSettings:
    """The same server with another database."""
    return settings.model_copy(update={"url": urlunsplit(urlsplit(settings.url)._replace(path=f"/{database}"))})


def databases(live: Warehouse) -> list[str]:
    """The databases of replays that are there, in order of their names."""
    rows = live.query(f"SELECT name FROM system.databases WHERE startsWith(name, {text(live.database + SEPARATOR)})")
    return sorted(str(row["name"]) for row in rows)


class Shadow:
    """One replay's database. `warehouse` speaks to it, `live` to the real one; both are the same server."""

    def __init__(self, settings: WarehouseSettings, live: Warehouse, name: str) -> None:
        self.live, self.database = live, shadow_name(live.database, name)
        self.warehouse = Warehouse(at_database(settings, self.database))

    def create(self) -> None:
        """Make the database with an empty twin of every table. Raises ConfigError when it is there already."""
        if self.database in databases(self.live):
            raise ConfigError(
                f"the database {self.database} is there already: choose another name, or drop it with"
                f" `headrace replay --drop {self.database.split(SEPARATOR, maxsplit=1)[1]}`",
                key="--into",
            )
        self.live.command(f"CREATE DATABASE {self.database}")
        for table in self._live_tables():
            self.live.command(f"CREATE TABLE {self.database}.{table} AS {self.live.database}.{table}")

    def link(self, tables: Iterable[str]) -> None:
        """Have the rows of live tables, as they are now, in their twins."""
        for table in tables:
            rows = self.live.query(
                f"SELECT DISTINCT partition_id AS id FROM system.parts WHERE active AND table = {text(table)}"
                f" AND database = {text(self.live.database)} ORDER BY id"
            )
            for row in rows:
                self.live.command(
                    f"ALTER TABLE {self.database}.{table} ATTACH PARTITION ID {text(str(row['id']))}"
                    f" FROM {self.live.database}.{table}"
                )

    def drop(self) -> None:
        """Remove the database and all that is in it."""
        self.live.command(f"DROP DATABASE IF EXISTS {self.database}")

    def close(self) -> None:
        """Close the connections."""
        self.warehouse.close()

    def _live_tables(self) -> list[str]:
        rows = self.live.query(
            f"SELECT name FROM system.tables WHERE database = {text(self.live.database)} AND engine LIKE '%MergeTree'"
        )
        return sorted(str(row["name"]) for row in rows if row["name"] not in _OWN)
