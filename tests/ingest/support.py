"""Helpers for the collector's tests: a Kafka that lives in a list, and an HTTP client without a socket."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from ingest.app import App, create_app
from ingest.collector import Collector
from ingest.gateway import Gateway
from ingest.producer import Delivered
from ingest.settings import CollectorSettings
from schemas.clock import ManualClock
from schemas.errors import Retryable
from schemas.keys import KeyStore
from schemas.taxonomy import Validator, shipped_packs, validator
from schemas.topics import EVENTS, LEDGER, REJECTED
from schemas.wire import ChunkCount, EventLine, LedgerLine, RejectedLine, decode_counts, decode_events

NOW = 1_763_712_000.0
BOOT = 7
PARTITIONS = 8
_validators: dict[str, Validator] = {}


def validators() -> dict[str, Validator]:
    if not _validators:
        _validators.update({name: validator(pack) for name, pack in shipped_packs().items()})
    return _validators


@dataclass
class Record:
    topic: str
    partition: int
    value: bytes
    headers: dict[str, bytes]


@dataclass
class FakeKafka:
    """A producer over a list. `mode`: ok, silent (never answers), error (every record fails) or full."""

    mode: str = "ok"
    records: list[Record] = field(default_factory=list)
    waiting: list[tuple[Record, Delivered]] = field(default_factory=list)
    known_partitions: int = PARTITIONS
    closed: bool = False

    def produce(
        self, topic: str, partition: int, value: bytes, headers: list[tuple[str, bytes]], delivered: Delivered
    ) -> None:
        if self.mode == "full":
            raise Retryable("the queue is full")
        self.waiting.append((Record(topic, partition, value, dict(headers)), delivered))

    def poll(self) -> None:
        if self.mode == "silent":
            return
        due, self.waiting = self.waiting, []
        for record, delivered in due:
            if self.mode == "error":
                delivered("broker is gone")
            else:
                self.records.append(record)
                delivered("")

    def abandon(self) -> None:
        due, self.waiting = self.waiting, []
        for _, delivered in due:
            delivered("taken back")

    def partitions(self, topic: str, timeout: float) -> int:
        if self.mode != "ok":
            raise Retryable("Kafka is not reachable: connection refused")
        return self.known_partitions

    def close(self, timeout: float) -> int:
        self.closed = True
        return len(self.waiting)

    def chunks(self, topic: str) -> list[Record]:
        return [record for record in self.records if record.topic == topic]

    def events(self) -> list[EventLine]:
        return [line for record in self.chunks(EVENTS) for line in decode_events(record.value)]

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for record in self.chunks(EVENTS) for line in record.value.splitlines()]

    def rejected(self) -> list[RejectedLine]:
        import msgspec

        decoder = msgspec.json.Decoder(RejectedLine)
        return [line for record in self.chunks(REJECTED) for line in decoder.decode_lines(record.value)]

    def ledger(self, stage: str = "received") -> list[LedgerLine]:
        import msgspec

        decoder = msgspec.json.Decoder(LedgerLine)
        lines = [line for record in self.chunks(LEDGER) for line in decoder.decode_lines(record.value)]
        return [line for line in lines if line.stage == stage]

    def counts(self) -> list[ChunkCount]:
        return [c for r in self.records if "counts" in r.headers for c in decode_counts(r.headers["counts"])]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reasons(self) -> list[str]:
        return [verdict["reason"] for verdict in self.json["rejected"]]


class Door:
    """The collector's ASGI application, called without a server."""

    def __init__(self, app: App, kafka: FakeKafka, collector: Collector, clock: ManualClock) -> None:
        self.app, self.kafka, self.collector, self.clock = app, kafka, collector, clock

    async def post(self, body: object, key: str = "dev-write-key", **headers: str) -> Answer:
        """POST a body (bytes as they are, anything else as JSON) to the native endpoint."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {
            "authorization": f"Bearer {key}",
            "content-type": "application/json",
            "content-length": str(len(data)),
        }
        fields.update({name.replace("_", "-"): value for name, value in headers.items()})
        return await self.request("POST", "/api/analytics/events", fields, [data])

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        pieces: list[bytes] | None = None,
        endless: AsyncIterator[bytes] | None = None,
    ) -> Answer:
        """One request whose body arrives in pieces."""
        left = [b""] if pieces is None else list(pieces)
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if endless is not None:
                return {"type": "http.request", "body": await anext(endless), "more_body": True}
            if not left:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

        async def send(message: Any) -> None:
            sent.append(dict(message))

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in (headers or {}).items()],
        }
        await self.app(scope, receive, send)
        start = sent[0]
        return Answer(
            start["status"],
            {k.decode(): v.decode() for k, v in start["headers"]},
            b"".join(message.get("body", b"") for message in sent[1:]),
        )


def make_door(keys: KeyStore, clock: ManualClock, kafka: FakeKafka, settings: CollectorSettings) -> Door:
    gateway = Gateway(validators(), kafka, clock, PARTITIONS, BOOT, settings=settings.gateway)
    collector = Collector(settings, keys, gateway, kafka)
    return Door(create_app(collector, clock), kafka, collector, clock)


def event(**changes: Any) -> dict[str, Any]:
    """A valid event of the marketing pack; a change to None leaves the field out."""
    base = {
        "event_id": str(uuid4()),
        "event_type": "campaign_viewed",
        "timestamp": NOW - 1,
        "user_id": "user-1",
        "session_id": "session-1",
        "source": "mobile",
        "properties": {
            "campaign_id": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
            "creative_id": "3f2504e0-4f89-41d3-9a0c-0305e82c3302",
            "view_duration_seconds": 3,
            "view_type": "opened",
            "viewed_at": "2025-11-21T07:59:59Z",
            "impression_position": 2,
        },
        "context": {"app_version": "3.2.1", "platform": "iOS", "user_segment": "HIGH_SPENDER", "region": "US-CA"},
    }
    base.update(changes)
    return {name: value for name, value in base.items() if value is not None}


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:".encode()).decode()


MakeDoor = Callable[..., Door]
