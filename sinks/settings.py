"""Settings of the sinks; `deploy/settings.py` fills them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class RetrySettings(BaseModel):
    """Exponential back-off: `base * 2^attempt`, capped, of which a random share up to `jitter` is taken off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_seconds: float = Field(0.1, gt=0, le=60, description="First wait after a passing fault, seconds.")
    cap_seconds: float = Field(10.0, gt=0, le=600, description="Longest wait between two tries, seconds.")
    jitter: float = Field(0.5, ge=0, le=1, description="Share of a wait that chance may take off, 0 to 1.")


class WarehouseSettings(BaseModel):
    """Where ClickHouse is, and how long to wait for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field("http://127.0.0.1:8123", description="ClickHouse HTTP address: http(s)://host:port/database.")
    user: str = Field("default", description="ClickHouse user.")
    password: SecretStr = Field(SecretStr(""), description="ClickHouse password.")
    connect_timeout: int = Field(5, ge=1, le=300, description="Seconds to wait for a connection.")
    answer_timeout: int = Field(60, ge=1, le=3600, description="Seconds to wait for an answer.")


class WriterSettings(BaseModel):
    """How the event writer behaves when the warehouse refuses rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    retry: RetrySettings = Field(RetrySettings(), description="Back-off while the warehouse cannot take rows.")
    flood_lines: int = Field(100, ge=1, description="This many refused lines in one batch may be a flood of bad lines.")
    flood_share: float = Field(0.5, gt=0, le=1, description="And this share of a batch stops the worker instead.")


class NotifySettings(BaseModel):
    """How alerts are sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    retry: RetrySettings = Field(RetrySettings(base_seconds=0.5), description="Back-off between tries of one message.")
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="Longest wait for a channel's server, seconds.")
    queue: int = Field(1000, ge=1, le=100_000, description="Messages that may wait for one channel.")
    remember_days: int = Field(90, ge=1, le=390, description="Days of sent notifications loaded on start.")
