"""`headrace up` as anybody runs it, driven through HTTP only."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from deploy.embedded.process import free_ports
from tests.e2e.bad_input import BAD_BODIES, BAD_EVENTS
from tests.e2e.doors import ANALYTICS, EVENTS, Doors, balance, eventually
from tests.e2e.events import Event, clicked, delivered, event, purchased
from tests.e2e.up import Up, headrace, live

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("up")]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, up_broker: str) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("up") / "data", (free_ports(2)[0], free_ports(2)[1]), up_broker)
    running.start()
    print(f"\nheadrace up was ready after {running.seconds:.1f} s")
    yield running
    running.end()


@pytest.fixture(scope="module")
def demo(up: Up) -> Iterator[Doors]:
    with up.doors() as doors:
        yield doors


@pytest.fixture(scope="module")
def stranger(up: Up) -> Iterator[Doors]:
    """Another tenant, whose keys the command line made while everything was running."""
    secrets = [
        json.loads(headrace("keys", "create", "--kind", kind, "--tenant", "stranger", "--file",
                            str(up.data_dir / "keys.json"), "--json").stdout)["secret"]
        for kind in ("write", "secret")
    ]  # fmt: skip
    with Doors(up.collector, up.api, *secrets, tenant="stranger") as doors:
        eventually(lambda: doors.send([]).status_code, lambda status: status != 401)
        eventually(lambda: doors.api.get(f"{ANALYTICS}/pipeline").status_code, lambda status: status == 200)
        yield doors


def test_every_process_says_that_it_is_well(up: Up, demo: Doors) -> None:
    for client in (demo.collector, demo.api):
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 200
    assert "partitions are assigned" in up.log


def test_an_event_by_curl_shows_in_the_click_through_rate(demo: Doors) -> None:
    campaign, seconds = str(uuid4()), []
    for number in range(1, 4):
        events = [delivered(campaign=campaign), delivered(campaign=campaign), clicked(campaign=campaign)]
        answer = demo.send(events)
        began = time.monotonic()
        assert (answer.status_code, answer.json()) == (200, {"accepted": 3, "rejected": []})
        found = eventually(partial(demo.get, "/metrics/ctr", campaign_id=campaign), partial(_shown, number))
        seconds.append(time.monotonic() - began)
        assert found["value"] == 50.0
    # Answers of the same two seconds share one look at the ledger, which may have caught events on their way.
    eventually(partial(demo.get, "/metrics/ctr", campaign_id=campaign), lambda ctr: not ctr["incomplete"])
    print(f"\nvisible after {', '.join(f'{one:.2f}' for one in seconds)} s")


def _shown(rounds: int, ctr: dict[str, Any]) -> bool:
    return (ctr["numerator"], ctr["denominator"]) == (rounds, 2 * rounds)


def test_every_bad_input_is_answered_as_documented_and_costs_no_other_event(demo: Doors) -> None:
    campaign, good, reasons = str(uuid4()), 0, []
    before = demo.pipeline()["rejected"]
    for bad in BAD_EVENTS:
        first, last = (json.dumps(clicked(campaign=campaign)).encode() for _ in range(2))
        answer = demo.send(b"[" + first + b"," + bad.body + b"," + last + b"]")
        assert answer.status_code == 200, f"{bad.name}: {answer.text}"
        assert answer.json()["accepted"] == 2, bad.name
        (verdict,) = answer.json()["rejected"]
        assert (verdict["index"], verdict["reason"]) == (1, bad.reason), bad.name
        assert verdict["message"], bad.name
        good += 2
        reasons.append(bad.reason)
    for body in BAD_BODIES:
        answer = demo.send(body.body, **body.headers)
        assert (answer.status_code, answer.json()["error"]) == (body.status, body.code), body.name
        assert answer.json()["message"], body.name
        assert demo.send([clicked(campaign=campaign)]).status_code == 200, f"after {body.name}"
        good += 1
    eventually(lambda: demo.value("events", campaign_id=campaign), lambda stored: stored == good)
    wanted = {reason: before.get(reason, 0) + reasons.count(reason) for reason in {*before, *reasons}}
    eventually(demo.pipeline, lambda found: found["rejected"] == wanted)


@pytest.mark.parametrize("chunked", [False, True])
def test_two_gigabytes_are_refused_without_being_read(up: Up, demo: Doors, chunked: bool) -> None:
    host, port = urlsplit(up.collector).hostname, urlsplit(up.collector).port
    assert host and port
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {2 << 30}"
    head = f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer dev-write-key\r\n{length}\r\n\r\n"
    piece = b"100000\r\n" + b" " * (1 << 20) + b"\r\n" if chunked else b" " * (1 << 20)
    sent = 0
    with socket.create_connection((host, port), timeout=30) as connection:
        connection.sendall(head.encode())
        try:
            while sent < 2 << 30:
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            pass  # it has heard enough
        try:
            answer = connection.recv(4096)
        except ConnectionResetError:
            answer = b""
    assert sent < 64 << 20
    assert answer == b"" or (answer.startswith(b"HTTP/1.1 413") and b"too_large" in answer)
    assert demo.send([clicked()]).status_code == 200


def test_an_event_twice_in_a_batch_counts_once(demo: Doors) -> None:
    twin = purchased(value=12.5, user=str(uuid4()))
    before = demo.settled()
    assert demo.send([twin, twin]).json() == {"accepted": 2, "rejected": []}
    after = demo.settled()
    assert after["stored"] - before["stored"] == 1
    assert after["duplicates"] - before["duplicates"] == 1


def test_wrong_keys_open_nothing(up: Up) -> None:
    assert httpx.post(up.collector + EVENTS, content=b"[]").status_code == 401
    assert httpx.get(f"{up.api}{ANALYTICS}/pipeline").status_code == 401
    with up.doors("no-such-key", "no-such-key") as nobody:
        refused = nobody.send([clicked()])
        assert (refused.status_code, refused.json()["error"]) == (401, "unknown_key")
        assert nobody.api.get(f"{ANALYTICS}/metrics/ctr").status_code == 401
    with up.doors("dev-secret-key", "dev-write-key") as swapped:
        assert (swapped.send([clicked()]).status_code, swapped.send([]).json()["error"]) == (401, "wrong_kind")
        assert swapped.api.get(f"{ANALYTICS}/metrics/ctr").status_code == 403


def test_a_good_key_of_another_tenant_sees_and_changes_only_its_own(demo: Doors, stranger: Doors) -> None:
    campaign, user = str(uuid4()), str(uuid4())
    shared = clicked(user, campaign=campaign)
    demo.send_all([shared, clicked(user, campaign=campaign)])
    eventually(lambda: demo.value("events", campaign_id=campaign), lambda n: n == 2)
    assert stranger.value("events", campaign_id=campaign) == 0
    assert stranger.pipeline()["accepted"] == 0
    stranger.send_all([shared])  # the same id in another tenant is another event
    eventually(lambda: stranger.value("events", campaign_id=campaign), lambda n: n == 1)
    assert demo.value("events", campaign_id=campaign) == 2
    assert stranger.pipeline()["duplicates"] == 0


def test_the_live_stream_tells_what_changed(demo: Doors, stranger: Doors) -> None:
    demo.settled()
    stranger.settled()
    with live(demo) as stream, live(stranger) as other:
        assert stream.wait("hello")["tenant"] == "demo"
        assert other.wait("hello")["tenant"] == "stranger"
        clicks = stream.wait("metric", lambda one: one["metric"] == "ctr")["numerator"]
        theirs = other.wait("metric", lambda one: one["metric"] == "ctr")["numerator"]
        stored = stream.wait("pipeline")["stored"]
        demo.send_all([clicked()])
        began = time.monotonic()
        stream.wait("metric", lambda one: one["metric"] == "ctr" and one["numerator"] == clicks + 1)
        print(f"\nin the live stream after {time.monotonic() - began:.2f} s")
        stream.wait("pipeline", lambda one: one["stored"] == stored + 1)
        stranger.send_all([clicked()])
        assert other.wait("metric", lambda one: one["metric"] == "ctr" and one["numerator"] != theirs)["numerator"] == (
            theirs + 1
        )


def test_the_page_comes_with_its_own_assets(up: Up) -> None:
    with httpx.Client(base_url=up.api) as browser:
        page = browser.get("/")
        assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
        assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert any(asset.endswith(".js") for asset in assets) and any(asset.endswith(".css") for asset in assets)
        for asset in assets:
            assert not urlsplit(asset).netloc, f"{asset} comes from another server"
            answer = browser.get("/" + asset.lstrip("/"))
            assert answer.status_code == 200 and answer.content, asset
            assert not answer.headers["content-type"].startswith("text/html"), asset


def test_collector_and_api_count_for_prometheus(demo: Doors) -> None:
    def samples(client: httpx.Client) -> dict[str, float]:
        answer = client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        lines = (line.rsplit(" ", 1) for line in answer.text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    taken = 'headrace_collector_events_accepted_total{tenant="demo"}'
    demo.send_all([clicked()])
    before = samples(demo.collector)[taken]
    demo.send_all([clicked(), clicked()])
    assert samples(demo.collector)[taken] == before + 2
    demo.value("ctr")
    found = samples(demo.api)
    assert any(name.startswith("headrace_api_requests_total{") and "metrics" in name for name in found)


def test_sigterm_ends_it_cleanly_and_the_next_one_knows_every_event(up: Up, demo: Doors) -> None:
    campaign, users = str(uuid4()), [str(uuid4()) for _ in range(20)]
    sent: list[Event] = [delivered(user, campaign=campaign) for user in users]
    sent += [clicked(user, campaign=campaign) for user in users[:7]]
    sent.append(event("campaign_spend_recorded", "finance", source="backend", campaign_id=campaign, amount=3.5))
    demo.send_all(sent)
    assert up.stop() == 0  # at once: what was answered has to be stored before the end
    for address in (demo.collector, demo.api):
        with pytest.raises(httpx.TransportError):
            address.get("/health/live")
    up.start()
    asked = {"campaign_id": campaign}
    assert demo.metric("ctr", **asked)["numerator"] == 7
    assert demo.value("impressions", **asked) == 20
    before = demo.settled()
    demo.send_all(sent)
    after = demo.settled()
    assert after["duplicates"] - before["duplicates"] == len(sent)
    assert after["stored"] == before["stored"]
    assert (demo.value("ctr", **asked), demo.value("cpc", **asked)) == (35.0, 0.5)


def test_the_ledger_of_closed_minutes_balances(demo: Doors) -> None:
    demo.send_all([clicked()])
    assert balance(demo.settled()) == (0, 0)

    def read() -> dict[str, Any]:
        return demo.get("/pipeline", start="-24h", interval="minute")

    def closed(found: dict[str, Any]) -> int:
        return sum(one["received"] for one in found["series"] if one["minute"] < found["closed_until"])

    found = eventually(read, closed, every=0.5)
    assert found["difference"] == {"received": 0, "accepted": 0}
    assert closed(found) <= found["received"]
