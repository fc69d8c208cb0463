"""Notification channels: who is told of which alerts, in YAML. Secrets stand elsewhere and are only named here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from schemas.alerting.rules import SEVERITIES, Severity
from schemas.taxonomy.packfile import Name, Text
from schemas.taxonomy.yamlfile import Document, Key, conform, hint, read

SHIPPED: Final = Path(__file__).with_name("channels.yaml")
MAX_CHANNELS: Final = 50


class Channel(BaseModel):
    """One place that hears of alerts.

    `url_secret` and `signing_secret` name secrets (the setting `alert_secrets`); an apprise URL holds a token, so it is
    always a secret. `rules`: only alerts of these rules (empty: all). `tenants` likewise. `attempts`: how often one
    message is tried; default 5 for a webhook, whose receiver can recognise a repetition, and 1 for apprise, where a
    lost answer cannot be told from a refusal and trying again could notify twice.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    type: Literal["console", "apprise", "webhook"]
    min_severity: Severity = "info"
    rules: list[Name] = []
    tenants: list[Text] = []
    resolved: bool = True
    url: Text | None = None
    url_secret: Name | None = None
    signing_secret: Name | None = None
    attempts: Annotated[int, Field(ge=1, le=20)] | None = None
    enabled: bool = True

    def wants(self, rule_id: str, severity: str, tenant: str) -> bool:
        """Whether an alert of this rule, severity and tenant goes to this channel."""
        return (
            SEVERITIES.index(severity) >= SEVERITIES.index(self.min_severity)
            and (not self.rules or rule_id in self.rules)
            and (not self.tenants or tenant in self.tenants)
        )


class ChannelsFile(BaseModel):
    """The file: `channels` by name."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    channels: Annotated[dict[Name, Channel], Field(max_length=MAX_CHANNELS)]


def load_channels(
    path: str | Path = SHIPPED, secrets: Collection[str] = (), rules: Collection[str] | None = None
) -> Mapping[str, Channel]:
    """The enabled channels of the file at `path`. `secrets`: names that exist; `rules`: ids that exist (None: any).

    Raises `ConfigError` with file, line and key for the first fault.
    """
    document = read(Path(path))
    channels = conform(ChannelsFile, document).channels
    enabled = {name: channel for name, channel in channels.items() if channel.enabled}
    for name, channel in enabled.items():
        _check(channel, ("channels", name), document, secrets, rules)
    return enabled


def _check(
    channel: Channel, key: Key, document: Document, secrets: Collection[str], rules: Collection[str] | None
) -> None:
    needs = {"console": set[str](), "apprise": {"url_secret"}, "webhook": {"signing_secret"}}[channel.type]
    given = {name for name in ("url", "url_secret", "signing_secret") if getattr(channel, name) is not None}
    for name in sorted(needs - given):
        raise document.fault((*key, name), f"is missing; a channel of type {channel.type} needs it")
    if channel.type == "webhook" and len(given & {"url", "url_secret"}) != 1:
        raise document.fault(key, "give either url or url_secret")
    for name in sorted(given - needs - ({"url", "url_secret"} if channel.type == "webhook" else set())):
        raise document.fault((*key, name), f"means nothing for type {channel.type}; remove it")
    if channel.url is not None:
        _check_url(channel.url, (*key, "url"), document)
    for field in ("url_secret", "signing_secret"):
        name = getattr(channel, field)
        if name is not None and name not in secrets:
            raise document.fault((*key, field), f"there is no secret {name!r} in the settings{hint(name, secrets)}")
    for index, rule_id in enumerate(channel.rules):
        if rules is not None and rule_id not in rules:
            raise document.fault((*key, "rules", index), f"there is no rule {rule_id!r}{hint(rule_id, rules)}")


def _check_url(url: str, key: Key, document: Document) -> None:
    try:
        parts = urlsplit(url)
        ok = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        ok = False
    if not ok:
        raise document.fault(key, "must be a URL like https://host/path")
    if parts.username or parts.password or parts.query:
        raise document.fault(key, "holds credentials or a query; keep it as a secret and name that in url_secret")
