"""compose.yaml and what belongs to it, checked without Docker; with Docker Compose, also by it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from api.telemetry import Telemetry
from deploy.settings import CONFIG, describe, load
from ingest.metrics import CollectorMetrics
from stream_processors.metrics import WorkerMetrics

FOLDER = Path(__file__).parents[2] / "deploy" / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
OURS = [name for name, service in SERVICES.items() if service["image"] == "headrace:local"]


def test_every_process_and_server_is_there() -> None:
    assert set(OURS) == {"migrate", "collect", "process-events", "process-watch", "serve"}
    assert {"kafka", "clickhouse", "prometheus", "grafana"} <= set(SERVICES)


@pytest.mark.parametrize("name", OURS)
def test_the_variables_of_our_services_are_settings_that_load(name: str) -> None:
    given = {
        key: re.sub(r"\$\{\w+(:[-?])?([^}]*)\}", r"\2", value) for key, value in SERVICES[name]["environment"].items()
    }
    assert set(given) <= {info.variable for info in describe()} | {CONFIG}
    settings = load(given)
    assert settings.kafka.bootstrap == "kafka:9092"
    assert settings.warehouse.url == "http://clickhouse:8123"


@pytest.mark.parametrize("name", OURS)
def test_our_services_run_with_few_rights_and_come_back(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")


def test_processes_start_after_the_tables_and_topics_are_there() -> None:
    assert set(SERVICES["migrate"]["depends_on"]) == {"kafka", "clickhouse"}
    for name in set(OURS) - {"migrate"}:
        assert SERVICES[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_ports_are_published_on_loopback_only_and_once(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port), port
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(set(published)) == len(published)


def test_the_published_ports_are_those_that_the_services_listen_on() -> None:
    for name, key in {"collect": "HEADRACE_COLLECTOR", "serve": "HEADRACE_SERVE"}.items():
        environment = SERVICES[name]["environment"]
        assert environment[f"{key}_HOST"] == "0.0.0.0"
        assert SERVICES[name]["ports"] == [f"127.0.0.1:{environment[f'{key}_PORT']}:{environment[f'{key}_PORT']}"]


def test_images_carry_a_version_and_volumes_are_declared() -> None:
    for service in SERVICES.values():
        tag = service["image"].rpartition(":")[2]
        assert tag not in ("", "latest") and "/" not in tag
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] if not source.startswith(".") else (FOLDER / source).exists()


def test_secrets_have_no_default() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    for line in text.splitlines():
        if "PASSWORD:" in line:
            assert ":?" in line, line
    assert "dev-write-key" not in text and "HEADRACE_DEV_KEYS" not in text


def test_prometheus_scrapes_ports_that_exist() -> None:
    jobs = yaml.safe_load((FOLDER / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    targets = [target for job in jobs for group in job["static_configs"] for target in group["targets"]]
    ports = {
        "collect": SERVICES["collect"]["environment"]["HEADRACE_COLLECTOR_PORT"],
        "serve": SERVICES["serve"]["environment"]["HEADRACE_SERVE_PORT"],
        "process-events": SERVICES["process-events"]["environment"]["HEADRACE_WORKER_METRICS_PORT"],
        "process-watch": SERVICES["process-watch"]["environment"]["HEADRACE_WORKER_METRICS_PORT"],
    }
    assert sorted(targets) == sorted(f"{name}:{port}" for name, port in ports.items())


def test_the_watcher_reads_services_and_ports_that_exist() -> None:
    watcher = SERVICES["process-watch"]["environment"]
    for variable, name, port in (
        ("HEADRACE_WATCHER_COLLECTORS", "collect", "HEADRACE_COLLECTOR_PORT"),
        ("HEADRACE_WATCHER_APIS", "serve", "HEADRACE_SERVE_PORT"),
    ):
        assert watcher[variable] == f"http://{name}:{SERVICES[name]['environment'][port]}"


def _known_metrics() -> set[str]:
    registries: list[CollectorRegistry] = [CollectorMetrics().registry, WorkerMetrics("x").registry]
    registries.append(Telemetry(lambda: 0).registry)
    names = {"up"}
    for registry in registries:
        for family in registry.collect():
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
            names |= {family.name + suffix for suffix in suffixes}
    return names


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    board = json.loads((FOLDER / "grafana" / "dashboards" / "pipeline.json").read_text())
    source = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len(panels) > 10
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    asked = set()
    for panel in panels:
        assert panel["datasource"]["uid"] == source["uid"]
        assert panel["description"]
        for target in panel["targets"]:
            asked |= set(re.findall(r"headrace_\w+|\bup\b", target["expr"]))
    assert asked <= _known_metrics(), asked - _known_metrics()


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((FOLDER / "grafana" / "dashboards" / "pipeline.json").read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_dockerfile_is_small_pinned_and_runs_as_nobody() -> None:
    stages = re.findall(r"^FROM (\S+)(?: AS (\w+))?$", DOCKERFILE, re.MULTILINE)
    assert [name for _, name in stages] == ["web", "build", ""]
    assert all(":" in image and not image.endswith(":latest") for image, _ in stages)
    last = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert re.search(r"^USER 10001$", last, re.MULTILINE)
    assert last.index("USER") < last.index("ENTRYPOINT")
    assert "HEALTHCHECK" in last and "RUN apt" not in DOCKERFILE and "ADD " not in DOCKERFILE
    assert "--require-hashes" in DOCKERFILE and "npm ci" in DOCKERFILE
    for word in ("sudo", "curl ", "chmod 777"):
        assert word not in DOCKERFILE


def test_what_the_dockerfile_copies_exists_and_is_let_through() -> None:
    root, allowed = FOLDER.parents[1], (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (root / source).exists(), source
            assert f"!{source.split('/')[0]}" in allowed, source


def test_every_package_is_in_the_image() -> None:
    copied = set(re.findall(r"^COPY (\w+) /src/", DOCKERFILE, re.MULTILINE))
    packages = {path.parent.name for path in FOLDER.parents[1].glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert copied == packages


@pytest.mark.docker
def test_docker_compose_accepts_it() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("no Docker Compose here")
    command = [docker, "compose", "-f", str(FOLDER / "compose.yaml"), "config", "--quiet"]
    variables = {"CLICKHOUSE_PASSWORD": "x", "GRAFANA_PASSWORD": "x", "PATH": "/usr/bin:/bin:/usr/local/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    assert done.returncode == 0, done.stderr
