"""The path of an event through the collector, in order. Everything else in this folder is one of these steps.

A request takes the steps of `receive`; each of its events then takes those of `EVENT_PATH`. What comes out is gathered
into chunks (`ingest.gather`) and handed to Kafka (`ingest.gateway`, `ingest.producer`); the answer waits for Kafka.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ingest.body import decode, read_body
from ingest.inflate import inflate
from ingest.keys import authenticate
from ingest.steps import address, encode, limit_depth, limit_size, refuse_unreadable, validate

if TYPE_CHECKING:
    from ingest.asgi import Request
    from ingest.collector import Collector
    from ingest.gateway import Verdicts

EVENT_PATH: Final[tuple[Callable[[Any, Any], Any], ...]] = (
    refuse_unreadable,
    limit_depth,
    limit_size,
    validate,
    address,
    encode,
)
"""Each step takes the event as the step before left it; the first that answers with a Rejection ends the path."""


async def receive(request: Request, collector: Collector) -> Verdicts:
    """One request, from its headers to Kafka's acknowledgement. Raises Refusal or Retryable, then nobody was served."""
    settings = collector.settings
    key = authenticate(collector.keys, request.headers, collector.packs)
    collector.gateway.refuse_early()
    with collector.admission.enter() as room:
        sent = await read_body(request, room, settings.body_bytes, settings.body_seconds)
        body = inflate(sent, request.header(b"content-encoding"), settings.inflated_bytes)
        room.grow_to(len(body))
        events = await decode(body, request.header(b"content-type"), settings.batch_events)
        weigh = len(body) > settings.gateway.event_bytes
        return await collector.gateway.submit(key.tenant, key.pack, key.id, events, weigh=weigh)
