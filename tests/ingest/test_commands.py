"""`headrace keys` and `headrace collect`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy import settings as deploy_settings
from deploy.commands.collect import is_loopback, run_collector
from deploy.commands.keys import keys_app
from deploy.embedded.process import free_port
from schemas.clock import SystemClock
from schemas.errors import ConfigError
from schemas.keys import KeyStore, Kind
from tests.ingest.support import event

runner = CliRunner()


def keys(file: Path, *arguments: str) -> tuple[int, str]:
    result = runner.invoke(keys_app, [*arguments, "--file", str(file)])
    return result.exit_code, result.output


def test_a_secret_is_shown_once_and_then_works(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    status, output = keys(file, "create", "--kind", "write", "--tenant", "acme", "--json")
    made = json.loads(output)
    assert status == 0
    assert KeyStore(file, SystemClock()).find(made["secret"], Kind.WRITE).id == made["id"]
    for arguments in (("list",), ("list", "--json"), ("revoke", made["id"]), ("list",)):
        status, output = keys(file, *arguments)
        assert status == 0
        assert made["secret"] not in output
        assert "sha256" not in output
    assert "revoked" in output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("create", "--kind", "write", "--pack", "marketting"), "marketting"),
        (("create", "--kind", "write", "--tenant", "A B"), "tenant"),
        (("create", "--kind", "write", "--role", "admin"), "role"),
        (("revoke", "nobody"), "nobody"),
    ],
)
def test_faults_are_told_with_status_2(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    status, output = keys(tmp_path / "keys.json", *arguments)
    assert status == 2
    assert told in output


def test_the_development_keys_refuse_to_boot_off_loopback() -> None:
    chosen = deploy_settings.load({"HEADRACE_DEV_KEYS": "1", "HEADRACE_COLLECTOR_HOST": "0.0.0.0"})
    with pytest.raises(ConfigError, match=r"HEADRACE_DEV_KEYS: .*0\.0\.0\.0"):
        run_collector(chosen)


def test_loopback_is_what_only_this_machine_reaches() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost", "127.8.8.8")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "")))


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")},
        "HEADRACE_DEV_KEYS": "1",
        "HEADRACE_DATA_DIR": str(tmp_path),
        "HEADRACE_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}",
        "HEADRACE_COLLECTOR_GATEWAY_DEADLINE_SECONDS": "0.3",
    }
    code = "import typer; from deploy.commands.collect import collect; typer.run(collect)"
    command = [sys.executable, "-c", code, "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    yield process, port
    if process.poll() is None:
        process.kill()
    process.wait()


def ask(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, body, {"authorization": "Bearer dev-write-key"})
    response = connection.getresponse()
    answer = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    connection.close()
    return answer


def test_a_collector_starts_without_kafka_and_says_so(collector: tuple[subprocess.Popen[bytes], int]) -> None:
    process, port = collector
    end = time.monotonic() + 30
    while True:
        try:
            assert ask(port, "GET", "/health/live")[0] == 200
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.1)
    assert ask(port, "GET", "/health/ready")[0] == 503
    body = json.dumps(event(timestamp=time.time())).encode()
    status, headers, answer = ask(port, "POST", "/api/analytics/events", body)
    assert (status, json.loads(answer)["error"]) == (503, "unavailable")
    assert headers["retry-after"] in ("1", "2")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
