"""All settings, composed once: defaults, then the file that HEADRACE_CONFIG names, then HEADRACE_* variables.

Each component declares its own settings beside its code; here they get their names. Nothing else reads the environment.
A variable or key that does not exist, and a value that does not fit, refuse to boot with a ConfigError that names it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.settings import ApiSettings
from deploy.fields import Path_, leaves, nest, plain
from deploy.running import addresses
from ingest.settings import CollectorSettings
from schemas.errors import ConfigError
from schemas.taxonomy.yamlfile import Document, hint, read
from sinks.settings import NotifySettings, WarehouseSettings, WriterSettings
from stream_processors.settings import ProcessorSettings, WatcherSettings

PREFIX: Final = "HEADRACE_"
CONFIG: Final = "HEADRACE_CONFIG"

SHARED: Final[Mapping[str, str]] = {
    "worker.kafka": "kafka.bootstrap",
    "worker.partitions": "kafka.partitions",
    "worker.session_timeout": "kafka.session_timeout",
    "collector.gateway.partitions": "kafka.partitions",
    "api.reader.url": "warehouse.url",
}
"""Fields that several components need: set by the name on the right only."""

FALLBACK: Final[Mapping[str, str]] = {
    "api.reader.user": "warehouse.user",
    "api.reader.password": "warehouse.password",
}
"""Fields that may be set, and else are what the right one is."""


class KafkaSettings(BaseModel):
    """Where Kafka is, and how the topics are cut."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap: str = Field("127.0.0.1:9092", min_length=3, description="Kafka servers, host:port, comma separated.")
    partitions: int = Field(4, ge=1, le=1024, description="Partitions of the event topics when they are created.")
    replication: int = Field(
        1,
        ge=1,
        le=7,
        description="Replicas of the topics when they are created; what is acknowledged, a majority of them has.",
    )
    session_timeout: float = Field(
        30.0, ge=1, le=600, description="Consumer session timeout, seconds; `headrace up` takes 6."
    )


class ServeSettings(BaseModel):
    """Where the API and the dashboard listen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address that the API listens on.")
    port: int = Field(8080, ge=0, le=65535, description="Port that the API listens on.")


class EmbeddedSettings(BaseModel):
    """The embedded servers behind `headrace up`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    broker: str = Field(
        "tansu",
        pattern="^(tansu|apache)$",
        description="The broker of `up`: tansu (in memory), or apache (real Kafka on disk; needs Java 17).",
    )
    warehouse_memory_mb: int = Field(2048, ge=256, description="Memory of the embedded warehouse, MiB, at most.")
    broker_memory_mb: int = Field(
        2048, ge=64, description="Memory of the broker tansu, MiB, at which `up` drains it and starts a fresh one."
    )


class Settings(BaseModel):
    """Every setting of Headrace. Section and field give the variable: `kafka.bootstrap` is HEADRACE_KAFKA_BOOTSTRAP."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path = Field(Path(".headrace"), description="Folder of the embedded data, keys, snapshots and logs.")
    workers: int = Field(1, ge=1, le=64, description="Worker processes that `headrace up` starts.")
    dev_keys: bool = Field(
        False, description="Accept the well-known development keys, on loopback only; `up` and `demo` do by default."
    )
    keys_file: Path | None = Field(None, description="File of the keys; by default keys.json in the data folder.")
    log_level: str = Field(
        "INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least severe level that is logged."
    )
    kafka: KafkaSettings = KafkaSettings()
    warehouse: WarehouseSettings = WarehouseSettings()
    collector: CollectorSettings = CollectorSettings()
    worker: ProcessorSettings = ProcessorSettings()
    watcher: WatcherSettings = WatcherSettings()
    writer: WriterSettings = WriterSettings()
    notify: NotifySettings = NotifySettings()
    api: ApiSettings = ApiSettings()
    serve: ServeSettings = ServeSettings()
    embedded: EmbeddedSettings = EmbeddedSettings()

    @property
    def keys_path(self) -> Path:
        """The file of the keys."""
        return self.keys_file or self.data_dir / "keys.json"


@dataclass(frozen=True)
class SettingInfo:
    """One setting: its variable, its place in the file, its type in words, default, what it does, and its value."""

    variable: str
    path: Path_
    kind: str
    default: Any
    description: str
    secret: bool


def load(
    environment: Mapping[str, str] | None = None, *, overrides: Mapping[str, Any] | None = None, join: bool = True
) -> Settings:
    """The settings of this process.

    `environment`: instead of the process's own. `overrides`: values by dotted name, over everything else (command-line
    options); None values are left out. `join`: where nothing names a server, take those of the `headrace up` that runs
    on the data folder (only with the process's own environment). Raises ConfigError naming file, line
    and key, or the variable.
    """
    environ = os.environ if environment is None else environment
    known = {info.variable: info for info in describe()}
    document = read(Path(environ[CONFIG])) if environ.get(CONFIG) else None
    values: dict[Path_, Any] = _from_file(document, known) if document else {}
    sources: dict[Path_, str] = {}
    for variable, path, value in _from_environment(environ, known):
        values[path], sources[path] = value, variable
    for name, value in (overrides or {}).items():
        if value is not None:
            path = tuple(name.split("."))
            values[path], sources[path] = value, "--" + name.replace(".", "-").replace("_", "-")
    if join and environment is None:
        _join_running(values, sources)
    _share(values, sources)
    try:
        return Settings.model_validate(nest(values))
    except ValidationError as error:
        raise _fault(error, sources, document) from error


def describe() -> list[SettingInfo]:
    """Every setting that can be set, in order of declaration."""
    return [
        SettingInfo(PREFIX + "_".join(path).upper(), path, kind, default, text, secret)
        for path, kind, default, text, secret in leaves(Settings, ())
        if ".".join(path) not in SHARED
    ]


def value_of(settings: Settings, path: Path_) -> Any:
    """The value at `path`."""
    value: Any = settings
    for part in path:
        value = getattr(value, part)
    return value


def to_environment(settings: Settings) -> dict[str, str]:
    """The variables that give `settings` back: those of values that differ from their defaults."""
    found: dict[str, str] = {}
    for info in describe():
        value = plain(value_of(settings, info.path))
        if value is not None and value != info.default:
            found[info.variable] = str(value)
    return found


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment of a child process that shall run with `settings`, whatever ours says."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return {**ours, **to_environment(settings)}


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """`settings` with values by dotted name; shared fields follow. Raises ConfigError."""
    return load(to_environment(settings), overrides=changes)


def _from_environment(environ: Mapping[str, str], known: Mapping[str, SettingInfo]) -> Iterator[tuple[str, Path_, str]]:
    elsewhere = {PREFIX + a.replace(".", "_").upper(): PREFIX + b.replace(".", "_").upper() for a, b in SHARED.items()}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable == CONFIG or (not value and variable in known):
            continue
        if variable in elsewhere:
            raise ConfigError(f"is set for all processes by {elsewhere[variable]}", key=variable)
        if variable not in known:
            guess = hint(variable, known) or "; `headrace settings` lists them all"
            raise ConfigError(f"is no setting{guess}", key=variable)
        yield variable, known[variable].path, value


def _from_file(document: Document, known: Mapping[str, SettingInfo]) -> dict[Path_, Any]:
    paths = {info.path for info in known.values()}
    found: dict[Path_, Any] = {}

    def walk(value: object, key: Path_) -> None:
        if key in paths:
            found[key] = value
        elif not isinstance(value, dict):
            raise document.fault(key, "is a section: put its settings under it")
        else:
            for name, inner in value.items():
                path = (*key, str(name))
                if not any(path == other[: len(path)] for other in paths):
                    raise document.fault(path, f"is no setting{_known_here(path, paths)}")
                walk(inner, path)

    walk(document.data, ())
    return found


def _known_here(path: Path_, paths: set[Path_]) -> str:
    shared = SHARED.get(".".join(path))
    if shared:
        return f"; set {shared} instead"
    here = sorted({other[len(path) - 1] for other in paths if other[: len(path) - 1] == path[:-1]})
    return hint(path[-1], here) or f"; known here: {', '.join(here)}"


def _join_running(values: dict[Path_, Any], sources: dict[Path_, str]) -> None:
    """Take the addresses of the `headrace up` that runs on the data folder, unless any server was named."""
    data_dir = Path(values.get(("data_dir",), Settings.model_fields["data_dir"].default))
    found = {tuple(name.split(".")): value for name, value in addresses(data_dir).items()}
    if not any(path in values for path in found if path[0] in ("kafka", "warehouse")):
        for path, value in found.items():
            if path not in values:
                values[path], sources[path] = value, str(data_dir / "running.json")


def _share(values: dict[Path_, Any], sources: dict[Path_, str]) -> None:
    defaults = {info.path: info.default for info in describe()}
    for table, always in ((SHARED, True), (FALLBACK, False)):
        for target, origin in table.items():
            to, source = tuple(target.split(".")), tuple(origin.split("."))
            if always or to not in values:
                values[to] = values.get(source, defaults[source])
                sources[to] = sources.get(source, PREFIX + "_".join(source).upper())


def _fault(error: ValidationError, sources: Mapping[Path_, str], document: Document | None) -> ConfigError:
    """The first fault, under the name that the user gave the value."""
    detail = error.errors(include_url=False)[0]
    path = tuple(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    secret = any(info.secret and info.path == path for info in describe())
    if detail["type"] != "value_error" and not secret:
        message += f", not {detail['input']!r}"
    if path in sources:
        return ConfigError(message, key=sources[path])
    if document is not None and path in document.lines:
        return document.fault(path, message)
    return ConfigError(message, key=".".join(path))
