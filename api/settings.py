"""Settings of the API; `deploy/settings.py` fills them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class ReaderSettings(BaseModel):
    """Where ClickHouse is, and how much one read may cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field("http://127.0.0.1:8123", description="ClickHouse HTTP address: http(s)://host:port/database.")
    user: str = Field("default", description="ClickHouse user; give it read rights only.")
    password: SecretStr = Field(SecretStr(""), description="ClickHouse password.")
    connect_timeout: int = Field(3, ge=1, le=60, description="Seconds to wait for a connection.")
    max_seconds: int = Field(10, ge=1, le=300, description="Longest a query may run, seconds.")
    max_rows: int = Field(100_000, ge=100, le=10_000_000, description="Most rows that a query may answer.")
    max_memory: int = Field(2_000_000_000, ge=10_000_000, description="Most memory that a query may use, bytes.")
    threads: int = Field(4, ge=1, le=64, description="Queries that run at the same time.")
    slow_seconds: int = Field(
        60, ge=1, le=600, description="Longest a query of a funnel or of attribution may run, seconds."
    )
    slow_threads: int = Field(2, ge=1, le=64, description="Such queries that run at the same time, beside the others.")
    queue: int = Field(128, ge=1, le=10_000, description="Queries that may wait; the next one is refused with 503.")

    def slow(self) -> ReaderSettings:
        """Those of the reader for long questions, which has threads of its own, so that dashboards go on."""
        return self.model_copy(update={"max_seconds": self.slow_seconds, "threads": self.slow_threads})


class Prices(BaseModel):
    """What the warehouse costs, in the currency of the money that events carry."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    second: float = Field(0.00005, ge=0, description="Price of a second of the warehouse's time, for cost_per_query.")
    gib: float = Field(0.0005, ge=0, description="Price of a GiB that the warehouse reads, for cost_per_query.")


class LiveSettings(BaseModel):
    """The live stream: one poller for each tenant that somebody watches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interval_seconds: float = Field(1.0, ge=0.05, le=60, description="Seconds between two looks at the warehouse.")
    duty: float = Field(0.2, gt=0, le=1, description="Share of an interval after which no further metric is read.")
    heartbeat_seconds: float = Field(15.0, ge=0.05, le=300, description="Seconds of silence after which we say so.")
    max_subscribers: int = Field(
        200, ge=1, le=10_000, description="Streams open at the same time, all tenants together."
    )
    buffer: int = Field(256, ge=8, le=10_000, description="Messages that may wait for one slow subscriber.")


class ApiSettings(BaseModel):
    """The API as a whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reader: ReaderSettings = ReaderSettings()
    live: LiveSettings = LiveSettings()
    prices: Prices = Prices()
    static_dir: Path = Field(
        Path(__file__).with_name("static"), description="Folder of the built dashboard; a clear page stands in for it."
    )
    max_range_days: int = Field(3_700, ge=1, le=36_500, description="Longest time range of one question, days.")
    max_buckets: int = Field(1_500, ge=10, le=100_000, description="Most points of a series.")
    cache_seconds: float = Field(
        1.0, ge=0, le=60, description="How long the answer to a question about metrics is given again; 0 for never."
    )
    max_groups: int = Field(1_000, ge=1, le=100_000, description="Most groups of a split.")
