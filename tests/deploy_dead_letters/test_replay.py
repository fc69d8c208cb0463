"""Dead letters come back: mended, judged by their own time, once; what cannot come back says why."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from deploy.dead_letters.judge import Judge
from deploy.dead_letters.office import Office, Request
from deploy.dead_letters.originals import made_id
from deploy.dead_letters.replay import Replay
from deploy.dead_letters.report import Order
from deploy.dead_letters.store import LetterStore
from schemas.clock import ManualClock
from schemas.dead_letters.patch import Patch
from schemas.dead_letters.selection import Selection
from schemas.errors import Retryable
from schemas.reasons import Reason
from schemas.taxonomy import Validator
from schemas.wire import RejectedLine
from sinks.dead_letters import refused_line
from sinks.warehouse import Warehouse
from tests.deploy_dead_letters.conftest import DAY, NOW, MiniPipeline, letter, purchase

Put = Callable[..., None]
NAME_USER = {"patch": [{"default": {"user_id": "anonymous"}}]}


def request(patch: dict[str, Any] | None = None, **selection: Any) -> Request:
    return Request(Selection(**({"tenant": "demo"} | selection)), Patch.model_validate(patch or {}))


def stored(warehouse: Warehouse) -> dict[str, dict[str, Any]]:
    rows = warehouse.query("SELECT event_id, user_id, key_id, tenant, backfill, late_arrival FROM events FINAL")
    return {row["event_id"]: row for row in rows}


def states(office: Office) -> dict[str, str]:
    return {one.id: one.state.value for one in office.store.page(Selection())}


def everything(warehouse: Warehouse) -> list[Any]:
    """All rows that a replay may write, repetitions included."""
    return [
        warehouse.query("SELECT * EXCEPT (inserted_at) FROM events ORDER BY event_id"),
        warehouse.query("SELECT * FROM dead_letter_state ORDER BY chunk, `index`, version"),
        warehouse.query("SELECT * FROM rejected_events ORDER BY chunk, `index`"),
    ]


def test_without_a_patch_they_stay_and_with_it_they_come_back(
    office: Office, put: Put, warehouse: Warehouse, door: MiniPipeline
) -> None:
    put(letter(purchase(1, user_id=...), index=0), letter(purchase(2, user_id=None), index=1))
    first = office.replay(request(), "ada")["tenants"]["demo"]
    assert (first["selected"], first["accepted"], first["still_rejected"]) == (2, 0, 2)
    assert set(states(office).values()) == {"refused_again"}
    second = office.replay(request(NAME_USER), "ada")
    report = second["tenants"]["demo"]
    assert (report["accepted"], report["still_rejected"]) == (2, 0)
    assert report["before"]["refused_again"] == 2
    assert report["after"] == {"waiting": 0, "refused_again": 0, "replayed": 2, "already_stored": 0}
    assert {one["user_id"] for one in stored(warehouse).values()} == {"anonymous"}
    assert {one["key_id"] for one in stored(warehouse).values()} == {"hrw-1"}
    (_, refused), (_, audit) = door.published
    assert (refused["properties"]["still_rejected"], refused["properties"]["open_after"]) == (2, 2)
    said = audit["properties"]
    assert (said["replayed_by"], said["selected"], said["accepted"], said["open_before"]) == ("ada", 2, 2, 2)
    assert said["open_after"] == 0
    assert said["patch_sha256"] == Patch.model_validate(NAME_USER).digest
    assert second["audit"]["demo"] == audit["event_id"]


def test_replaying_twice_changes_nothing(
    office: Office, put: Put, warehouse: Warehouse, door: MiniPipeline, clock: ManualClock
) -> None:
    put(letter(purchase(1, user_id=...)), letter(purchase(2, source="nobody"), "invalid_source", 1))
    office.replay(request(NAME_USER), "ada")
    before, calls, told = everything(warehouse), len(door.calls), len(door.published)
    clock.advance(60)
    again = office.replay(request(NAME_USER), "bob")["tenants"]["demo"]
    assert (again["accepted"], again["skipped"], again["still_rejected"]) == (0, 1, 1)
    clock.advance(60)
    forced = office.replay(request(NAME_USER), "bob", again=True)["tenants"]["demo"]
    assert (forced["accepted"], forced["already_stored"]) == (0, 1)
    assert (everything(warehouse), len(door.calls), len(door.published)) == (before, calls, told)


def test_again_sends_what_is_not_stored_after_all(office: Office, put: Put, warehouse: Warehouse) -> None:
    put(letter(purchase(1, user_id=...)))
    office.replay(request(NAME_USER), "ada")
    warehouse.command("TRUNCATE TABLE events")
    assert office.replay(request(NAME_USER), "ada")["tenants"]["demo"]["accepted"] == 0
    assert office.replay(request(NAME_USER), "ada", again=True)["tenants"]["demo"]["accepted"] == 1
    assert set(stored(warehouse)) == {"evt-1"}


def test_a_client_that_tried_the_same_event_five_times_gets_it_once(
    office: Office, put: Put, door: MiniPipeline
) -> None:
    door.stores = False
    put(*(letter(purchase(1, user_id=...), index=n) for n in range(5)))
    report = office.replay(request(NAME_USER), "ada")["tenants"]["demo"]
    assert (report["accepted"], report["already_stored"]) == (1, 4)
    assert [len(call["events"]) for call in door.calls] == [1]
    assert sorted(states(office).values()) == ["already_stored"] * 4 + ["replayed"]


def test_what_its_sender_sent_again_meanwhile_is_not_sent_twice(
    office: Office, put: Put, warehouse: Warehouse, door: MiniPipeline
) -> None:
    door.submit("demo", [purchase(1)], pack="marketing", receipts=[NOW])
    put(letter(purchase(1, user_id=...)))
    assert office.replay(request(NAME_USER), "ada")["tenants"]["demo"]["already_stored"] == 1
    assert stored(warehouse)["evt-1"]["user_id"] == "user-1"


def test_an_event_without_id_gets_the_same_one_every_time(office: Office, put: Put, warehouse: Warehouse) -> None:
    put(letter(purchase(1, event_id=...), "missing_field"), letter(purchase(2, event_id=""), "empty_id", 1))
    office.replay(request(), "ada")
    assert set(stored(warehouse)) == {made_id("7-0"), made_id("7-1")}


def test_on_time_when_it_came_is_on_time_now(
    office: Office, put: Put, warehouse: Warehouse, door: MiniPipeline
) -> None:
    """40 days in the dead letters do not make it too old, nor late; what was late or too old then still is."""
    there = NOW - 40 * DAY
    put(
        letter(purchase(1, user_id=..., timestamp=there - 60), received_at=there),
        letter(purchase(2, user_id=..., timestamp=there - 3 * DAY), index=1, received_at=there),
        letter(purchase(3, timestamp=there - 31 * DAY), "too_old", 2, received_at=there),
        letter(purchase(4, timestamp=there + 600), "future_timestamp", 3, received_at=there),
    )
    report = office.replay(request(NAME_USER), "ada")["tenants"]["demo"]
    assert report["rejected_by_reason"] == {"future_timestamp": 1, "too_old": 1}
    rows = stored(warehouse)
    assert {key: (row["backfill"], row["late_arrival"]) for key, row in rows.items()} == {
        "evt-1": (True, False),
        "evt-2": (False, True),
    }
    history = Request(Selection(tenant="demo", reasons=(Reason.TOO_OLD,)), history=True)
    assert office.replay(history, "ada")["tenants"]["demo"]["accepted"] == 1
    shifted = request({"patch": [{"shift": {"timestamp": "-1h"}}]}, reasons=["future_timestamp"])
    assert office.replay(shifted, "ada")["tenants"]["demo"]["accepted"] == 1
    assert stored(warehouse)["evt-3"]["backfill"]


def test_backfilled_history_keeps_its_freedom_of_age(office: Office, put: Put, warehouse: Warehouse) -> None:
    put(letter(purchase(1, user_id=..., timestamp=NOW - 900 * DAY), key_id="backfill"))
    assert office.replay(request(NAME_USER), "ada")["tenants"]["demo"]["accepted"] == 1
    assert stored(warehouse)["evt-1"]["backfill"]


def test_text_that_was_no_json_is_mended_as_text(office: Office, put: Put, warehouse: Warehouse) -> None:
    broken = json.dumps(purchase(1)).replace("59.99", "NaN")
    cut = json.dumps(purchase(2))[:-2]
    put(letter(broken, "not_finite"), letter(cut, "unreadable_body", 1))
    raw = {"patch": [{"raw": [{"find": "NaN", "replace": "1.5"}]}]}
    assert office.replay(request(raw), "ada")["tenants"]["demo"]["accepted"] == 1
    value = {"patch": [{"set": {"properties.order_value": 2}}]}
    put(letter(broken.replace("evt-1", "evt-3"), "not_finite", 3))
    assert office.replay(request(value), "ada")["tenants"]["demo"]["accepted"] == 1
    assert set(stored(warehouse)) == {"evt-1", "evt-3"}


def test_bytes_that_are_no_text_are_mended_too(office: Office, put: Put, warehouse: Warehouse) -> None:
    data = json.dumps(purchase(1)).encode().replace(b"user-1", b"us\xe9r-1")
    put(letter("", "invalid_text", original=base64.b64encode(data).decode(), encoding="base64"))
    assert office.preview(request(), limit=9, show=9)["would_be_rejected"] == 1
    mended = request({"patch": [{"raw": [{"find": "us\\xe9r", "replace": "user"}]}]})
    assert office.replay(mended, "ada")["tenants"]["demo"]["accepted"] == 1
    assert stored(warehouse)["evt-1"]["user_id"] == "user-1"


def test_an_original_that_was_cut_says_that_it_cannot_come_back(office: Office, put: Put) -> None:
    put(letter(json.dumps(purchase(1, note="x" * 100_000))[: 64 * 1024], "event_too_large"))
    [shown] = office.preview(request(), limit=9, show=9)["letters"]
    assert not shown["verdict"]["accepted"]
    assert "cut" in shown["verdict"]["message"]


def wire(number: int, **fields: Any) -> bytes:
    line = purchase(number) | {"tenant": "demo", "received_at": NOW - 30, "slot": 1, "pack": "marketing", "key_id": "k"}
    return json.dumps(line | {"context": {"platform": "iOS"}, "chunk": 5, **fields}).encode()


def test_a_line_that_the_warehouse_refused_comes_back_as_the_event_it_was(
    office: Office, put: Put, door: MiniPipeline, warehouse: Warehouse
) -> None:
    put(refused_line(wire(1, p_score="high"), "cannot parse", NOW))
    report = office.replay(request(), "ada")["tenants"]["demo"]
    assert report["accepted"] == 1
    [event] = door.calls[0]["events"]
    assert event == purchase(1) | {"context": {"platform": "iOS"}}
    assert stored(warehouse)["evt-1"]["key_id"] == "k"


def test_a_record_that_was_no_chunk_comes_back_line_by_line(
    office: Office, put: Put, door: MiniPipeline, warehouse: Warehouse
) -> None:
    raw = json.dumps(purchase(3)).encode()
    put(unreadable(b"\n".join((wire(1), wire(2, user_id=""), raw, b"{broken"))))
    nobody = office.replay(Request(Selection()), "ada")["tenants"][""]
    assert (nobody["accepted"], nobody["still_rejected"]) == (0, 1)
    assert "--as-tenant" in nobody["samples"][0]["message"]
    done = office.replay(Request(Selection(), as_tenant="demo"), "ada")
    assert done["tenants"][""]["accepted"] == 1
    assert set(stored(warehouse)) == {"evt-1", "evt-3"}
    [sent] = [call for call in door.calls if call["key_id"] == ""]
    assert len(sent["events"]) == 2, "the broken line is sent too, to become a dead letter of its own"
    assert office.store.page(Selection())[0].last["message"] == "4 lines, of which 2 became dead letters of their own"
    assert {tenant for tenant, _ in door.published} == {"operators"}


def test_a_record_of_rejected_events_comes_back_as_these(office: Office, put: Put, warehouse: Warehouse) -> None:
    inner = letter(purchase(1, user_id=...))
    line = {name: getattr(inner, name) for name in RejectedLine.__struct_fields__}
    put(unreadable(json.dumps(line).encode()))
    everyone = Request(Selection(), Patch.model_validate(NAME_USER))
    assert office.replay(everyone, "ada")["tenants"][""]["accepted"] == 1
    assert stored(warehouse)["evt-1"]["user_id"] == "anonymous"


def unreadable(data: bytes) -> RejectedLine:
    return letter(
        data.decode(), "unreadable_chunk", tenant="", key_id="", field="headrace.events", event_id="", chunk=1 << 48
    )


def test_an_empty_record_has_nothing_to_send(office: Office, put: Put) -> None:
    put(unreadable(b"\n"))
    report = office.replay(Request(Selection()), "ada")["tenants"][""]
    assert report["rejected_by_reason"] == {"unreadable_chunk": 1}


def test_a_passing_fault_is_waited_out_and_a_lasting_one_leaves_a_way_on(
    warehouse: Warehouse, rules: dict[str, Validator], put: Put, door: MiniPipeline, clock: ManualClock
) -> None:
    put(*(letter(purchase(n, user_id=...), index=n) for n in range(3)))
    store = LetterStore(warehouse)
    judge = Judge(rules, lambda tenant: "marketing", clock, Patch.model_validate(NAME_USER))
    order = Order(Selection(tenant="demo"), "ada", "run-1")
    door.away = 10_000
    run = Replay(order, store, judge, door, clock, give_up=3)
    with pytest.raises(Retryable):
        run.run()
    assert run.reports["demo"].after["waiting"] == 3
    door.away = 2
    assert Replay(order, store, judge, door, clock).run()["demo"].accepted == 3


def test_a_limit_ends_a_run_and_the_next_goes_on(office: Office, put: Put) -> None:
    put(*(letter(purchase(n, user_id=...), index=n) for n in range(5)))
    done = [office.replay(request(NAME_USER), "ada", limit=2)["tenants"]["demo"] for _ in range(3)]
    assert [one["accepted"] for one in done] == [2, 2, 1]
    assert [one["after"]["waiting"] for one in done] == [3, 1, 0]


def test_a_preview_shows_before_and_after_and_writes_nothing(
    office: Office, put: Put, warehouse: Warehouse, door: MiniPipeline
) -> None:
    put(letter(purchase(1, user_id=...)), letter("[1]", "not_an_object", 1))
    before = everything(warehouse)
    shown = office.preview(request(NAME_USER), limit=10, show=10)
    assert (shown["examined"], shown["would_be_accepted"], shown["changed_by_patch"]) == (2, 1, 1)
    first, second = shown["letters"]
    assert first["changes"] == [{"path": "user_id", "before": "", "after": '"anonymous"'}]
    assert json.loads(first["before"]) == purchase(1, user_id=...)
    assert first["verdict"]["accepted"]
    assert second["verdict"]["reason"] == "not_an_object"
    assert (everything(warehouse), door.calls, door.published) == (before, [], [])


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        ({}, {"7-0", "7-1", "8-0"}),
        ({"reasons": ["too_old"]}, {"7-1"}),
        ({"fields": ["timestamp"]}, {"7-1"}),
        ({"event_types": ["campaign_clicked"]}, {"8-0"}),
        ({"key_ids": ["hrw-2"]}, {"8-0"}),
        ({"chunks": [7]}, {"7-0", "7-1"}),
        ({"ids": ["7-1", "8-0"]}, {"7-1", "8-0"}),
        ({"text": "OLDER"}, {"7-1"}),
        ({"start": NOW - 25}, {"8-0"}),
        ({"end": NOW - 25}, {"7-0", "7-1"}),
        ({"tenant": "other"}, set()),
        ({"states": ["replayed"]}, set()),
        ({"states": ["waiting"], "chunks": [7], "reasons": ["missing_field"]}, {"7-0"}),
        ({"text": "'; DROP TABLE events; --"}, set()),
    ],
)
def test_a_selection_means_what_it_says(office: Office, put: Put, selection: dict[str, Any], wanted: set[str]) -> None:
    put(
        letter(purchase(1)),
        letter(purchase(2), "too_old", 1, field="timestamp", message="is older than 30 days"),
        letter(purchase(3, event_type="campaign_clicked"), chunk=8, key_id="hrw-2", received_at=NOW - 20),
    )
    found = office.store.page(Selection(**({"tenant": "demo"} | selection)))
    assert {one.id for one in found} == wanted


def test_groups_count_and_show_an_example(office: Office, put: Put) -> None:
    put(*(letter(purchase(n), index=n) for n in range(3)), letter(purchase(9), "too_old", 9, received_at=NOW - 5))
    office.replay(request(ids=["7-1"]), "ada")
    first, second = office.store.groups(Selection(tenant="demo"))
    assert (first["reason"], first["count"], first["open"]) == ("missing_field", 3, 2)
    assert first["example"]["id"] == "7-2"
    assert (second["reason"], second["last_at"]) == ("too_old", NOW - 5)


def test_all_batches_together_are_all_letters_each_once(
    office: Office, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.dead_letters.store.PAGE", 7)
    monkeypatch.setattr("deploy.dead_letters.store.BATCH_BYTES", 900)
    put(*(letter(purchase(n), index=n, received_at=NOW - n % 3, tenant=f"t{n % 2}") for n in range(50)))
    batches = list(office.store.batches(Selection()))
    found = [one for batch in batches for one in batch]
    assert len(found) == len({one.key for one in found}) == 50
    assert all(json.loads(one.original)["event_id"] == one.event_id for one in found)
    assert max(sum(one.size for one in batch) for batch in batches) <= 900


def test_open_and_replayed_at_once_is_nothing(office: Office, put: Put) -> None:
    put(letter(purchase(1)))
    assert office.preview(request(states=["replayed"]), limit=9, show=9)["examined"] == 0
