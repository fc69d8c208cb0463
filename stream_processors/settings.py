"""Settings of the processors; `deploy/settings.py` fills them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from schemas.keys import DEV_TENANT


class ProcessorSettings(BaseModel):
    """How a worker takes, remembers and flushes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kafka: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, host:port, comma separated.")
    partitions: int = Field(4, ge=1, le=1024, description="Partitions of the event topic.")
    group: str = Field("headrace", description="Prefix of the consumer groups.")
    session_timeout: float = Field(
        30.0, gt=0, description="Consumer session timeout, seconds (6 on the embedded broker)."
    )
    take_chunks: int = Field(200, ge=1, le=5000, description="Chunks a worker takes at once, at most.")
    take_seconds: float = Field(0.2, gt=0, le=5, description="How long a take waits for more chunks, seconds.")
    recent_ids: int = Field(200_000, ge=1_000, description="Event ids a partition keeps exactly in memory, about.")
    users_in_memory: int = Field(200_000, ge=1000, description="User states a partition keeps in memory.")
    hot_minutes: int = Field(
        15, ge=6, le=120, description="Minutes of windows counted in memory; older ones are recomputed."
    )
    flush_seconds: float = Field(1.0, gt=0, le=60, description="Seconds between flushes of windows.")
    user_flush_seconds: float = Field(5.0, gt=0, le=300, description="Seconds between flushes of user states.")
    stall_seconds: float = Field(
        120.0,
        gt=0,
        description="Seconds without progress, while Kafka and ClickHouse answer, after which a worker ends itself.",
    )
    flood: str = Field(
        "stop",
        pattern="^(stop|accept)$",
        description="At a flood of bad messages: stop and page, or accept them all as dead letters.",
    )
    flood_share: float = Field(
        0.1, gt=0, le=1, description="More than this share of bad messages among the last ones is a flood."
    )
    flood_window: int = Field(10_000, ge=1, description="Among so many of the last events.")
    flood_least: int = Field(1_000, ge=1, description="Once so many were seen.")
    flood_row: int = Field(1_000, ge=1, description="So many bad messages in a row are a flood, too.")
    metrics_host: str = Field("127.0.0.1", description="Address that the Prometheus metrics listen on.")
    metrics_port: int = Field(0, ge=0, le=65535, description="Port of the Prometheus metrics; 0 is off.")


class WatcherSettings(BaseModel):
    """How the watcher judges: anomalies, alert rules, churn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evaluate_seconds: float = Field(
        1.0, gt=0, le=60, description="Seconds between two looks at series and alert rules."
    )
    quality_seconds: float = Field(2.0, gt=0, le=60, description="Seconds between two readings of data quality.")
    churn_seconds: float = Field(
        15.0, gt=0, le=3600, description="Seconds between two looks for closed days and active users."
    )
    segments: bool = Field(
        True, description="Assign behaviour patterns once a day; false where something else sends user_segmented."
    )
    rollups: bool = Field(True, description="Keep daily rollups; false has every question counted from the events.")
    rollup_seconds: float = Field(
        15.0, gt=0, le=3600, description="Seconds between two rounds that count days again which something touched."
    )
    rescore_users: int = Field(500, ge=0, le=100_000, description="Users scored anew in one look, at most.")
    reconcile_seconds: float = Field(
        15.0, gt=0, le=600, description="Seconds between two rounds that check the ledger against what is stored."
    )
    conflict_seconds: float = Field(
        10.0, gt=0, le=3600, description="Seconds between two looks for ids that came again for another event."
    )
    conflict_wide_seconds: float = Field(
        600.0, ge=10, le=86400, description="Seconds between two looks that compare new ids with all that are stored."
    )
    rules_file: Path | None = Field(None, description="YAML file of the alert rules; the shipped ones when not set.")
    channels_file: Path | None = Field(
        None, description="YAML file of the alert channels; the shipped ones when not set."
    )
    alert_secrets: SecretStr = Field(
        SecretStr("{}"), description="JSON object of the secrets that the channels name: URLs and signing secrets."
    )
    base_url: str = Field("http://127.0.0.1:8080", description="Address of the dashboard, for links in alerts.")
    collectors: str = Field(
        "http://127.0.0.1:8000",
        description="Addresses of all collectors, comma separated, to read their error rate from; `up` fills them in.",
    )
    apis: str = Field(
        "http://127.0.0.1:8080",
        description="Addresses of all APIs, comma separated, to read error rate and slow metrics from; likewise.",
    )
    installation_seconds: float = Field(
        5.0, gt=0, le=60, description="Seconds between two looks at collectors, APIs, consumer lag and disks."
    )
    operator_tenant: str = Field(
        DEV_TENANT, min_length=1, description="Tenant that alerts about collectors, APIs, lag and disks belong to."
    )

    @field_validator("collectors", "apis")
    @classmethod
    def _are_addresses(cls, text: str) -> str:
        if not all(map(_is_address, addresses(text))):
            raise ValueError("write addresses like http://host:8000, with commas between; no user, password or query")
        return text


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return whole and not (parts.username or parts.query or parts.fragment)


def addresses(text: str) -> list[str]:
    """The addresses in a setting, without a slash at their end."""
    return [url for part in text.split(",") if (url := part.strip().rstrip("/"))]
