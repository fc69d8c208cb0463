"""The embedded warehouse through its HTTP door, by the clients that people use."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import lz4.frame
import pytest
import zstandard
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.external import ExternalData

from deploy.embedded import warehouse
from deploy.embedded.process import ServerHandle, free_port
from schemas.errors import Fatal

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("door")]


@pytest.fixture(scope="module")
def client(door: ServerHandle) -> Iterator[Client]:
    """A synchronous client, and the table `t`."""
    opened = clickhouse_connect.get_client(host="127.0.0.1", port=door.port)
    opened.command("CREATE TABLE t (a Int64, b String) ENGINE = MergeTree ORDER BY a")
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def empty(client: Client) -> None:
    client.command("TRUNCATE TABLE t")


def ask(
    door: ServerHandle, body: bytes | None, method: str = "POST", headers: dict[str, str] | None = None, **options: Any
) -> tuple[int, http.client.HTTPResponse, bytes]:
    """One request; (status, response, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=30)
    try:
        query = "/?" + urllib.parse.urlencode(options) if options else "/"
        connection.request(method, query, body, headers or {})
        response = connection.getresponse()
        return response.status, response, response.read()
    finally:
        connection.close()


def count(client: Client) -> int:
    return int(client.command("SELECT count() FROM t"))  # type: ignore[arg-type]


def test_the_synchronous_client_inserts_and_reads(client: Client) -> None:
    client.insert("t", [[i, str(i)] for i in range(1000)], column_names=["a", "b"])
    assert client.query("SELECT sum(a), uniqExact(b) FROM t").result_rows == [(499_500, 1000)]
    assert client.query("DESCRIBE TABLE t").row_count == 2
    assert client.query("SELECT 1 WHERE 0").result_rows == []


@pytest.mark.parametrize("compress", [True, False, "lz4", "zstd", "gzip"])
def test_the_client_may_compress_both_ways(door: ServerHandle, client: Client, compress: bool | str) -> None:
    other = clickhouse_connect.get_client(host="127.0.0.1", port=door.port, compress=compress)
    other.insert("t", [[i, "x" * 50] for i in range(20_000)], column_names=["a", "b"])
    assert len(other.query("SELECT * FROM t").result_rows) == 20_000
    other.close()


async def test_the_asynchronous_client_reads_and_inserts_at_the_same_time(door: ServerHandle, client: Client) -> None:
    other = await clickhouse_connect.get_async_client(host="127.0.0.1", port=door.port)
    inserts = [other.raw_insert("t", insert_block=f"{i}\tx\n".encode(), fmt="TSV") for i in range(10)]
    reads = [other.query("SELECT {i:UInt8}", parameters={"i": i}) for i in range(10)]
    done = await asyncio.gather(*inserts, *reads)
    assert [result.result_rows[0][0] for result in done[10:]] == list(range(10))
    assert await other.command("SELECT count() FROM t") == 10
    await other.close()


@pytest.mark.parametrize("value", ["it's", "tab\tand\nline", "back\\slash", "", "naïve 💧", "{x:String}"])
def test_parameters_arrive_unchanged(client: Client, value: str) -> None:
    found = client.query("SELECT {x:String}, {y:Array(String)}", parameters={"x": value, "y": [value, "b"]})
    assert found.result_rows == [(value, [value, "b"])]


def test_long_parameters_travel_as_a_form(door: ServerHandle) -> None:
    ids = [f"id-{i}" for i in range(20_000)]
    other = clickhouse_connect.get_client(host="127.0.0.1", port=door.port, form_encode_query_params=True)
    sql = "SELECT count() FROM numbers(30000) WHERE concat('id-', toString(number)) IN {ids:Array(String)}"
    assert other.query(sql, parameters={"ids": ids}).result_rows == [(20_000,)]
    other.close()


def test_a_table_may_travel_with_a_query(client: Client) -> None:
    table = ExternalData(file_name="ext", data=b"1\n2\n", fmt="TSV", structure="n UInt8")
    assert client.query("SELECT sum(n) FROM ext", external_data=table).result_rows == [(3,)]
    with pytest.raises(ClickHouseError):
        client.query("SELECT sum(n) FROM ext")


def test_raw_json_is_stored_and_counted(door: ServerHandle, client: Client) -> None:
    lines = b"".join(b'{"a":%d,"b":"x"}\n' % i for i in range(5000))
    status, response, _ = ask(door, lines, query="INSERT INTO t FORMAT JSONEachRow")
    assert status == 200
    assert json.loads(response.headers["X-ClickHouse-Summary"])["written_rows"] == "5000"
    assert "X-ClickHouse-Format" not in response.headers
    assert count(client) == 5000


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("lz4", lz4.frame.compress), ("zstd", zstandard.compress)]
)
def test_a_packed_insert_is_unpacked(door: ServerHandle, client: Client, encoding: str, pack: Any) -> None:
    body = pack(b"INSERT INTO t FORMAT TSV\n1\tx\n")
    assert ask(door, body, headers={"Content-Encoding": encoding})[0] == 200
    assert count(client) == 1


def test_a_bad_row_fails_the_insert_and_stores_nothing(door: ServerHandle, client: Client) -> None:
    body = b'INSERT INTO t FORMAT JSONEachRow\n{"a":1}\n{"a":"x"}\n{"a":3}\n'
    status, response, text = ask(door, body)
    assert (status, response.headers["X-ClickHouse-Exception-Code"]) == (500, "27")
    assert text.startswith(b"Code: 27. DB::Exception")
    assert count(client) == 0


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT foo", "47"),
        ("SELECT * FROM nowhere", "60"),
        ("SELEC 1", "62"),
        ("SELECT 1; SELECT 2", "62"),
        ("", "62"),
        ("SELECT sleepEachRow(1) FROM numbers(9) SETTINGS max_execution_time = 1, max_block_size = 1", "159"),
        ("SELECT groupArray(number) FROM numbers(1000000000)", "241"),
    ],
)
def test_errors_carry_clickhouses_code(door: ServerHandle, sql: str, code: str) -> None:
    status, response, text = ask(door, sql.encode())
    assert (status, response.headers["X-ClickHouse-Exception-Code"]) == (500, code)
    assert f"Code: {code}." in text.decode()


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE x (a Int8) ENGINE = Memory",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "INSERT INTO t VALUES (1, 'x')",
        "INSERT INTO t FORMAT TSV\n1\tx\n",
        "SET readonly = 0",
        "SELECT 1 SETTINGS max_threads = 1",
        "DROP TABLE t",
        "TRUNCATE TABLE t",
    ],
)
def test_readonly_forbids_every_change_and_every_way_out(door: ServerHandle, sql: str) -> None:
    status, response, _ = ask(door, sql.encode(), readonly=1, max_threads=2)
    assert (status, response.headers["X-ClickHouse-Exception-Code"]) == (500, "164")


def test_readonly_still_reads_with_settings_parameters_and_a_database(door: ServerHandle) -> None:
    body = b"SELECT currentDatabase(), {x:UInt8}, getSetting('max_threads')"
    got = ask(door, body, readonly=1, max_threads=1, param_x=7, database="system")[2]
    assert got == b"system\t7\t1\n"


def test_settings_of_one_request_never_reach_another(door: ServerHandle) -> None:
    assert ask(door, b"SELECT getSetting('max_block_size')", max_block_size=17)[2] == b"17\n"
    assert ask(door, b"SET max_block_size = 18")[0] == 200
    assert ask(door, b"SELECT getSetting('max_block_size')")[2] not in (b"17\n", b"18\n")


def test_a_get_reads_but_does_not_write(door: ServerHandle) -> None:
    assert ask(door, None, "GET", query="SELECT 1")[2] == b"1\n"
    assert ask(door, None, "GET", query="DROP TABLE t")[0] == 500
    assert ask(door, None, "GET")[2] == b"Ok.\n"


def test_curl_works(door: ServerHandle) -> None:
    done = subprocess.run(
        ["curl", "-sS", door.url, "--data-binary", "SELECT 1 AS a FORMAT JSONEachRow"],
        capture_output=True,
        check=True,
    )
    assert done.stdout == b'{"a":1}\n'


def test_a_large_result_is_streamed(door: ServerHandle) -> None:
    status, response, body = ask(door, b"SELECT number FROM numbers(2000000) FORMAT TSV")
    assert (status, response.headers["Transfer-Encoding"]) == (200, "chunked")
    assert body.count(b"\n") == 2_000_000


def test_a_result_that_fails_half_way_never_looks_complete(door: ServerHandle) -> None:
    sql = b"SELECT throwIf(number = 1900000), repeat('x', 100) FROM numbers(2000000) SETTINGS max_block_size = 1000"
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask(door, sql)


def test_a_reader_that_goes_away_frees_its_thread(door: ServerHandle) -> None:
    for _ in range(12):
        connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=10)
        connection.request("POST", "/", b"SELECT number, repeat('x', 1000) FROM numbers(3000000)")
        connection.getresponse().read(10)
        connection.close()
    assert ask(door, b"SELECT 1")[2] == b"1\n"


def test_the_answer_is_packed_when_asked_as_clickhouse_wants_it(door: ServerHandle) -> None:
    sql = b"SELECT repeat('x', 100) FROM numbers(1000)"
    packed = ask(door, sql, headers={"Accept-Encoding": "gzip"}, enable_http_compression=1)
    assert packed[1].headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed[2]).count(b"\n") == 1000
    assert "Content-Encoding" not in ask(door, sql, headers={"Accept-Encoding": "gzip"})[1].headers


def test_reads_go_on_while_an_insert_runs(door: ServerHandle, client: Client) -> None:
    rows = b"".join(b"%d\t%s\n" % (i, b"x" * 80) for i in range(400_000))
    insert = threading.Thread(target=ask, args=(door, rows), kwargs={"query": "INSERT INTO t FORMAT TSV"})
    insert.start()
    answered = 0
    while insert.is_alive():
        assert ask(door, b"SELECT 1")[0] == 200
        answered += 1
    assert answered > 3
    assert count(client) == 400_000


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}])
def test_web_pages_are_kept_out(door: ServerHandle, headers: dict[str, str]) -> None:
    assert ask(door, b"SELECT 1", headers=headers)[0] == 403


def test_a_body_over_the_limit_is_refused_before_it_is_read(door: ServerHandle) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2147483648\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"send less" in answer


def test_another_path_is_a_clear_404(door: ServerHandle) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=10)
    connection.request("GET", "/play")
    assert connection.getresponse().status == 404
    connection.close()


def test_what_the_engine_frees_goes_back(door: ServerHandle) -> None:
    """Soon: in jemalloc's own five seconds merges, which never rest, free a fifth of all. And threads keep little."""
    _, _, options = ask(door, b"SELECT * FROM system.jemalloc_stats FORMAT TSVRaw")
    if b"jemalloc statistics" not in options:
        pytest.skip("the engine of this machine has another allocator")
    assert b"opt.dirty_decay_ms: 100 " in options
    assert b"opt.tcache_max: 1024\n" in options


def test_a_second_server_on_the_same_folder_is_refused(door: ServerHandle, tmp_path: Path) -> None:
    assert door.log_path is not None
    with pytest.raises(Fatal, match="another process may be using it"):
        warehouse.start_process(door.log_path.with_suffix(""), log_path=tmp_path / "second.log")


def test_a_server_beyond_loopback_needs_a_password(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="HEADRACE_WAREHOUSE_PASSWORD"):
        warehouse.serve(tmp_path, free_port(), host="192.0.2.1")


def test_sigterm_finishes_the_running_insert_and_the_data_stays(tmp_path: Path) -> None:
    handle = warehouse.start_process(tmp_path / "data")
    assert ask(handle, b"CREATE TABLE t (a Int64, b String) ENGINE = MergeTree ORDER BY a")[0] == 200
    rows = b"".join(b"%d\t%s\n" % (i, b"x" * 80) for i in range(300_000))
    answers: list[int] = []

    def insert() -> None:
        answers.append(ask(handle, rows, query="INSERT INTO t FORMAT TSV")[0])

    thread = threading.Thread(target=insert)
    thread.start()
    time.sleep(0.1)
    handle.process.send_signal(signal.SIGTERM)
    thread.join()
    assert handle.stop() == 0
    again = warehouse.start_process(tmp_path / "data")
    stored = ask(again, b"SELECT count() FROM t")[2]
    again.stop()
    assert (answers, stored) == ([200], b"300000\n")


def test_a_killed_server_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    handle = warehouse.start_process(tmp_path / "data")
    ask(handle, b"CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a")
    for i in range(20):
        assert ask(handle, b"INSERT INTO t FORMAT TSV\n%d\n" % i)[0] == 200
    handle.kill()
    again = warehouse.start_process(tmp_path / "data")
    assert ask(again, b"SELECT count() FROM t")[2] == b"20\n"
    again.stop()
