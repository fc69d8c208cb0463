"""The chdb engine: one process owns a data directory, and every statement runs on a connection of its own.

A connection costs 0.2 ms, so settings, parameters and `readonly` never leak from one request into another.
Delivery: an insert is in the table when `run` returns (`async_insert=0`); a failed one stores none of its last block.
What a full disk does is the matter of `deploy.embedded.space`.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final, NamedTuple
from urllib.parse import urlencode

from deploy.allocator import keep_engine_trimmed
from deploy.embedded.space import HEADROOM, Space
from deploy.embedded.statement import BadRequest, Statement, before_settings, first_word, quote
from schemas.errors import Fatal, HeadraceError

STREAMABLE: Final = frozenset(
    (
        *("native", "jsoneachrow", "jsoncompacteachrow", "jsonstringseachrow", "rowbinary", "msgpack", "tskv"),
        *("tsv", "tabseparated", "tsvraw", "tabseparatedraw", "csv", "lineasstring"),
    )
)
"""Formats whose blocks may be sent one after another, because they have no header and no footer."""

_MERGE_TREE: Final[Mapping[str, int]] = {
    "concurrent_part_removal_threshold": 1_000_000,
    "cleanup_delay_period": 1,
    "cleanup_delay_period_random_add": 1,
    "max_cleanup_delay_period": 5,
    "old_parts_lifetime": 15,
    "merge_selector_enable_heuristic_to_remove_small_parts_at_right": 0,
}
"""What the engine takes from a file only. Outdated parts are removed by one thread. Of more than 100 at once it would
remove each in a thread of its own, and keep those 128 from then on, with their stacks and free blocks of memory.
It looks for them every few seconds, and removes those of fifteen seconds ago; of its own accord it looks every 30 to
300, while a thousand and more wait, each of which takes 20 KB of memory, and removes also those of just now. A part
that a full disk damaged is found within these fifteen seconds (`deploy.embedded.space`): what it was merged from is
still there.

Small parts are merged with a large one five at a time at least. Of its own accord the engine, which counts each part as
5 MiB more than it is, chooses a part of a few hundred KiB and some new ones, then leaves out the new ones but for one
because they are so small, and so writes the large part anew with each insert.
"""
_NO_SUCH_PART: Final = 232
_CODE: Final = re.compile(r"Code: (\d+)\.")


class EngineError(HeadraceError):
    """The engine's own error; `code` is ClickHouse's error code, 1002 when it has none."""

    def __init__(self, text: str) -> None:
        start = text.find("Code: ")
        super().__init__(text[start:] if start > 0 else text)
        match = _CODE.search(text)
        self.code = int(match.group(1)) if match else 1002


@dataclass(frozen=True)
class Summary:
    """What X-ClickHouse-Summary says. Rows and bytes are counts, `elapsed` seconds."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed: float = 0.0


class Part(NamedTuple):
    """Rows of a table in files of their own."""

    database: str
    table: str
    name: str


@dataclass(frozen=True)
class Done:
    """The last thing that `run` gives: `has_result` tells a SELECT of no rows from a statement without a result."""

    summary: Summary
    has_result: bool


class Engine:
    """One open data directory. Thread-safe: any number of threads may be in `run`."""

    def __init__(self, data_dir: Path, *, memory_bytes: int) -> None:
        """Open `data_dir`. Raises Fatal when another process has it, or when chdb is not installed."""
        keep_engine_trimmed()
        try:
            module = import_module("chdb._chdb")
        except ImportError as error:
            raise Fatal(f"the embedded warehouse needs chdb: install headrace[embedded] ({error})") from error
        self._connect: Callable[[str], Any] = module.connect
        data_dir.mkdir(parents=True, exist_ok=True)
        folder, options = data_dir.resolve(), urlencode(_defaults(memory_bytes))
        self._target = f"{folder}?{options}"
        try:
            with _file_with(_config()) as config:  # a path as it is: the engine does not decode what it is given
                self._keeper = self._connect(f"{folder}?config-file={config}&{options}")
        except RuntimeError as error:
            raise Fatal(
                f"cannot open the warehouse in {data_dir}: another process may be using it, or it is damaged ({error})"
            ) from error
        row = self._keeper.query("SELECT version(), timezone()", "TSV").bytes().decode().split()
        self.version, self.timezone = row[0], row[1]
        self._space = Space(self, data_dir)

    def close(self) -> None:
        """Flush and release the data directory; no `run` may be active."""
        self._space.close()
        self._keeper.close()

    def command(self, sql: str) -> list[list[str]]:
        """A statement of ours: the rows of its answer. Raises EngineError."""
        with contextlib.closing(self._connect(self._target)) as connection, _engine_errors():
            body = bytes(connection.query(sql, "TSV").bytes() or b"").decode()
        return [line.split("\t") for line in body.splitlines()]

    def parts_since(self, since: int) -> list[Part]:
        """The parts in use that were written since then (Unix seconds)."""
        recent = self.command(
            "SELECT database, table, name FROM system.parts "
            f"WHERE active AND toUnixTimestamp(modification_time) >= {since} AND database != 'system'"
        )
        return [Part(*row) for row in recent]

    def is_damaged(self, part: Part) -> bool:
        """Are its files not what they have to be? Reads all of them."""
        check = (
            f"CHECK TABLE `{part.database}`.`{part.table}` PART {quote(part.name)}"
            " SETTINGS check_query_single_value_result = 1"
        )
        try:
            return self.command(check) != [["1"]]
        except EngineError as error:
            return error.code != _NO_SUCH_PART  # merged into another meanwhile, which is looked at as well

    def run(self, statement: Statement) -> Generator[bytes | Done]:
        """Execute: pieces of the result, then one Done.

        Exhaust or close the iterator in one thread. Raises EngineError, BadRequest.
        """
        connection = self._connect(self._target)
        try:
            with _engine_errors():
                _prepare(connection, statement)
                if statement.data is not None:
                    done = _insert(connection, statement)
                    self._space.after_write()
                    yield done
                    return
                yield from _query(connection, statement)
        finally:
            connection.close()


def _config() -> bytes:
    settings = "".join(f"<{name}>{value}</{name}>" for name, value in _MERGE_TREE.items())
    return f"<clickhouse><merge_tree>{settings}</merge_tree></clickhouse>".encode()


def _defaults(memory_bytes: int) -> Mapping[str, int | str]:
    """Settings of every connection. Parsing in one thread is a third cheaper than in two that share the cores.

    Conditions are on times that move on, so what the engine remembers of them is of no use, and grows to 100 MB; nor
    are the sizes of past groupings, of which it keeps one for each condition. Marks of a part's columns are read by
    whoever needs them: a thread for each of fifty is more work, and the threads stay.
    """
    per_query = memory_bytes * 6 // 10
    return {
        "max_server_memory_usage": memory_bytes,
        "max_memory_usage": per_query,
        "max_bytes_before_external_group_by": per_query // 2,
        "max_bytes_before_external_sort": per_query // 2,
        "mark_cache_size": memory_bytes // 10,
        "index_mark_cache_size": memory_bytes // 10,
        "background_pool_size": 2,
        "background_schedule_pool_size": 4,
        "session_timezone": "UTC",
        "async_insert": 0,
        "input_format_parallel_parsing": 0,
        "min_free_disk_bytes_to_perform_insert": HEADROOM,
        "use_query_condition_cache": 0,
        "collect_hash_table_stats_during_aggregation": 0,
        "load_marks_asynchronously": 0,
    }


@contextlib.contextmanager
def _engine_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise EngineError(str(error)) from error


def _prepare(connection: Any, statement: Statement) -> None:
    """Apply database, external tables and settings, `readonly` last so that it forbids none of these."""
    if statement.database:
        connection.query(f"USE `{statement.database.replace('`', '``')}`", "TSV")
    for table in statement.external:
        connection.query(f"CREATE TEMPORARY TABLE `{table.name}` ({table.structure}) ENGINE = Memory", "TSV")
        _append(connection, f"INSERT INTO `{table.name}`", table.format, table.data)
    changes: list[str] = []
    if statement.data is not None:  # queries take parameters beside the statement, where their size does not matter
        changes += [f"param_{name} = {quote(value)}" for name, value in statement.params.items()]
    changes += [f"{name} = {quote(value)}" for name, value in statement.settings.items()]
    if changes:
        connection.query("SET " + ", ".join(changes), "TSV")


def _insert(connection: Any, statement: Statement) -> Done:
    if statement.settings.get("readonly", "0") != "0":
        raise BadRequest(164, "READONLY", "Cannot execute query in readonly mode: it inserts")
    return _append(connection, statement.sql, statement.format, statement.data or b"")


def _append(connection: Any, sql: str, fmt: str, data: bytes | memoryview) -> Done:
    """Insert from a file in memory: chdb's own `send_insert` hides errors of writing, and says done on a full disk."""
    head, tail = before_settings(sql)
    with _file_with(data) as path:
        result = connection.query(f"{head} FROM INFILE {quote(path)} COMPRESSION 'none' {tail} FORMAT {fmt}", "Null")
    rows, size = result.rows_written(), result.bytes_written()
    return Done(Summary(written_rows=rows, written_bytes=size, read_rows=rows, elapsed=result.elapsed()), False)


@contextlib.contextmanager
def _file_with(data: bytes | memoryview) -> Iterator[str]:
    """The path of a file with `data`, in memory where the system can."""
    with contextlib.ExitStack() as open_files:
        if sys.platform == "linux":
            file: IO[bytes] = open_files.enter_context(os.fdopen(os.memfd_create("insert"), "wb"))
            path = f"/proc/self/fd/{file.fileno()}"
        else:
            file = open_files.enter_context(tempfile.NamedTemporaryFile())
            path = file.name
        file.write(data)
        file.flush()
        yield path


def _query(connection: Any, statement: Statement) -> Generator[bytes | Done]:
    kind = connection.classify_query(statement.sql)
    if kind["statement_count"] > 1:
        raise BadRequest(62, "SYNTAX_ERROR", "Multi-statements are not allowed")
    reads = kind["query_class"].name == "READ_ONLY"
    if reads and statement.format.lower() in STREAMABLE and first_word(statement.sql) in ("SELECT", "WITH"):
        yield from _stream(connection, statement)
        return
    result = connection.query(statement.sql, statement.format, params=dict(statement.params))
    body = bytes(result.bytes() or b"")
    if body:
        yield body
    summary = Summary(
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        result_rows=result.rows_read(),
        elapsed=result.elapsed(),
    )
    yield Done(summary, reads or bool(body))


def _stream(connection: Any, statement: Statement) -> Generator[bytes | Done]:
    stream = connection.send_query(statement.sql, statement.format, params=dict(statement.params))
    rows = read_rows = read_bytes = 0
    elapsed = 0.0
    finished = False
    try:
        while True:
            piece = connection.streaming_fetch_result(stream)
            if piece is None or piece.rows_read() == 0:
                break
            rows += piece.rows_read()
            read_rows = max(read_rows, piece.storage_rows_read())
            read_bytes = max(read_bytes, piece.storage_bytes_read())
            elapsed = max(elapsed, piece.elapsed())
            yield bytes(piece.bytes())
        finished = True
    finally:
        if not finished:
            connection.streaming_cancel_query(stream)
    yield Done(Summary(read_rows=read_rows, read_bytes=read_bytes, result_rows=rows, elapsed=elapsed), True)
