"""Content-Encoding: what comes in, what goes out, and what is too much."""

from __future__ import annotations

import gzip
import zlib

import lz4.frame
import pytest
import zstandard

from deploy.embedded import codec
from deploy.embedded.form import parse_form
from deploy.embedded.statement import BadRequest

DATA = b"the same words again and again " * 10_000
PACK = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstandard.compress,
}


@pytest.mark.parametrize("name", PACK)
def test_every_encoding_is_read(name: str) -> None:
    assert codec.decode(PACK[name](DATA), name.upper(), len(DATA)) == DATA


@pytest.mark.parametrize("name", PACK)
def test_a_body_of_several_frames_is_read_whole(name: str) -> None:
    assert codec.decode(PACK[name](DATA) + PACK[name](b"end"), name, len(DATA) + 3) == DATA + b"end"


@pytest.mark.parametrize("name", PACK)
def test_a_bomb_is_refused_before_it_is_unpacked(name: str) -> None:
    with pytest.raises(BadRequest, match="over 1000 bytes"):
        codec.decode(PACK[name](bytes(50_000_000)), name, 1000)


@pytest.mark.parametrize("name", PACK)
def test_a_broken_body_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="not valid"):
        codec.decode(b"not packed at all", name, 1000)


@pytest.mark.parametrize("name", ["gzip", "deflate", "lz4"])
def test_a_body_that_ends_too_early_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="too early"):
        codec.decode(PACK[name](DATA)[:-4], name, len(DATA))


def test_no_encoding_is_no_work_and_an_unknown_one_is_named() -> None:
    assert codec.decode(DATA, "identity", 1) is DATA
    with pytest.raises(BadRequest, match="'br'"):
        codec.decode(DATA, "br", 1)


@pytest.mark.parametrize("name", PACK)
def test_what_the_encoder_writes_is_read_again(name: str) -> None:
    encoder = codec.encoder(name)
    packed = encoder.feed(DATA) + encoder.feed(b"") + encoder.feed(b"end") + encoder.finish()
    assert codec.decode(packed, name, len(DATA) + 3) == DATA + b"end"


def test_the_cheapest_accepted_encoding_is_chosen() -> None:
    assert codec.choose("gzip, deflate, zstd;q=0.5, lz4") == "lz4"
    assert codec.choose("gzip;q=0") == ""
    assert codec.choose("br, *") == ""


def _form(*parts: tuple[str, bytes, bool]) -> bytes:
    body = b""
    for name, value, is_file in parts:
        extra = b'; filename="x"' if is_file else b""
        body += b'--B\r\nContent-Disposition: form-data; name="' + name.encode() + b'"' + extra + b"\r\n\r\n"
        body += value + b"\r\n"
    return body + b"--B--\r\n"


def test_a_form_carries_options_and_tables() -> None:
    body = _form(("query", b"SELECT 1", False), ("param_a", b"x\r\ny", False), ("ext", b"1\n2\n", True))
    options, tables = parse_form("multipart/form-data; boundary=B", body, {"ext_types": "UInt8"})
    assert options == {"query": "SELECT 1", "param_a": "x\r\ny"}
    assert [(t.name, t.structure, t.format, t.data) for t in tables] == [("ext", "_1 UInt8", "TabSeparated", b"1\n2\n")]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", _form()),
        ("multipart/form-data; boundary=B", b"--B\r\n"),
        ("multipart/form-data; boundary=B", b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--"),
        ("multipart/form-data; boundary=B", _form(("ext", b"1", True))),
        ("multipart/form-data; boundary=B", _form(("a b; DROP", b"1", True))),
        (
            "multipart/form-data; boundary=B",
            _form(("e", b"1", True), ("e_structure", b"a Int8) ENGINE = Log --", False)),
        ),
        ("multipart/form-data; boundary=B", _form(("param_a", b"\xff", False))),
    ],
)
def test_a_form_that_cannot_be_read_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_form(content_type, body, {})
