"""Requests of the ClickHouse HTTP interface, taken apart without an engine."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.embedded.statement import HEAD_LIMIT, BadRequest, build, first_word, options_of, quote, result_format


def parse(query_string: str, body: bytes = b"", **more: object):
    return build(options_of(query_string.encode()), body, (), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "body", "sql", "fmt", "data"),
    [
        ("", b"INSERT INTO t FORMAT TSV\n1\t2\n", "INSERT INTO t", "TSV", b"1\t2\n"),
        ("", b"insert into t (a, b) format JSONEachRow {}", "insert into t (a, b)", "JSONEachRow", b"{}"),
        ("", b"INSERT INTO t FORMAT Native\r\n\x00\xff", "INSERT INTO t", "Native", b"\x00\xff"),
        ("query=INSERT+INTO+t+FORMAT+CSV", b"1,2", "INSERT INTO t", "CSV", b"1,2"),
        ("query=INSERT+INTO+t+FORMAT+CSV+1,2", b"3,4", "INSERT INTO t", "CSV", b"1,2\n3,4"),
        ("", b"INSERT INTO t SETTINGS a=1 /* FORMAT x */ FORMAT CSV\n1", "INSERT INTO t SETTINGS a=1", "CSV", b"1"),
        ("", b"INSERT INTO `format` (`a b`) FORMAT TSV\n1", "INSERT INTO `format` (`a b`)", "TSV", b"1"),
        ("", b"-- first\nINSERT INTO t FORMAT TSV\n\n1", "-- first\nINSERT INTO t", "TSV", b"\n1"),
        ("", b"INSERT INTO t FORMAT RowBinary", "INSERT INTO t", "RowBinary", b""),
    ],
)
def test_an_insert_is_split_into_statement_format_and_bytes(
    query: str, body: bytes, sql: str, fmt: str, data: bytes
) -> None:
    statement = parse(query, body)
    assert statement.data is not None
    got = statement.sql.replace("/* FORMAT x */", "").strip(), statement.format, bytes(statement.data)
    assert got == (sql.strip(), fmt, data)


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 1 FORMAT TSV",
        b"INSERT INTO t SELECT 'FORMAT', 1 FORMAT TSV",
        b"INSERT INTO t VALUES (1, 'FORMAT TSV')",
        b"INSERT INTO t FORMAT Values (1)",
        b"INSERT INTO t (format) VALUES (1)",
        b"WITH 1 AS insert SELECT insert",
        b"CREATE TABLE insert (a Int8) ENGINE = Memory",
    ],
)
def test_other_statements_go_to_the_engine_whole(text: bytes) -> None:
    statement = parse("", text)
    assert statement.data is None
    assert statement.sql.encode() == text


def test_data_that_looks_like_sql_is_not_read() -> None:
    data = b"'\"`/* FORMAT CSV" * 1000
    assert bytes(parse("", b"INSERT INTO t FORMAT TSV\n" + data).data or b"") == data


def test_the_statement_of_an_insert_may_be_long_but_not_endless() -> None:
    columns = ", ".join(f"column_{i}" for i in range(10_000)).encode()
    assert parse("", b"INSERT INTO t (" + columns + b") FORMAT TSV\n1").data is not None
    assert parse("", b"INSERT INTO t (" + b"a" * HEAD_LIMIT + b") FORMAT TSV\n1").data is None


def test_parameters_settings_and_transport_options_are_told_apart() -> None:
    statement = parse(
        "database=d&param_x=1%2C2&max_threads=2&query_id=q&default_format=JSON&wait_end_of_query=1", b"SELECT 1"
    )
    assert statement.params == {"x": "1,2"}
    assert statement.settings == {"max_threads": "2"}
    assert (statement.database, statement.format) == ("d", "JSON")


@pytest.mark.parametrize(
    ("sql", "options", "header", "fmt"),
    [
        ("SELECT 1", "", "", "TabSeparated"),
        ("SELECT 1", "default_format=CSV", "", "CSV"),
        ("SELECT 1", "default_format=CSV", "JSON", "JSON"),
        ("SELECT 1 FORMAT Native", "default_format=CSV", "JSON", "Native"),
        ("SELECT 'FORMAT x' AS format", "default_format=CSV", "", "CSV"),
    ],
)
def test_the_statement_chooses_the_format_then_the_header_then_the_option(
    sql: str, options: str, header: str, fmt: str
) -> None:
    assert parse(options, sql.encode(), header_format=header).format == fmt


def test_a_get_may_not_write() -> None:
    assert parse("query=SELECT+1", readonly=True).settings["readonly"] == "2"
    assert parse("query=SELECT+1&readonly=1", readonly=True).settings["readonly"] == "1"


@pytest.mark.parametrize(
    ("query", "body", "code"),
    [
        ("", b"  \n ", 62),
        ("compress=1", b"SELECT 1", 48),
        ("decompress=1", b"SELECT 1", 48),
        ("a%20b=1", b"SELECT 1", 115),
        ("param_%27=1", b"SELECT 1", 115),
        ("", b"SELECT '\xff'", 62),
    ],
)
def test_what_cannot_be_served_is_refused_with_clickhouses_code(query: str, body: bytes, code: int) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(query, body)
    assert refused.value.code == code


@pytest.mark.parametrize("query", ["%ff=1", "a=%ff"])
def test_a_query_string_that_is_not_utf8_is_refused(query: str) -> None:
    with pytest.raises(BadRequest):
        options_of(query.encode())


def test_the_first_word_is_found_behind_comments() -> None:
    assert first_word("/* a */ -- b\n select 1") == "SELECT"
    assert first_word("(SELECT 1)") == ""
    assert result_format("SELECT 1") == ""


@given(st.text())
def test_a_quoted_text_is_one_literal(text: str) -> None:
    literal = quote(text)
    inner = literal[1:-1].replace("\\\\", "").replace("\\'", "")
    assert "'" not in inner


@given(st.binary(max_size=300))
def test_any_body_is_parsed_or_refused(body: bytes) -> None:
    with contextlib.suppress(BadRequest):
        parse("", body)
