"""The client against a real server."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from schemas.errors import ConfigError, Fatal, Permanent, Retryable
from schemas.wire import LedgerLine
from sinks.codes import RequestRefused, RowsRefused, WarehouseBusy, classify
from sinks.settings import WarehouseSettings
from sinks.warehouse import Warehouse

pytestmark = pytest.mark.integration

EVENT = (
    b'{"tenant":"t","event_id":"%d","event_type":"user_purchased","timestamp":1763712000.123,'
    b'"received_at":4102444800.5,"user_id":"u","slot":1,"chunk":18446744073709551615,"amount_micros":1990000,'
    b'"properties":{"order_value":1.99,"note":"\\u00e9"},"context":{"a":[1,{"b":2}]},"unheard_of":1}\n'
)


def test_inserted_lines_are_there_when_the_call_returns(warehouse: Warehouse) -> None:
    warehouse.insert_lines("events", EVENT % 1 + EVENT % 2)
    [row] = warehouse.query(
        "SELECT count() AS n, any(chunk) AS chunk, any(properties) AS p, any(timestamp) AS t FROM events"
    )
    assert row["n"] == 2
    assert row["chunk"] == 2**64 - 1
    assert row["p"] == '{"order_value":1.99,"note":"\\u00e9"}'
    assert row["t"] == 1763712000.123


def test_a_line_twice_in_one_insert_or_in_two_counts_once_under_final(warehouse: Warehouse) -> None:
    line = EVENT % 1
    warehouse.insert_lines("events", line + line)
    warehouse.insert_lines("events", line)
    assert warehouse.query("SELECT count() AS n FROM events FINAL") == [{"n": 1}]


def test_structs_are_rows(warehouse: Warehouse) -> None:
    warehouse.insert_rows("ledger", [LedgerLine("t", 1763712000, "received", "", 7, 3, 1)])
    assert warehouse.query("SELECT minute, n FROM ledger") == [{"minute": 1763712000.0, "n": 3}]


def test_an_empty_body_is_nothing_to_insert(warehouse: Warehouse) -> None:
    warehouse.insert_lines("events", b"\n \n")
    assert warehouse.query("SELECT count() AS n FROM events") == [{"n": 0}]


def test_history_of_many_years_fits_into_one_insert(warehouse: Warehouse) -> None:
    """ClickHouse refuses blocks of over 100 partitions unless told otherwise."""
    lines = [EVENT.replace(b"1763712000.123", b"%d" % (86400 * 31 * n)) % n for n in range(1, 151)]
    warehouse.insert_lines("events", b"".join(lines))
    assert warehouse.query("SELECT count() AS n, uniq(toYYYYMM(timestamp)) AS months FROM events")[0]["n"] == 150


def test_parameters_are_bound_by_the_server(warehouse: Warehouse) -> None:
    evil = "x' OR 1=1 --\n\\"
    rows = warehouse.query("SELECT {a:String} AS a, {b:Array(UInt8)} AS b", {"a": evil, "b": [1, 2]})
    assert rows == [{"a": evil, "b": [1, 2]}]


def test_raw_results_come_in_the_format_asked_for(warehouse: Warehouse) -> None:
    assert warehouse.query_bytes("SELECT number FROM numbers({n:UInt8})", "TSV", {"n": 3}) == b"0\n1\n2\n"


@pytest.mark.parametrize(
    "line", [b'{"timestamp":"yesterday"}', b'{"slot":"x"}', b"not json", b'{"tenant":"t"', b'{"is_holdout":"x"}']
)
def test_rows_that_cannot_be_stored_are_refused_with_table_and_code(warehouse: Warehouse, line: bytes) -> None:
    with pytest.raises(RowsRefused) as caught:
        warehouse.insert_lines("events", EVENT % 1 + line + b"\n")
    assert caught.value.table == "events"
    assert caught.value.code
    assert isinstance(caught.value, Permanent)


def test_a_wrong_statement_is_refused_but_not_blamed_on_rows(empty: Warehouse) -> None:
    empty.create_database()
    with pytest.raises(RequestRefused, match="headrace migrate"):
        empty.insert_lines("events", EVENT % 1)
    with pytest.raises(RequestRefused):
        empty.query("SELEKT 1")


def test_a_database_that_is_missing_is_named(empty: Warehouse) -> None:
    with pytest.raises(RequestRefused, match="headrace migrate"):
        empty.query("SELECT 1 FROM events")


def test_an_absent_server_is_retryable_and_answers_no_ping() -> None:
    warehouse = Warehouse("http://someone:hush@127.0.0.1:9/")
    with pytest.raises(Retryable) as caught:
        warehouse.query("SELECT 1")
    assert "127.0.0.1:9" in str(caught.value)
    assert "hush" not in str(caught.value)
    assert not warehouse.ping()


def test_ping(warehouse: Warehouse) -> None:
    assert warehouse.ping()


def test_threads_share_one_warehouse(warehouse: Warehouse) -> None:
    failures: list[BaseException] = []

    def work(n: int) -> None:
        try:
            for i in range(5):
                warehouse.insert_lines("events", EVENT % (n * 100 + i))
                warehouse.query("SELECT count() FROM events")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert warehouse.query("SELECT uniqExact(event_id) AS n FROM events") == [{"n": 30}]


@pytest.mark.parametrize("url", ["127.0.0.1:8123", "ftp://host", "http://", "http://host:port"])
def test_an_unusable_url_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError):
        Warehouse(WarehouseSettings(url=url))


@pytest.mark.parametrize("table", ["events; DROP TABLE events", "a.b", ""])
def test_a_table_is_a_plain_name(warehouse: Warehouse, table: str) -> None:
    with pytest.raises(ValueError, match="no table name"):
        warehouse.insert_lines(table, b"{}")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (None, WarehouseBusy),
        (241, WarehouseBusy),
        (252, WarehouseBusy),
        (159, WarehouseBusy),
        (202, WarehouseBusy),
        (999_999, WarehouseBusy),
        (27, RowsRefused),
        (117, RowsRefused),
        (60, RequestRefused),
        (62, RequestRefused),
        (516, Fatal),
    ],
)
def test_exception_codes_become_the_three_families(code: int | None, kind: type[Exception]) -> None:
    """Memory, parts, timeouts and the unknown: again. Rows: dead letters. Statements: refused. Password: stop."""
    assert isinstance(classify(code, "text", place="query at h:1"), kind)


def test_there_are_as_many_clients_as_calls_at_the_same_time(warehouse: Warehouse) -> None:
    """Threads that call one after the other share one; all share the server's settings, most of a MiB."""
    for _ in range(12):
        with ThreadPoolExecutor(1) as one:
            one.submit(warehouse.query, "SELECT 1").result()
    assert len(warehouse._idle) == 1
    with ThreadPoolExecutor(4) as four:
        for done in [four.submit(warehouse.query, "SELECT sleep(0.3)") for _ in range(4)]:
            done.result()
    assert 2 <= len(warehouse._idle) <= 4
    assert len({id(client.server_settings) for client in warehouse._idle}) == 1 and warehouse._idle[0].server_settings
