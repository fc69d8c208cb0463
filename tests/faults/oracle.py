"""What must hold once a scenario has drained: sets of ids and every aggregate, never only totals.

    differences = Oracle(pipeline).differences(traffic, answers)      # {} when all is as it must be
    Oracle(pipeline).check(traffic, answers)                          # AssertionError that shows the first of each kind

Two models stand against the tables: the clients' memory (what was acknowledged, rejected, unanswered) with the facts
that `Traffic` computes anew, and the events themselves, from which windows, user states and ledger are counted again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from schemas.ledger import ABANDONED_CHUNKS, WATERMARK
from schemas.reasons import Reason
from schemas.taxonomy import shipped_packs
from sinks.warehouse import Warehouse
from stream_processors.sql import WINDOW_COLUMNS, WINDOW_KEY, user_state_columns
from tests.faults.client import Answers
from tests.faults.traffic import Traffic

SHOWN = 10
PATIENCE = 90.0
EQUATIONS = (
    "ledger: received - accepted - rejected",
    "ledger: accepted - stored - duplicates - suppressed - dead letters",
    "ledger: rejected + dead letters - rows of dead letters",
)
UNREADABLE = f"(reason = '{Reason.UNREADABLE_CHUNK}')"
"""Chunks that nobody can read: one row each, whatever they held. Scenarios that send some count them themselves."""
Differences = dict[str, list[Any]]

_USER_COLUMNS = (
    "first_seen, last_seen, last_active, signed_up_at, first_purchase_at, last_purchase_at, unsubscribed_at, events,"
    " purchases, monetary_micros, sessions, mapSort(delivered), mapSort(opened), clicked, segment, segment_at"
)
_TIMES = ("first_seen", "last_seen", "last_active", "signed_up_at", "first_purchase_at", "last_purchase_at",
          "unsubscribed_at", "segment_at")  # fmt: skip


class Figures(NamedTuple):
    """Of one tenant: events that clients saw acknowledged, those stored, lost (acknowledged and not stored), doubled
    (with more than one row under FINAL), and foreign (stored, and of no event of the stream)."""

    acknowledged: int
    stored: int
    lost: int
    doubled: int
    foreign: int


class Oracle:
    """Compares what the warehouse shows of a tenant with what must be there."""

    def __init__(self, warehouse: Warehouse, tenant: str = "demo") -> None:
        self._warehouse, self._tenant = warehouse, tenant
        self._mine = f"tenant = '{tenant}'"

    def check(self, traffic: Traffic, answers: Answers, *, patience: float | None = None) -> Figures:
        """No difference, once windows, users and ledger had time to follow; AssertionError that shows them."""
        deadline = time.monotonic() + (PATIENCE if patience is None else patience)
        while found := self.differences(traffic, answers):
            assert time.monotonic() < deadline, describe(found)
            time.sleep(1.0)
        return self.figures(traffic, answers)

    def figures(self, traffic: Traffic, answers: Answers) -> Figures:
        """The sums behind `differences`."""
        stored, doubled, foreign = self._stored(traffic)
        lost = len(answers.acknowledged - stored.keys())
        return Figures(len(answers.acknowledged), len(stored), lost, len(doubled), len(foreign))

    def lost(self, traffic: Traffic, answers: Answers) -> set[int]:
        """Numbers of the events that were acknowledged and are not stored; a tenant may have several streams here."""
        stored, _, _ = self._stored(traffic)
        return answers.acknowledged - stored.keys()

    def differences(self, traffic: Traffic, answers: Answers) -> Differences:
        """By kind, the first few of each."""
        stored, doubled, foreign = self._stored(traffic)
        found: Differences = {
            "lost: acknowledged, and not stored": _first(answers.acknowledged - stored.keys(), traffic),
            "stored, and never acknowledged or sent": [
                *_first(stored.keys() - answers.acknowledged - answers.unknown, traffic, stored),
                *foreign[:SHOWN],
            ],
            "stored twice": doubled[:SHOWN],
            "facts (type, campaign, minute: wanted, got as events, users, amount)": self._facts(traffic, stored),
            "users (wanted, got as events, amount)": self._users(traffic, stored),
            "windows that the events do not imply": self._windows(),
            "user states that the events do not imply": self._user_states(),
            "dead letters": self._dead_letters(traffic, answers),
            **self._ledger(),
        }
        return {kind: some for kind, some in found.items() if some}

    def _stored(self, traffic: Traffic) -> tuple[dict[int, int], list[Any], list[Any]]:
        """Chunk by event number; ids with more than one row under FINAL; ids that are of no event of the stream."""
        raw = self._warehouse.query_bytes(
            "SELECT event_id, count() AS n, max(chunk) AS chunk FROM events FINAL"
            f" WHERE {self._mine} AND event_type NOT IN ({_own_types()}) GROUP BY event_id",
            "TabSeparated",
        )
        stored: dict[int, int] = {}
        doubled: list[Any] = []
        foreign: list[Any] = []
        for line in raw.decode().splitlines():
            event_id, n, chunk = line.split("\t")
            number = traffic.number_of(event_id)
            if number < 0:
                foreign.append((event_id, "chunk", int(chunk)))
                continue
            stored[number] = int(chunk)
            if int(n) > 1:
                doubled.append((event_id, f"{n} rows", "chunk", int(chunk)))
        return stored, doubled, foreign

    def _facts(self, traffic: Traffic, stored: Iterable[int]) -> list[Any]:
        events: Counter[tuple[str, str, int]] = Counter()
        amounts: Counter[tuple[str, str, int]] = Counter()
        users: dict[tuple[str, str, int], set[str]] = {}
        for number in stored:
            fact = traffic.fact(number)
            key = fact.event_type, fact.campaign, fact.minute
            events[key] += 1
            amounts[key] += fact.micros
            users.setdefault(key, set()).add(fact.user)
        wanted = {key: (n, len(users[key]), amounts[key]) for key, n in events.items()}
        rows = self._warehouse.query(
            "SELECT event_type, campaign_id, toUnixTimestamp(toStartOfMinute(timestamp)) AS at,"
            " uniqExact(event_id) AS n, uniqExact(user_id) AS u, sum(amount_micros) AS a"
            f" FROM events FINAL WHERE {self._mine} AND event_type NOT IN ({_own_types()}) GROUP BY ALL"
        )
        got = {(r["event_type"], r["campaign_id"], int(r["at"])): (int(r["n"]), int(r["u"]), int(r["a"])) for r in rows}
        return _compare(wanted, got)

    def _users(self, traffic: Traffic, stored: Iterable[int]) -> list[Any]:
        """The user states against the truth model, that shares no SQL with the product. What the pipeline itself
        published about a user (a prediction) is one event more."""
        sums: dict[str, list[int]] = {}
        for number in stored:
            fact = traffic.fact(number)
            one = sums.setdefault(fact.user, [0, 0])
            one[0] += 1
            one[1] += fact.micros
        for row in self._warehouse.query(
            f"SELECT user_id, count() AS n FROM events FINAL WHERE {self._mine} AND event_type IN ({_own_types()})"
            " AND user_id LIKE 'user-%' GROUP BY user_id"
        ):
            sums.setdefault(row["user_id"], [0, 0])[0] += int(row["n"])
        rows = self._warehouse.query(
            f"SELECT user_id, events, monetary_micros FROM user_state FINAL WHERE {self._mine}"
            " AND user_id LIKE 'user-%'"
        )
        got = {row["user_id"]: (int(row["events"]), int(row["monetary_micros"])) for row in rows}
        return _compare({user: (n, amount) for user, (n, amount) in sums.items()}, got)

    def _windows(self) -> list[Any]:
        recount = (
            f"SELECT {WINDOW_COLUMNS}, uniqExact(user_id) AS users FROM events FINAL WHERE {self._mine}"
            f" GROUP BY {WINDOW_KEY}"
        )
        wanted = f"SELECT {WINDOW_KEY}, events, toInt64(amount), late, users FROM ({recount})"
        got = (
            "SELECT tenant, toUnixTimestamp(minute) AS minute_at, event_type, subtype, campaign_id, creative_id,"
            " segment, channel, sum(events) AS n, toInt64(sum(amount_micros)), sum(late), sum(users)"
            f" FROM windows FINAL WHERE {self._mine} GROUP BY ALL HAVING n > 0"
        )
        return self._except(wanted, got)

    def _user_states(self) -> list[Any]:
        roles = {name: pack.roles for name, pack in shipped_packs().items()}
        recount = (
            f"SELECT {user_state_columns(roles)} FROM events AS e FINAL WHERE {self._mine} AND user_id != ''"
            " GROUP BY tenant, user_id"
        )
        times = ", ".join(f"toFloat64({name}) AS {name}" for name in _TIMES)
        stored = f"SELECT * REPLACE ({times}) FROM user_state FINAL WHERE {self._mine} AND user_id != '' AND events > 0"
        columns = f"user_id, {_USER_COLUMNS}"
        return self._except(*(f"SELECT toString(tuple({columns})) AS row FROM ({some})" for some in (recount, stored)))

    def _except(self, wanted: str, got: str) -> list[Any]:
        found: list[Any] = []
        for what, one, other in (("wanted", wanted, got), ("got", got, wanted)):
            rows = self._warehouse.query(f"SELECT * FROM (({one}) EXCEPT ({other})) LIMIT {SHOWN}")
            found += [(what, *row.values()) for row in rows]
        return found

    def _dead_letters(self, traffic: Traffic, answers: Answers) -> list[Any]:
        """Each event that a client saw rejected is there with its reason, and no other has a row."""
        rows = self._warehouse.query(
            f"SELECT event_id, toString(reason) AS why, count() AS n FROM rejected_events FINAL WHERE {self._mine}"
            f" AND NOT {UNREADABLE} GROUP BY event_id, why"
        )
        got = {traffic.number_of(row["event_id"]): row["why"] for row in rows}
        wanted = {number: traffic.fact(number).reason for number in {*answers.rejected, *got} - answers.unknown}
        got = {number: why for number, why in got.items() if number not in answers.unknown}
        told = _compare(wanted, {number: answers.rejected.get(number, why) for number, why in got.items()})
        return told + _compare(wanted, got)

    def _ledger(self) -> Differences:
        """The three equations of conservation, for each minute of receipt."""
        book, uncounted = self._book(), self._uncounted()
        stored, letters = self._per_minute("events"), self._per_minute("rejected_events", f"NOT {UNREADABLE}")
        found: Differences = {name: [] for name in EQUATIONS}
        for at in sorted({*book, *stored, *letters}):
            one = book.get(at, Counter())
            settled = stored.get(at, 0) + one["duplicate"] + one["suppressed"] + one["dead_letter"]
            rest = (
                one["received"] + uncounted[at] - one["accepted"] - one["rejected"],
                one["accepted"] - settled,
                one["rejected"] + one["dead_letter"] - one["unreadable"] - letters.get(at, 0),
            )
            for name, difference in zip(EQUATIONS, rest, strict=True):
                if difference:
                    found[name].append(
                        (at, difference, dict(one), "uncounted", uncounted[at], "stored", stored.get(at))
                    )
        return {kind: some[:SHOWN] for kind, some in found.items()}

    def _book(self) -> dict[int, Counter[str]]:
        """Counts by stage, of each minute of receipt."""
        rows = self._warehouse.query(
            "SELECT toUnixTimestamp(minute) AS at, toString(stage) AS stage, sum(n) AS total,"
            f" sumIf(n, {UNREADABLE}) AS unreadable FROM ledger FINAL WHERE {self._mine} GROUP BY at, stage"
        )
        book: dict[int, Counter[str]] = {}
        for row in rows:
            counts = book.setdefault(int(row["at"]), Counter())
            counts[row["stage"]] = int(row["total"])
            counts["unreadable"] += int(row["unreadable"])
        return book

    def _uncounted(self) -> Counter[int]:
        """Events by minute in chunks that came through and that no collector had time to count (`schemas.ledger`)."""
        settled: Counter[int] = Counter()
        abandoned: set[int] = set()
        for row in self._warehouse.query(
            "SELECT toString(stage) AS stage, origin, n FROM ledger FINAL WHERE tenant = ''"
        ):
            origin, n = int(row["origin"]), int(row["n"])
            if row["stage"] == WATERMARK:
                settled[origin] = max(settled[origin], n)
            elif row["stage"] == ABANDONED_CHUNKS:
                abandoned.update(range(origin, origin + n))
        found: Counter[int] = Counter()
        for row in self._warehouse.query(
            "SELECT toUnixTimestamp(minute) AS at, origin, sum(n) AS n FROM ledger FINAL"
            f" WHERE {self._mine} AND stage IN ('accepted', 'rejected') GROUP BY at, origin"
        ):
            boot, sequence = divmod(int(row["origin"]), 1 << 32)
            if sequence >= settled[boot] or int(row["origin"]) in abandoned:
                found[int(row["at"])] += int(row["n"])
        return found

    def _per_minute(self, table: str, condition: str = "1") -> dict[int, int]:
        rows = self._warehouse.query(
            "SELECT toUnixTimestamp(toStartOfMinute(received_at)) AS at, count() AS n"
            f" FROM {table} FINAL WHERE {self._mine} AND {condition} GROUP BY at"
        )
        return {int(row["at"]): int(row["n"]) for row in rows}


def describe(differences: Mapping[str, list[Any]]) -> str:
    """Each kind with its first few."""
    return (
        "\n".join(f"{kind}:\n" + "\n".join(f"    {one}" for one in some) for kind, some in differences.items())
        or "no difference"
    )


def _own_types() -> str:
    """Events that the pipeline itself publishes: an anomaly, a prediction."""
    return ",".join(f"'{ref.event_type}'" for ref in shipped_packs()["marketing"].roles["system"])


def _first(numbers: Iterable[int], traffic: Traffic, chunks: Mapping[int, int] | None = None) -> list[Any]:
    some = sorted(numbers)
    shown = [(n, traffic.event_id(n), "chunk", (chunks or {}).get(n), *traffic.fact(n)) for n in some[:SHOWN]]
    return [f"{len(some)} in all", *shown] if some else []


def _compare(wanted: Mapping[Any, Any], got: Mapping[Any, Any]) -> list[Any]:
    wrong = [key for key in {**wanted, **got} if wanted.get(key) != got.get(key)]
    shown = [(key, "wanted", wanted.get(key), "got", got.get(key)) for key in wrong[:SHOWN]]
    return [f"{len(wrong)} in all", *shown] if wrong else []
