"""What can be set about the collector. `deploy` fills it from the environment; nothing here reads it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

KIB = 1024
MIB = 1024 * KIB


class GatewaySettings(BaseModel):
    """How events are gathered into chunks and handed to Kafka."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partitions: int = Field(8, ge=1, le=1024, description="Partitions of headrace.events and headrace.rejected.")
    gather_ms: float = Field(
        5.0, ge=0, le=1000, description="Milliseconds to gather the events of concurrent requests into one chunk."
    )
    chunk_events: int = Field(1_000, ge=1, le=100_000, description="Events in one chunk, at most.")
    chunk_bytes: int = Field(
        500_000, ge=1_000, le=900_000, description="Bytes of one chunk, at most; one larger event makes a chunk alone."
    )
    deadline_seconds: float = Field(
        4.0, gt=0, le=60, description="Seconds Kafka has to acknowledge a request before it is answered with 503."
    )
    pending_events: int = Field(
        100_000, ge=1, description="Events waiting for Kafka, at most; beyond it requests are answered with 429."
    )
    pending_bytes: int = Field(
        48 * MIB, ge=1024, description="Bytes of events waiting for Kafka, at most; beyond it 429, nothing stored."
    )
    pending_chunks: int = Field(
        16_000, ge=1, description="Chunks waiting for Kafka, at most; beyond it 429, nothing stored."
    )
    away_seconds: float = Field(
        3.0,
        gt=0,
        le=60,
        description="Seconds without an acknowledgement after which Kafka counts as away: 503 at once, or the spool.",
    )
    probe_seconds: float = Field(1.0, gt=0, le=60, description="Seconds between two questions whether Kafka is back.")
    event_bytes: int = Field(
        64 * KIB, ge=256, le=128 * KIB, description="Bytes of one event as compact JSON, at most; larger is rejected."
    )
    event_depth: int = Field(32, ge=2, le=250, description="Levels of nesting in one event, at most.")
    ledger_seconds: float = Field(1.0, gt=0, le=60, description="Seconds between two publications of received counts.")
    drain_seconds: float = Field(10.0, gt=0, le=300, description="Seconds to hand everything to Kafka at shutdown.")


class ProducerSettings(BaseModel):
    """The Kafka producer. It is always idempotent and always waits for all replicas."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    compression: str = Field("lz4", pattern="^(none|lz4|zstd|gzip|snappy)$", description="Compression of batches.")
    linger_ms: float = Field(1.0, ge=0, le=1000, description="Milliseconds librdkafka waits for more chunks.")
    queue_messages: int = Field(20_000, ge=10, description="Chunks in the producer's queue, at most.")
    queue_kib: int = Field(64 * KIB, ge=1024, description="KiB in the producer's queue, at most.")


class SpoolSettings(BaseModel):
    """The collector's own disk, for chunks that Kafka does not take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dir: Path | None = Field(
        None, description="Folder of the spool, one for each collector; none when not set. `up` has one by default."
    )
    bytes: int = Field(1024 * MIB, ge=MIB, description="Bytes of the spool on disk, at most; beyond it 503 again.")
    segment_bytes: int = Field(
        16 * MIB, ge=64 * KIB, description="Bytes of one file of the spool; space is given back file by file."
    )


class CollectorSettings(BaseModel):
    """Everything about one collector process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    reuse_port: bool = Field(
        False, description="Share the port with other collectors (SO_REUSEPORT), so that a restart refuses nobody."
    )
    body_bytes: int = Field(2 * MIB, ge=1024, description="Bytes of a request body as sent, at most (else 413).")
    inflated_bytes: int = Field(10 * MIB, ge=1024, description="Bytes of a request body inflated, at most (else 413).")
    batch_events: int = Field(10_000, ge=1, description="Events in one request, at most (else 413).")
    in_flight_bytes: int = Field(
        32 * MIB, ge=1024, description="Body bytes being worked on, at most (else 429). Memory is about six times this."
    )
    in_flight_requests: int = Field(2_000, ge=1, description="Requests being worked on, at most (else 429).")
    body_seconds: float = Field(10.0, gt=0, description="Seconds a client has to send its body (else 408).")
    head_bytes: int = Field(64 * KIB, ge=1024, description="Bytes of request line and headers, at most (else 400).")
    keep_alive_seconds: int = Field(75, ge=1, description="Seconds an idle connection stays open.")
    shutdown_seconds: int = Field(10, ge=1, description="Seconds that running requests have to finish at shutdown.")
    retry_after_seconds: int = Field(
        1, ge=1, le=3600, description="What Retry-After says at least with 429 and 503; up to twice that, by chance."
    )
    retry_after_most_seconds: int = Field(
        60, ge=2, le=7200, description="What Retry-After says at most: it grows while Kafka is away."
    )
    metric_tenants: int = Field(100, ge=0, description="Tenants with own metric labels; the others count as 'other'.")
    gateway: GatewaySettings = GatewaySettings()
    producer: ProducerSettings = ProducerSettings()
    spool: SpoolSettings = SpoolSettings()

    @model_validator(mode="after")
    def _limits_fit(self) -> CollectorSettings:
        if self.in_flight_bytes < self.inflated_bytes:
            raise ValueError(
                f"in_flight_bytes ({self.in_flight_bytes}) is below inflated_bytes ({self.inflated_bytes}): "
                "the largest allowed request could never be taken; raise the first or lower the second"
            )
        if self.gateway.pending_events < self.batch_events:
            raise ValueError(
                f"gateway.pending_events ({self.gateway.pending_events}) is below batch_events ({self.batch_events}): "
                "the largest allowed batch could never be taken; raise the first or lower the second"
            )
        if self.gateway.pending_bytes < 2 * self.inflated_bytes:
            raise ValueError(
                f"gateway.pending_bytes ({self.gateway.pending_bytes}) is below twice inflated_bytes "
                f"({self.inflated_bytes}): the largest allowed request could not be taken; raise the first"
            )
        if self.gateway.pending_bytes > self.producer.queue_kib * KIB:
            raise ValueError(
                f"gateway.pending_bytes ({self.gateway.pending_bytes}) is more than producer.queue_kib "
                f"({self.producer.queue_kib} KiB) holds: requests would be stored in part; lower the first"
            )
        if self.gateway.pending_chunks > self.producer.queue_messages:
            raise ValueError(
                f"gateway.pending_chunks ({self.gateway.pending_chunks}) is above producer.queue_messages "
                f"({self.producer.queue_messages}): requests would be stored in part; lower the first"
            )
        return self
