"""Pages over HTTP, and the disk of a folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.embedded.process import free_port
from deploy.probes import DataDisk, Pages
from schemas.errors import Retryable


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Answers /metrics, fails at /broken, redirects at /moved, and hangs at /hangs."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/hangs":
                over.wait(20)
                return
            status = {"/metrics": 200, "/moved": 307}.get(self.path, 500)
            self.send_response(status)
            if status == 307:
                self.send_header("Location", "/metrics")
            self.send_header("Content-Length", "9")
            self.end_headers()
            self.wfile.write(b"up 1.0 \xff\n")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_is_its_text(site: str) -> None:
    pages = Pages()
    assert pages.text(f"{site}/metrics") == pages.text(f"{site}/metrics") == "up 1.0 \N{REPLACEMENT CHARACTER}\n"
    pages.close()


@pytest.mark.parametrize(
    ("path", "said"),
    [("/broken", "answers 500"), ("/moved", "answers 307"), ("/hangs", "does not answer: ReadTimeout")],
)
def test_no_answer_is_a_passing_fault(site: str, path: str, said: str) -> None:
    pages = Pages(timeout=0.3)
    with pytest.raises(Retryable, match=said):
        pages.text(site + path)
    pages.close()


def test_nobody_there_and_no_address_are_passing_faults() -> None:
    pages = Pages(timeout=0.3)
    with pytest.raises(Retryable, match="ConnectError"):
        pages.text(f"http://127.0.0.1:{free_port()}/metrics")
    with pytest.raises(Retryable, match="does not answer"):
        pages.text("http://[/metrics")
    pages.close()


def test_a_page_without_end_is_given_up(site: str) -> None:
    pages = Pages(most_bytes=8)
    with pytest.raises(Retryable, match="over 8 bytes"):
        pages.text(f"{site}/metrics")
    pages.close()


def test_the_disk_of_a_folder_that_is_still_to_be_made_is_that_of_the_one_above(tmp_path: Path) -> None:
    disk = DataDisk(tmp_path / "not" / "yet").disk()
    assert disk.total == DataDisk(tmp_path).disk().total > disk.free > 0
    assert disk.path == str(tmp_path / "not" / "yet")


def test_a_disk_that_cannot_be_asked_is_a_passing_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("deploy.probes.shutil.disk_usage", broken)
    with pytest.raises(Retryable, match="Input/output error"):
        DataDisk(tmp_path).disk()
