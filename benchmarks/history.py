"""Questions about a long history: `python benchmarks/history.py [--events 1000000,10000000] [--keep DIR]`.

For each size the embedded warehouse is filled by SQL, as if workers had stored 90 days of 500 campaigns. Then every
question is asked through the API (in this process, over HTTP to the warehouse): once with nothing rolled up, and many
times after the watcher's rounds have counted the days; some also while an event that came late for a closed day is not
counted yet. Reported: seconds of all, bytes a stored event, what counting the days costs (all of them, one day again,
and a round without news), and reads a second of one API process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import uvicorn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from api.app import create_app
from api.reader import ClickHouseReader
from api.settings import ApiSettings, ReaderSettings
from deploy.embedded import warehouse
from deploy.rollups.statements import RollupStatements
from schemas.clock import SystemClock
from schemas.keys import KeyStore, Kind, Role, create_key
from schemas.taxonomy import extra_columns, shipped_packs
from sinks.migrate import migrate
from sinks.warehouse import Warehouse
from stream_processors.metrics import WorkerMetrics
from stream_processors.settings import WatcherSettings
from stream_processors.watch.rollup_watch import TABLES, RollupWatch

DAYS = 90
DAY = 86_400
CAMPAIGNS = 500
STEP = 1_000_000
ROOT = "/api/v1/analytics"
REPEATS = 20
FRESH_SECONDS = 61.0
"""After so long nothing counts as stored just now."""
MOST_SECONDS = 20.0
"""After so long a question is not asked again."""

LATE = ("ctr by day", "active users", "funnel ")
"""Parts of the names of questions that are also asked while a late event is not counted."""

TYPES = (
    # share in 1,000, type, subtype, has a campaign, has an order, amount in millionths
    (400, "campaign_delivered", "", True, False, "0"),
    (180, "campaign_viewed", "opened", True, False, "0"),
    (60, "campaign_clicked", "", True, False, "0"),
    (10, "campaign_converted", "", True, True, "toInt64(cityHash64(n, 1) % 90000000)"),
    (20, "user_purchased", "", False, True, "toInt64(cityHash64(n, 1) % 90000000)"),
    (150, "message_sent", "", True, False, "0"),
    (50, "message_opened", "", True, False, "0"),
    (2, "campaign_spend_recorded", "", True, False, "toInt64(cityHash64(n, 2) % 5000000)"),
    (70, "user_engaged", "app_open", False, False, "0"),
    (38, "user_engaged", "view_rewards", False, False, "0"),
    (20, "user_signed_up", "", False, False, "0"),
)


def fill(house: Warehouse, count: int, users: int, end: int) -> float:
    """`count` events of the 90 days before `end` (Unix seconds); the seconds it took. Users sign up at any time."""
    began = time.perf_counter()
    limits, total = [], 0
    for share, *_ in TYPES:
        total += share
        limits.append(total)
    kind = "arrayFirstIndex(x -> cityHash64(n, 9) % 1000 < x, " + str(limits) + ")"

    def pick(column: int) -> str:
        values = [repr(row[column]) if isinstance(row[column], str) else str(int(row[column])) for row in TYPES]
        return f"[{', '.join(values)}][kind]"

    amounts = ", ".join(f"kind = {at}, {row[5]}" for at, row in enumerate(TYPES, 1) if row[5] != "0")
    properties = "{\"campaign_id\":\"', toString(campaign), '\",\"', length, '\":', toString(n % 1800), '}"
    timed = ", ".join(str(at) for at, row in enumerate(TYPES, 1) if row[1] == "user_engaged")
    for start in range(0, count, STEP):
        rows = min(STEP, count - start)
        house.command(
            "INSERT INTO events (tenant, event_id, event_type, timestamp, received_at, inserted_at, user_id,"
            " session_id, source, slot, chunk, campaign_id, creative_id, segment, channel, order_id, subtype,"
            " is_holdout, amount_micros, pack, version, key_id, properties, context)"
            f" WITH {kind} AS kind, cityHash64(n, 3) % {CAMPAIGNS} AS campaign, cityHash64(n, 4) % {users} AS user,"
            f" if(kind IN ({timed}), 'session_duration_seconds', 'view_duration_seconds') AS length,"
            f" toDateTime64({end - DAYS * DAY} + n / {count} * {DAYS * DAY - 1}, 3, 'UTC') AS at"
            f" SELECT 'bench', lower(hex(MD5(toString(n)))), {pick(1)}, at, addSeconds(at, 1), now64(3) - 86400,"
            " concat('user-', leftPad(toString(user), 12, '0')), concat('s-', toString(intDiv(n, 7))), 'mobile',"
            " user % 1024, intDiv(n, 200),"
            f" if({pick(3)} = 1, concat('campaign-', leftPad(toString(campaign), 8, '0')), ''),"
            f" if({pick(3)} = 1, concat('creative-', toString(campaign % 100 * 3 + n % 3)), ''),"
            " ['HIGH_SPENDER', 'FREQUENT_SHOPPER', 'SEASONAL_SPENDER', 'DORMANT'][user % 4 + 1],"
            " ['push', 'email', 'sms', 'in_app'][campaign % 4 + 1],"
            f" if({pick(4)} = 1, concat('order-', toString(intDiv(n, 2))), ''), {pick(2)}, n % 20 = 0 AND kind = 1,"
            f" multiIf({amounts}, 0), 'marketing', '1.0.0', 'bench', concat('{properties}'), '{{\"platform\":\"iOS\"}}'"
            f" FROM (SELECT number AS n FROM numbers({start}, {rows}))"
        )
    return time.perf_counter() - began


def settle(house: Warehouse, most: float = 900.0) -> None:
    """Wait until merges have come to rest: what is measured is history, not its arrival."""
    ending = time.monotonic() + most
    while time.monotonic() < ending:
        if not int(house.query("SELECT count() AS n FROM system.merges")[0]["n"]):
            return
        time.sleep(1)


def stored_bytes(house: Warehouse) -> dict[str, int]:
    rows = house.query("SELECT table, sum(bytes_on_disk) AS n FROM system.parts WHERE active GROUP BY table")
    return {row["table"]: int(row["n"]) for row in rows}


def questions(end: int) -> dict[str, tuple[str, dict[str, str]]]:
    """Name -> path and parameters. Ranges are whole days; `cut` begins and ends within a day."""

    def at(seconds: int) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))

    whole = {"start": at(end - DAYS * DAY), "end": at(end)}
    month = {"start": at(end - 30 * DAY), "end": at(end)}
    cut = {"start": at(end - 30 * DAY + 5000), "end": at(end - 7000)}
    by_campaign = {"group_by": "campaign_id", "interval": "day", "limit": "1000"}
    return {
        "ctr by campaign and day, 90 days": ("/metrics/ctr", {**whole, **by_campaign}),
        "ctr by day, 90 days": ("/metrics/ctr", {**whole, "interval": "day"}),
        "ctr by day of one campaign": (
            "/metrics/ctr",
            {**whole, "interval": "day", "campaign_id": "campaign-00000007"},
        ),
        "ctr by day, 30 days cut at both ends": ("/metrics/ctr", {**cut, "interval": "day"}),
        "roas by campaign, 90 days": ("/metrics/roas", {**whole, "group_by": "campaign_id", "limit": "1000"}),
        "conversion rate by campaign, 90 days": ("/metrics/conversion_rate", {**whole, "group_by": "campaign_id"}),
        "conversion rate by campaign and day": ("/metrics/conversion_rate", {**whole, **by_campaign}),
        "active users, 90 days": ("/metrics/active_users", whole),
        "active users by day, 90 days": ("/metrics/active_users", {**whole, "interval": "day"}),
        "new customers (cac), 90 days": ("/metrics/cac", whole),
        "kpis, 30 days": ("/kpis", month),
        "kpis, 30 days beside the 30 before": ("/kpis", {**month, "compare": "previous_period"}),
        "lifetime value, 90 days": ("/metrics/ltv", whole),
        "retention_30d, 90 days": ("/metrics/retention_30d", whole),
        "retention cohorts by month": ("/cohorts", whole),
        "retention cohorts by channel": ("/cohorts", {**whole, "cohort_by": "acquisition_channel"}),
        "cohorts by month, with revenue": ("/cohorts", {**whole, "metric": "revenue"}),
        "funnel campaign_to_purchase, 30 days": ("/funnel", {**month, "funnel": "campaign_to_purchase"}),
        "funnel signup_to_purchase, 90 days": ("/funnel", {**whole, "funnel": "signup_to_purchase"}),
        "funnel purchase_to_repeat, 90 days": ("/funnel", {**whole, "funnel": "purchase_to_repeat"}),
        "funnel acquisition_to_revenue, 90 days": ("/funnel", {**whole, "funnel": "acquisition_to_revenue"}),
        "any funnel, 90 days": ("/funnel", {**whole, "steps": "impression,open,click,purchase", "window": "7d"}),
    }


async def ask(client: httpx.AsyncClient, path: str, params: dict[str, str]) -> float | None:
    """Seconds of one answer; None where it was refused."""
    began = time.perf_counter()
    answer = await client.get(ROOT + path, params=params)
    took = time.perf_counter() - began
    if answer.status_code != 200:
        sys.stderr.write(f"{path} {params}: {answer.status_code} {answer.text[:300]}\n")
        return None
    return took


def make_app(url: str, keys: Path, cache_seconds: float) -> tuple[Any, ClickHouseReader, str]:
    """The API over a warehouse, its reader, and a key of the tenant."""
    settings = ReaderSettings(url=url, max_seconds=300, max_memory=12_000_000_000, max_rows=10_000_000)
    reader, clock = ClickHouseReader(settings), SystemClock()
    _, secret = create_key(keys, clock, kind=Kind.SECRET, tenant="bench", pack="marketing", role=Role.VIEWER)

    async def publish(tenant: str, events: Any) -> None:
        raise AssertionError

    app = create_app(
        ApiSettings(cache_seconds=cache_seconds),
        reader=reader,
        keys=KeyStore(keys, clock),
        publish=publish,
        packs=shipped_packs(),
        clock=clock,
    )
    return app, reader, secret


def serve(url: str, keys: Path) -> None:
    """One API process as `headrace serve` runs it, on a free port; says the port and the key."""
    app, _, secret = make_app(url, keys, 1.0)
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], secret, flush=True)
    uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run([listening])


def reads_a_second(url: str, folder: Path, end: int) -> float:
    """Answers of one API process to a question that many ask."""
    command = [sys.executable, __file__, "--serve", url, str(folder / f"serve-{time.time()}.json")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        port, secret = process.stdout.readline().split()
        path, params = questions(end)["ctr by day, 90 days"]
        line = f"GET {ROOT}{path}?{urlencode(params)} HTTP/1.1"
        return asyncio.run(load(int(port), f"{line}\r\nHost: api\r\nAuthorization: Bearer {secret}\r\n\r\n".encode()))
    finally:
        process.terminate()
        process.wait(10)


async def load(port: int, request: bytes, connections: int = 16, seconds: float = 5.0) -> float:
    """Answers a second over kept-alive connections, every one read to its end, after two seconds that do not count."""
    ending, answered = time.perf_counter() + seconds + 2, [0] * connections

    async def ask_again(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < ending:
            writer.write(request)
            found = await reader.readuntil(b"\r\n\r\n")
            if not found.startswith(b"HTTP/1.1 200"):
                raise AssertionError(found)
            length = next(line for line in found.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.partition(b":")[2]))
            answered[number] += time.perf_counter() > ending - seconds
        writer.close()

    await asyncio.gather(*(ask_again(number) for number in range(connections)))
    return sum(answered) / seconds


async def measured(
    url: str, folder: Path, end: int, repeats: int, names: Sequence[str] = ("",)
) -> dict[str, tuple[float, float] | None]:
    """Median and p95 seconds of each question whose name has one of some parts, after one that does not count."""
    app, reader, secret = make_app(url, folder / f"keys-{repeats}-{time.time()}.json", 0)
    headers = {"Authorization": f"Bearer {secret}"}
    found: dict[str, tuple[float, float] | None] = {}
    asked = {name: one for name, one in questions(end).items() if any(part in name for part in names)}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers, timeout=600) as client:
        for name, (path, params) in asked.items():
            times = [await ask(client, path, params)]
            while repeats > 1 and len(times) <= repeats and sum(filter(None, times)) < MOST_SECONDS:
                times.append(await ask(client, path, params))
            good = sorted(one for one in (times[1:] or times) if one is not None)
            found[name] = (good[len(good) // 2], good[int(len(good) * 0.95)]) if good else None
            sys.stderr.write(f"  {name}: {found[name]}\n")
    reader.close()
    return found


@contextmanager
def server(folder: Path) -> Iterator[str]:
    running = warehouse.start_process(folder / "warehouse", memory_mb=12_288)
    try:
        yield running.url
    finally:
        running.stop()


def rollup_watch(house: Warehouse) -> RollupWatch:
    """As a watcher that has just started."""
    metrics = WorkerMetrics(f"bench-{time.time()}")
    return RollupWatch(WatcherSettings(), shipped_packs(), RollupStatements(), house, SystemClock(), metrics)


def counted(house: Warehouse) -> float:
    """Seconds of a round that leaves no day."""
    watch = rollup_watch(house)
    began = time.perf_counter()
    if watch.round("bench", shipped_packs()["marketing"]):
        raise AssertionError("days were left")
    return time.perf_counter() - began


def come_late(house: Warehouse) -> None:
    """An event of a closed day is stored."""
    house.command(
        "INSERT INTO events (tenant, event_id, event_type, timestamp, received_at, user_id, campaign_id, pack)"
        " SELECT 'bench', toString(generateUUIDv4()), 'campaign_clicked', now64(3) - 86400 * 20, now64(3), user_id,"
        " 'campaign-00000007', 'marketing' FROM events WHERE tenant = 'bench' LIMIT 1"
    )


def filled(house: Warehouse, count: int, folder: Path, end: int) -> None:
    """Fill the warehouse, if that is still to be done."""
    if not (folder / "filled").exists():
        took = fill(house, count, max(1000, count // 50), end)
        sys.stderr.write(f"{count:,} events stored in {took:.0f} s\n")
        settle(house)
        (folder / "filled").write_text("")


def run(count: int, folder: Path, *, raw: bool, only_fill: bool = False) -> dict[str, Any]:
    end = int(time.time()) // DAY * DAY
    with server(folder) as url:
        house = Warehouse(url)
        migrate(house, SystemClock(), {name: extra_columns(pack) for name, pack in shipped_packs().items()})
        filled(house, count, folder, end)
        if only_fill:
            return {}
        before = stored_bytes(house)
        if raw:
            rollup_watch(house).forget("bench")
        from_events = asyncio.run(measured(url, folder, end, 1)) if raw else {}
        took = {"all days": counted(house), "no news": counted(house)}
        come_late(house)
        late = asyncio.run(measured(url, folder, end, REPEATS, LATE))
        time.sleep(11)  # a tenant whose history is being filled in is left alone for ten seconds
        took["one day again"] = counted(house)
        time.sleep(FRESH_SECONDS)
        counted(house)
        rolled = asyncio.run(measured(url, folder, end, REPEATS))
        cached = reads_a_second(url, folder, end)
        after = stored_bytes(house)
        house.close()
    return {
        "events": count,
        "bytes_per_event": before["events"] / count,
        "rollup_bytes_per_event": sum(after.get(table, 0) for table in TABLES) / count,
        "rounds": took,
        "cached_reads_a_second": cached,
        "raw": {name: one and one[0] for name, one in from_events.items()},
        "late": late,
        "rolled": rolled,
    }


def told(one: tuple[float, float] | None) -> str:
    return f"p50 {one[0] * 1000:8.1f} ms  p95 {one[1] * 1000:8.1f} ms" if one else "refused"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", default="1000000,10000000", help="sizes, separated by commas")
    parser.add_argument("--keep", type=Path, help="keep the data here, and use what is there (one size only)")
    parser.add_argument("--no-raw", action="store_true", help="leave out the questions without rollups")
    parser.add_argument("--fill", action="store_true", help="only fill, with --keep")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve[0], Path(given.serve[1]))
        return
    for count in map(int, given.events.split(",")):
        if given.keep:
            given.keep.mkdir(parents=True, exist_ok=True)
            found = run(count, given.keep, raw=not given.no_raw, only_fill=given.fill)
        else:
            with tempfile.TemporaryDirectory() as folder:
                found = run(count, Path(folder), raw=not given.no_raw)
        if not found:
            continue
        print(json.dumps(found))
        print(f"\n{count:,} events: {found['bytes_per_event']:.1f} bytes an event stored, rollups and numbers "
              f"{found['rollup_bytes_per_event']:.2f}; counting: {found['rounds']}; "
              f"{found['cached_reads_a_second']:,.0f} cached reads a second")  # fmt: skip
        for name, rolled in found["rolled"].items():
            raw = found["raw"].get(name)
            late = f"  late: {told(found['late'][name])}" if name in found["late"] else ""
            print(f"  {name:45} {'-' if raw is None else f'{raw * 1000:10.1f} ms'}  ->  {told(rolled)}{late}")


if __name__ == "__main__":
    main()
