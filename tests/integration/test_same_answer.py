"""Promise 4: whatever the order, the batches and the repetitions, every number is the same to the last digit."""

from __future__ import annotations

import gzip
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import orjson
import pytest

from deploy.simulator.faults import ACCEPTED, MALFORMED, Send
from deploy.simulator.profiles import Plan
from deploy.simulator.simulation import Simulation
from deploy.stack import Stack
from sinks.settings import WarehouseSettings
from sinks.warehouse import Warehouse
from stream_processors.insights.taxonomy_events import SYSTEM_USER
from tests.e2e.doors import OWN, Doors, eventually, recent
from tests.oracle.facts import Fact, facts

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]

SEED = 4
DAY = 86_400.0
WINDOWS = ("5m", "1h", "24h", "7d")
SPLITS = ("event_type", "campaign_id", "creative_id", "segment", "channel")
MOVING = ("as_of", "age_seconds", "expected", "start", "end")


@pytest.fixture(scope="module")
def sends() -> list[Send]:
    """Weeks of the simulated business that a collector takes, malformed events too; none near the limit of lateness."""
    now = time.time()
    rng = random.Random(SEED)
    history = Simulation(Plan(end=int(now * 1000), seed=SEED, days=26, users=400, rate=1.0)).history()

    def chosen(send: Send) -> bool:
        age = now - send.ms / 1000
        many = isinstance(send.payload, dict) and send.payload.get("event_type") == "user_engaged"
        return (
            send.fate in (ACCEPTED, MALFORMED)
            and age < 27 * DAY
            and abs(age - DAY) > 900
            and (not many or send.fate == MALFORMED or rng.random() < 0.1)
        )

    return [send for send in history if chosen(send)]


@pytest.fixture(scope="module")
def pair(sends: list[Send], open_doors: Callable[[str], Doors]) -> tuple[Doors, Doors]:
    """Two tenants with the same events: one in order, the other as a bad network delivers them."""
    orderly, wild = open_doors("orderly"), open_doors("wild")
    payloads = [send.payload for send in sends]
    for start in range(0, len(payloads), 500):
        assert orderly.send(payloads[start : start + 500]).status_code == 200
    rng = random.Random(SEED)
    good = [send.payload for send in sends if send.fate == ACCEPTED]
    mixed = payloads + rng.choices(good, k=len(good) // 3)
    rng.shuffle(mixed)
    batches = []
    while mixed:
        size = rng.choice((1, 7, 60, 400, 1500))
        batches.append(mixed[:size])
        del mixed[:size]
    with ThreadPoolExecutor(4) as senders:
        taken = senders.map(lambda batch: _send(wild, batch), batches)
        assert sum(taken) == len(good) + len(good) // 3
    wild.accepted = len(good) + len(good) // 3
    return orderly, wild


def _send(doors: Doors, batch: list[Any]) -> int:
    body = orjson.dumps(batch)
    answer = doors.send(gzip.compress(body), Content_Encoding="gzip") if len(batch) % 2 else doors.send(body)
    assert answer.status_code in (200, 422), answer.text
    accepted: int = answer.json()["accepted"]
    return accepted


def test_the_ledgers_differ_by_the_duplicates_only(pair: tuple[Doors, Doors], sends: list[Send]) -> None:
    orderly, wild = (doors.settled() for doors in pair)
    good = sum(send.fate == ACCEPTED for send in sends)
    late = sum(send.fate == ACCEPTED and time.time() - send.ms / 1000 > DAY for send in sends)
    assert good > 5_000
    for name, ledger, repeated in (("orderly", orderly, 0), ("wild", wild, good // 3)):
        assert ledger["stored"] == good, name
        assert ledger["late"] == late > 0, name
        assert (ledger["accepted"], ledger["duplicates"]) == (good + repeated, repeated), name
        assert ledger["rejected"] == Counter(send.reason for send in sends if send.fate == MALFORMED), name


def test_every_metric_is_the_same_whole_and_split_and_by_day(pair: tuple[Doors, Doors]) -> None:
    for doors in pair:
        doors.settled()
    asked: list[tuple[str, dict[str, str]]] = []
    for metric in pair[0].get("/metrics")["metrics"]:
        if metric["id"] == "data_freshness":
            continue  # when what was stored is another for each of them
        only = {"event_type": "campaign_delivered"} if metric["id"] == "events" else {}
        asked.append((metric["id"], {"interval": "day", **only}))
        asked += [(metric["id"], {"group_by": split, "limit": "5000", **only}) for split in metric["dimensions"]]
    campaign = pair[0].metric("impressions", group_by="campaign_id")["groups"][0]["group"]
    asked += [(metric, {"campaign_id": campaign, "interval": "week"}) for metric in ("roas", "cac", "aov", "revenue")]
    range_ = recent() | {"start": "-40d"}
    something = 0
    for metric, parameters in asked:
        one, other = (_whole(doors, metric, range_ | parameters) for doors in pair)
        assert one == other, f"{metric} {parameters}"
        something += bool(one["value"])
    assert something > len(asked) / 2


def _whole(doors: Doors, metric: str, parameters: dict[str, str]) -> dict[str, Any]:
    """The answer while nothing is on its way: an event of the pipeline's own, of a prediction, may be at any time."""
    return _still(
        eventually(
            lambda: doors.metric(metric, **parameters), lambda found: bool(found["completeness"] == 100.0), every=0.5
        )
    )


def _still(answer: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in answer.items() if name not in MOVING}
    if found.get("series"):
        found["series"] = [{**point, "start": point["start"][:10]} for point in found["series"]]
    return found


def test_the_rolling_windows_are_the_same_and_those_of_plain_python(
    pair: tuple[Doors, Doors], sends: list[Send]
) -> None:
    """Events, users, money and late events, whole and by group."""
    for doors in pair:
        doors.settled()
    happened: dict[str, list[Fact]] = {}
    for one in facts(send.payload for send in sends if send.fate == ACCEPTED):
        happened.setdefault(one.event_type, []).append(one)

    def asked(kind: str, split: str, window: str) -> Callable[[], list[dict[str, Any]]]:
        def ask() -> list[dict[str, Any]]:
            one, other = (
                doors.get("/windows", limit=1000, event_type=kind, group_by=split, window=window) for doors in pair
            )
            start, end = (datetime.fromisoformat(one[name]).timestamp() * 1000 for name in ("start", "end"))
            inside = [fact for fact in happened[kind] if start <= fact.ms < end]
            true = one | {"total": summed(inside), "groups": grouped(inside, split)}
            return [{**answer, "as_of": None} for answer in (true, one, other)]

        return ask

    compared = late = 0
    for window in WINDOWS:
        for kind in sorted(happened):
            for split in SPLITS if kind in ("campaign_delivered", "user_purchased") else SPLITS[:1]:
                true, *_ = eventually(
                    asked(kind, split, window), lambda found: found[0] == found[1] == found[2], every=0.5
                )
                compared, late = compared + true["total"]["events"], late + true["total"]["late"]
    assert compared > 500 and late > 100


def summed(some: list[Fact]) -> dict[str, Any]:
    """What a window says of events; late are those that came a day after they happened."""
    long_ago = (time.time() - DAY) * 1000  # none happened near this moment
    return {
        "events": len(some),
        "users": len({one.user_id for one in some}),
        "amount": sum(one.micros for one in some) / 1_000_000,
        "late": sum(one.ms < long_ago for one in some),
    }


def grouped(some: list[Fact], split: str) -> list[dict[str, Any]]:
    """The same by group, the most events first."""
    groups: dict[str, list[Fact]] = {}
    for one in some:
        groups.setdefault(getattr(one, split), []).append(one)
    rows = [{"group": group, **summed(own)} for group, own in groups.items()]
    return sorted(rows, key=lambda row: (-row["events"], row["group"]))


def test_windows_and_users_are_the_same_row_by_row(pair: tuple[Doors, Doors], sends: list[Send], stack: Stack) -> None:
    """But for the pipeline's own events."""
    warehouse = Warehouse(WarehouseSettings(url=stack.warehouse_url))
    own = ", ".join(f"'{name}'" for name in sorted(OWN))
    cells = (
        "SELECT minute, event_type, subtype, campaign_id, creative_id, segment, channel, sum(events) AS events,"
        " sum(users) AS users, sum(amount_micros) AS amount, sum(late) AS late FROM windows FINAL"
        f" WHERE tenant = {{tenant:String}} AND event_type NOT IN ({own}) GROUP BY ALL ORDER BY ALL"
    )
    users = (
        "SELECT * EXCEPT (tenant, version) FROM user_state FINAL"
        f" WHERE tenant = {{tenant:String}} AND user_id != '{SYSTEM_USER}' ORDER BY user_id"
    )
    for doors in pair:
        doors.settled()
    good = sum(1 for send in sends if send.fate == ACCEPTED)
    for sql in (cells, users):

        def both(sql: str = sql) -> list[list[dict[str, Any]]]:
            return [warehouse.query(sql, {"tenant": doors.tenant}) for doors in pair]

        def same(found: list[list[dict[str, Any]]]) -> bool:
            return found[0] == found[1] and sum(row["events"] for row in found[0]) == good

        rows, _ = eventually(both, same, every=0.5)
        assert len(rows) > 100
    warehouse.close()
