"""Settings: one name each, no unknown ones, and errors that say which."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from deploy import documents
from deploy.fields import plain
from deploy.running import addresses, announce, lock, withdraw
from deploy.settings import FALLBACK, SHARED, Settings, changed, describe, load, to_environment, value_of
from deploy.stack import Stack, local_settings
from schemas.errors import ConfigError, Fatal


def test_every_setting_has_a_name_of_its_own_a_default_that_fits_and_a_description() -> None:
    infos = describe()
    assert len({info.variable for info in infos}) == len(infos)
    settings = load({})
    for info in infos:
        assert info.description.endswith("."), info.variable
        assert plain(value_of(settings, info.path)) == info.default, info.variable


def test_shared_and_fallback_fields_exist() -> None:
    settings = load({})
    for table in (SHARED, FALLBACK):
        for target, origin in table.items():
            assert value_of(settings, tuple(target.split("."))) == value_of(settings, tuple(origin.split(".")))


def test_a_variable_reaches_every_component_that_shares_it() -> None:
    settings = load(
        {"HEADRACE_KAFKA_BOOTSTRAP": "k:1", "HEADRACE_KAFKA_PARTITIONS": "12", "HEADRACE_WAREHOUSE_URL": "http://w:2"}
    )
    assert settings.worker.kafka == "k:1"
    assert settings.worker.partitions == settings.collector.gateway.partitions == 12
    assert settings.api.reader.url == "http://w:2"


def test_the_api_may_read_as_another_user() -> None:
    assert load({"HEADRACE_WAREHOUSE_USER": "a"}).api.reader.user == "a"
    assert load({"HEADRACE_WAREHOUSE_USER": "a", "HEADRACE_API_READER_USER": "b"}).api.reader.user == "b"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HEADRACE_KAFKA_BOTSTRAP", "x", "did you mean 'HEADRACE_KAFKA_BOOTSTRAP'"),
        ("HEADRACE_NO_SUCH_THING_AT_ALL", "x", "headrace settings"),
        ("HEADRACE_WORKER_KAFKA", "x", "HEADRACE_KAFKA_BOOTSTRAP"),
        ("HEADRACE_COLLECTOR_PORT", "eighty", "not 'eighty'"),
        ("HEADRACE_COLLECTOR_PORT", "70000", "65535"),
        ("HEADRACE_LOG_LEVEL", "LOUD", "LOUD"),
        ("HEADRACE_DEV_KEYS", "perhaps", "boolean"),
        ("HEADRACE_WATCHER_COLLECTORS", "collect:8000", "http://host:8000"),
        ("HEADRACE_WATCHER_COLLECTORS", "http://a:8000 http://b:8000", "with commas between"),
        ("HEADRACE_WATCHER_APIS", "http://a:8080,http://b:eighty", "http://host:8000"),
        ("HEADRACE_WATCHER_APIS", "http://user:secret@a:8080", "no user, password"),
    ],
)
def test_a_bad_variable_refuses_to_boot_and_is_named(variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        load({variable: value})
    assert refused.value.key == variable


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="in_flight_bytes"):
        load({"HEADRACE_COLLECTOR_IN_FLIGHT_BYTES": "2048"})


def test_an_empty_variable_counts_as_unset_and_others_are_none_of_our_business() -> None:
    assert load({"HEADRACE_KAFKA_PARTITIONS": "", "PATH": "/bin", "KAFKA": "x"}) == load({})


def test_a_wrong_secret_is_never_printed() -> None:
    with pytest.raises(ConfigError) as refused:
        load({}, overrides={"warehouse.password": ["hunter2"]})
    assert "hunter2" not in str(refused.value)


def test_up_tells_the_watcher_where_collector_and_api_are(tmp_path: Path) -> None:
    def watched(**given: str) -> tuple[str, str]:
        base = load({f"HEADRACE_{name}": value for name, value in given.items()})
        watcher = Stack(
            local_settings(data_dir=tmp_path, collector_port=8101, api_port=8102, base=base)
        ).settings.watcher
        return watcher.collectors, watcher.apis

    assert watched() == ("http://127.0.0.1:8101", "http://127.0.0.1:8102")
    assert watched(COLLECTOR_HOST="0.0.0.0", SERVE_HOST="::") == ("http://127.0.0.1:8101", "http://[::1]:8102")
    assert watched(WATCHER_COLLECTORS="http://a:1,http://b:2")[0] == "http://a:1,http://b:2"


def _file(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "headrace.yaml"
    path.write_text(text)
    return {"HEADRACE_CONFIG": str(path)}


def test_a_file_sets_what_variables_do_not(tmp_path: Path) -> None:
    given = _file(tmp_path, "kafka:\n  bootstrap: k:1\n  partitions: 3\ncollector:\n  gateway:\n    gather_ms: 7\n")
    settings = load({**given, "HEADRACE_KAFKA_PARTITIONS": "5"})
    assert (settings.kafka.bootstrap, settings.kafka.partitions) == ("k:1", 5)
    assert settings.collector.gateway.gather_ms == 7
    assert load({**given}, overrides={"kafka.partitions": 9, "workers": None}).worker.partitions == 9


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        ("kafka:\n  partitins: 3\n", 2, "kafka.partitins", "did you mean 'partitions'"),
        ("kafka:\n  partitions: many\n", 2, "kafka.partitions", "not 'many'"),
        ("kafka: 3\n", 1, "kafka", "section"),
        ("nonsense: 3\n", 1, "nonsense", "is no setting"),
        ("worker:\n  kafka: k:1\n", 2, "worker.kafka", "kafka.bootstrap"),
        ("kafka:\n  partitions: 1\n  partitions: 2\n", 3, "kafka.partitions", "twice"),
        ("kafka: [\n", 2, "", "not valid YAML"),
    ],
)
def test_a_fault_in_the_file_names_file_line_and_key(tmp_path: Path, text: str, line: int, key: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        load(_file(tmp_path, text))
    assert (Path(refused.value.file).name, refused.value.line, refused.value.key) == ("headrace.yaml", line, key)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load({"HEADRACE_CONFIG": str(tmp_path / "none.yaml")})


def test_settings_survive_the_way_through_an_environment() -> None:
    settings = load(
        {},
        overrides={"kafka.partitions": 7, "warehouse.password": "p", "dev_keys": True, "data_dir": "/x", "workers": 3},
    )
    again = load(to_environment(settings))
    assert again == settings
    assert changed(settings, {"workers": 4}).workers == 4


def test_settings_are_frozen() -> None:
    def walk(model: type[BaseModel]) -> None:
        assert model.model_config.get("frozen") and model.model_config.get("extra") == "forbid", model
        for info in model.model_fields.values():
            if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
                walk(info.annotation)

    walk(Settings)


def test_the_addresses_of_a_running_stack_count_only_while_it_runs(tmp_path: Path) -> None:
    assert addresses(tmp_path) == {}
    handle = lock(tmp_path)
    announce(tmp_path, {"kafka.bootstrap": "k:1"})
    code = f"from deploy.running import addresses; from pathlib import Path; print(addresses(Path({str(tmp_path)!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'kafka.bootstrap': 'k:1'}"
    with pytest.raises(Fatal, match="another --data-dir"):
        lock(tmp_path)
    withdraw(tmp_path)
    os.close(handle)
    announce(tmp_path, {"kafka.bootstrap": "k:1"})
    assert addresses(tmp_path) == {}


def test_the_generated_documents_are_written_and_checked(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    assert set(documents.stale(tmp_path)) == set(documents.documents())
    documents.write(tmp_path)
    assert documents.stale(tmp_path) == []
    (tmp_path / "docs/settings.md").write_text("old")
    assert documents.stale(tmp_path) == ["docs/settings.md"]


def test_the_document_lists_every_setting_and_depends_on_no_machine() -> None:
    text = documents.render_settings()
    for info in describe():
        assert f"| `{info.variable}` |" in text
    assert str(documents.ROOT) not in text


def test_documents_are_written_in_a_checkout_only(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="no checkout"):
        documents.write(tmp_path)
