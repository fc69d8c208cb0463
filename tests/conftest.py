"""Real servers for the tests, one set for each pytest process: tests keep apart by tenant, not by a stack of their own.

Modules that use `stack` carry `xdist_group("stack")`, so that one process of a parallel run starts it and the others
do not. Every server ends with the process that started it, at the latest.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.settings import load
from deploy.stack import Stack, local_settings
from schemas.clock import SystemClock
from schemas.keys import Kind, Role, create_key
from tests.e2e.doors import ANALYTICS, EVENTS, Doors, eventually
from tests.kafka_servers import KINDS, KafkaServer, kinds, need, open_kafka, up_kind
from tests.sinks.hook_server import Hook, hook_server

WATCHED = "watched"
"""The tenant whose alerts go to the webhook."""
SIGNING_KEY = "a key that the receiver knows too"

_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--broker KIND` (several times for several): the Kafka of every test that uses one. `--require WHAT`."""
    group = parser.getgroup("headrace")
    group.addoption("--broker", action="append", choices=KINDS, help="run on this Kafka instead of tansu and apache")
    group.addoption(
        "--require",
        action="append",
        default=[],
        choices=("kafka", "docker"),
        help="fail where a test would be skipped because this is missing",
    )
    group.addoption("--faults", choices=("short", "full"), default="short", help="size of the fault scenarios")
    group.addoption("--faults-scale", type=float, default=1.0, help="with --faults full: this share of the full size")
    group.addoption("--faults-rate", type=float, default=1.0, help="likewise: this share of the events a second")
    group.addoption("--faults-results", help="file that each fault scenario adds a line of JSON to")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that uses `broker_kind` (most do through `kafka`) runs once on each kind of this run."""
    if "broker_kind" in metafunc.fixturenames:
        metafunc.parametrize("broker_kind", kinds(metafunc.config), indirect=True, scope="session")


@pytest.fixture(scope="session")
def broker_kind(request: pytest.FixtureRequest) -> str:
    """The kind of Kafka that a test runs on; skipped, or failed with `--require`, where it cannot run."""
    kind: str = request.param
    need(kind, request.config)
    return kind


@pytest.fixture(scope="module")
def kafka(broker_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A Kafka without topics, of each kind of this run, for one module."""
    server = open_kafka(broker_kind, tmp_path_factory.mktemp("kafka"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def up_broker(request: pytest.FixtureRequest) -> str:
    """The broker of `headrace up` in this run: tansu or apache."""
    kind = up_kind(request.config)
    need(kind, request.config)
    return kind


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`--dist loadgroup` by the text of the modules: under pytest 9.2, pytest-xdist 3.8 loses the names of groups."""
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group_of(config.rootpath / nodeid.split("::", maxsplit=1)[0]) or nodeid

    return Grouped(config, log)


@functools.cache
def _group_of(module: Path) -> str:
    """The group that a module's `pytestmark` names, "" without one."""
    found = re.search(r'^pytestmark = .*?xdist_group\("(\w+)"\)', module.read_text(encoding="utf-8"), re.M | re.S)
    return found[1] if found else ""


@pytest.fixture(scope="session")
def hook() -> Iterator[Hook]:
    """A local webhook."""
    with hook_server() as server:
        yield server


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, hook: Hook, up_broker: str) -> Iterator[Stack]:
    """The whole pipeline on free ports, with alerts of the tenant `watched` going to `hook`."""
    folder = tmp_path_factory.mktemp("stack")
    base = load(_alerts(folder, hook))
    running = Stack(local_settings(data_dir=folder / "data", collector_port=0, api_port=0, broker=up_broker, base=base))
    running.start()
    try:
        running.wait_ready(120)
        yield running
    finally:
        running.stop()


def _alerts(folder: Path, hook: Hook) -> dict[str, str]:
    channel = {"type": "webhook", "url": f"{hook.url}/on-call", "signing_secret": "on_call", "tenants": [WATCHED]}
    path = folder / "channels.yaml"
    path.write_text(json.dumps({"channels": {"on_call": channel}}), encoding="utf-8")
    return {
        "HEADRACE_WATCHER_CHANNELS_FILE": str(path),
        # Predictions are events too: without this, every tenant with a past would get some in the middle of its test.
        "HEADRACE_WATCHER_CHURN_SECONDS": "3600",
        "HEADRACE_WATCHER_ALERT_SECRETS": json.dumps({"on_call": SIGNING_KEY}),
    }


@pytest.fixture(scope="session")
def open_doors(stack: Stack) -> Iterator[Callable[[str], Doors]]:
    """Gives the doors of a tenant, with keys of its own."""
    opened: list[Doors] = []

    def open_for(tenant: str) -> Doors:
        path, clock = stack.settings.keys_path, SystemClock()
        _, write = create_key(path, clock, kind=Kind.WRITE, tenant=tenant, pack="marketing")
        _, secret = create_key(path, clock, kind=Kind.SECRET, tenant=tenant, pack="marketing", role=Role.ADMIN)
        doors = Doors(stack.collector_url, stack.api_url, write, secret, tenant)
        opened.append(doors)
        eventually(lambda: doors.collector.post(EVENTS, content=b"[]").status_code, lambda status: status != 401)
        eventually(lambda: doors.api.get(f"{ANALYTICS}/pipeline").status_code, lambda status: status == 200)
        return doors

    yield open_for
    for doors in opened:
        with doors:
            pass


@pytest.fixture
def doors(open_doors: Callable[[str], Doors]) -> Doors:
    """The doors of a tenant that nobody else uses."""
    return open_doors(f"tenant-{next(_numbers)}")
