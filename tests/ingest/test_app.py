"""Routes, health, metrics, browsers, and what a client hears when something is wrong on our side."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.settings import CollectorSettings, GatewaySettings
from schemas.clock import ManualClock
from tests.ingest.support import Door, FakeKafka, MakeDoor, event

FAST = CollectorSettings(gateway=GatewaySettings(deadline_seconds=0.05), retry_after_seconds=7)


@pytest.mark.parametrize("mode", ["silent", "error", "full"])
async def test_kafka_away_is_503_with_retry_after(open_door: MakeDoor, kafka: FakeKafka, mode: str) -> None:
    door = open_door(FAST)
    kafka.mode = mode
    answer = await door.post([event(), 5])
    assert (answer.status, answer.json["error"]) == (503, "unavailable")
    assert 7 <= int(answer.headers["retry-after"]) <= 14
    assert door.collector.admission.held == 0


async def test_live_is_200_whatever_kafka_does(door: Door, kafka: FakeKafka) -> None:
    kafka.mode = "silent"
    assert (await door.request("GET", "/health/live")).status == 200


async def test_ready_follows_kafka(door: Door, kafka: FakeKafka, clock: ManualClock) -> None:
    assert (await door.request("GET", "/health/ready")).status == 200
    kafka.mode = "silent"
    assert (await door.request("GET", "/health/ready")).status == 200, "asked at most once a second"
    clock.advance(2)
    answer = await door.request("GET", "/health/ready")
    assert (answer.status, answer.json["error"]) == (503, "not_ready")
    assert "not reachable" in answer.json["message"]
    kafka.mode, kafka.known_partitions = "ok", 0
    clock.advance(2)
    assert "no topic headrace.events" in (await door.request("GET", "/health/ready")).json["message"]


async def test_metrics_count_what_happened(door: Door) -> None:
    await door.post([event(), event(), 5])
    await door.post(b"")
    await door.post(event(), key="wrong")
    text = (await door.request("GET", "/metrics")).body.decode()
    for line in (
        'headrace_collector_events_received_total{tenant="demo"} 3.0',
        'headrace_collector_events_accepted_total{tenant="demo"} 2.0',
        'headrace_collector_events_rejected_total{reason="not_an_object",tenant="demo"} 1.0',
        'headrace_collector_requests_refused_total{code="empty_body",status="400"} 1.0',
        'headrace_collector_requests_refused_total{code="unknown_key",status="401"} 1.0',
        "headrace_collector_in_flight_bytes 0.0",
        "headrace_collector_produce_seconds_count",
        "headrace_collector_chunk_events_sum 3.0",
    ):
        assert line in text


async def test_requests_are_counted_by_route_and_status_and_an_invented_path_is_no_route(door: Door) -> None:
    await door.post(event())
    await door.post(b"")
    await door.request("GET", "/health/live")
    await door.request("GET", "/made-up-1")
    await door.request("GET", "/made-up-2")
    text = (await door.request("GET", "/metrics")).body.decode()
    for line in (
        'headrace_collector_requests_total{route="/api/analytics/events",status="200"} 1.0',
        'headrace_collector_requests_total{route="/api/analytics/events",status="400"} 1.0',
        'headrace_collector_requests_total{route="/health/live",status="200"} 1.0',
        'headrace_collector_requests_total{route="unmatched",status="404"} 2.0',
    ):
        assert line in text
    assert "made-up" not in text


async def test_metrics_say_when_the_process_began(door: Door, clock: ManualClock) -> None:
    began = clock.now()
    clock.advance(60)
    text = (await door.request("GET", "/metrics")).body.decode()
    (line,) = [line for line in text.splitlines() if line.startswith("headrace_collector_start_time_seconds ")]
    assert float(line.split()[1]) == began


async def test_tenant_labels_are_bounded() -> None:
    from ingest.metrics import CollectorMetrics

    metrics = CollectorMetrics(max_tenants=2)
    for number in range(50):
        metrics.verdicts(f"t{number}", 1, {})
    text = metrics.text().decode()
    assert 'received_total{tenant="other"} 48.0' in text
    assert text.count("events_received_total{") == 3


async def test_browsers_may_send_from_any_page(door: Door) -> None:
    headers = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    answer = await door.request("OPTIONS", "/api/analytics/events", headers)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"]
    for key in ("dev-write-key", "wrong"):
        assert (await door.post(event(), key=key)).headers["access-control-allow-origin"] == "*"


async def test_unknown_paths_and_methods_are_told(door: Door) -> None:
    assert (await door.request("POST", "/nowhere")).json["error"] == "not_found"
    answer = await door.request("GET", "/api/analytics/events")
    assert (answer.status, answer.json["message"]) == (405, "Only POST is possible here.")


async def test_the_unforeseen_is_500_in_json_and_is_logged(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(door.collector.gateway, "submit", broken)
    answer = await door.post(event())
    assert (answer.status, answer.json["error"]) == (500, "internal")
    assert "a bug" not in answer.body.decode()
    assert "a bug" in caplog.text


async def test_the_lifespan_ends_with_everything_handed_over(door: Door, kafka: FakeKafka) -> None:
    await door.post(event())
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await door.app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert kafka.closed
    assert kafka.ledger()[-1].n == 1
