"""The parts of one collector, put together; what the endpoints work with."""

from __future__ import annotations

from collections.abc import Collection
from random import Random

from ingest.admission import Admission
from ingest.gateway import Gateway
from ingest.producer import ChunkProducer
from ingest.refusals import Patience
from ingest.settings import CollectorSettings
from schemas.clock import random_u32
from schemas.keys import KeyStore


class Collector:
    """Keys, limits and the gateway of one process."""

    def __init__(self, settings: CollectorSettings, keys: KeyStore, gateway: Gateway, producer: ChunkProducer) -> None:
        self.settings, self.keys, self.gateway, self.producer = settings, keys, gateway, producer
        self.admission = Admission(settings.in_flight_bytes, settings.in_flight_requests)
        self.packs: Collection[str] = gateway.validators.keys()
        gateway.metrics.in_flight_bytes.set_function(lambda: self.admission.held)
        gateway.metrics.pending_events.set_function(lambda: gateway.pending)
        gateway.metrics.kafka_away.set_function(lambda: float(gateway.outlet.spooling or bool(gateway.outlet.problem)))
        self.patience = Patience(settings.retry_after_seconds, settings.retry_after_most_seconds, Random(random_u32()))
