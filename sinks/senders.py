"""Senders: one message to one place. Every sender passes `tests/sinks/sender_contract.py`.

`send` returns when the place took the message; it raises `Retryable` where another try may help and `Permanent` where
it cannot. It never waits much longer than its timeout, never follows a redirect (a signed message must not travel on),
and never puts a secret into an error or a log.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import httpx

from schemas.alerting.channels import Channel
from schemas.alerting.incident import Kind
from schemas.clock import Clock
from schemas.errors import ConfigError, Permanent, Retryable
from sinks.message import Message
from sinks.settings import NotifySettings
from sinks.signing import HEADER, sign

log = logging.getLogger("headrace.alerts")
_LEVELS: Final = {"critical": logging.CRITICAL, "warning": logging.WARNING, "info": logging.INFO}
_TRY_AGAIN: Final = frozenset({408, 425, 429})


class Sender(Protocol):
    """`repeatable`: whether the place recognises a repetition. `attempts`: tries of one message, at most."""

    repeatable: bool
    attempts: int

    def send(self, message: Message) -> None: ...

    def close(self) -> None: ...


class ConsoleSender:
    """Writes to the log of this process. A repetition is harmless: it is a second line."""

    repeatable = True

    def __init__(self, attempts: int = 1) -> None:
        self.attempts = attempts

    def send(self, message: Message) -> None:
        level = _LEVELS.get(message.row.severity, logging.WARNING) if message.kind is Kind.RAISED else logging.INFO
        log.log(level, "%s\n%s", message.title, message.body)

    def close(self) -> None:
        """Nothing to close."""


class WebhookSender:
    """Posts signed JSON. `X-Headrace-Delivery` is the same for every try, so the receiver can drop repetitions."""

    repeatable = True

    def __init__(self, url: str, key: str, clock: Clock, timeout: float = 5.0, attempts: int = 5) -> None:
        self.attempts = attempts
        self._url = url
        self._key = key.encode()
        self._clock = clock
        self._place = masked(url)
        # At level INFO it writes every URL, and a path can be a secret.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._http = httpx.Client(timeout=timeout, follow_redirects=False, trust_env=False)

    def send(self, message: Message) -> None:
        body = message.as_json()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "headrace",
            "X-Headrace-Delivery": message.delivery_id,
            HEADER: sign(self._key, body, self._clock.now()),
        }
        try:
            # Streamed, because nothing in the answer but its status is read.
            with self._http.stream("POST", self._url, content=body, headers=headers) as answer:
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Retryable(f"webhook {self._place}: {type(error).__name__}") from None
        if 200 <= status < 300:
            return
        if status >= 500 or status in _TRY_AGAIN:
            raise Retryable(f"webhook {self._place}: answered {status}")
        hint = "; redirects are not followed, configure the final address" if 300 <= status < 400 else ""
        raise Permanent(f"webhook {self._place}: answered {status}{hint}")

    def close(self) -> None:
        self._http.close()


class AppriseSender:
    """Slack, e-mail, PagerDuty and the rest, by apprise URL.

    Apprise only says yes or no. A no may be a lost answer, so one try is the default: twice would be twice.
    """

    repeatable = False

    def __init__(self, url: str, timeout: float = 5.0, attempts: int = 1, *, name: str = "apprise") -> None:
        apprise = _import_apprise()
        self.attempts = attempts
        self._place = f"{url.split('://', 1)[0]}://***"
        # Its log lines can show parts of a URL.
        logging.getLogger("apprise").disabled = True
        self._types: dict[str, Any] = {
            "critical": apprise.NotifyType.FAILURE,
            "warning": apprise.NotifyType.WARNING,
            "info": apprise.NotifyType.INFO,
        }
        self._resolved = apprise.NotifyType.SUCCESS
        asset = apprise.AppriseAsset(
            app_id="Headrace", async_mode=False, http_redirects=False, service_timeout=max(1, round(timeout))
        )
        self._apprise = apprise.Apprise(asset=asset)
        if not self._apprise.add(url):
            raise ConfigError("its secret is no URL that apprise understands (scheme://…)", key=f"channels.{name}")
        for service in self._apprise:
            service.socket_connect_timeout = service.socket_read_timeout = timeout

    def send(self, message: Message) -> None:
        kind = self._types.get(message.row.severity) if message.kind is Kind.RAISED else self._resolved
        try:
            taken = self._apprise.notify(title=message.title, body=message.body, notify_type=kind)
        except Exception as error:
            raise Retryable(f"{self._place}: {type(error).__name__}") from None
        if not taken:
            raise Retryable(f"{self._place}: the service did not take the message")

    def close(self) -> None:
        self._apprise.clear()


def build_sender(
    name: str, channel: Channel, secrets: Mapping[str, str], clock: Clock, settings: NotifySettings
) -> Sender:
    """The sender of a declared channel. Raises `ConfigError` for a secret that is missing or no URL."""
    timeout = settings.timeout_seconds
    if channel.type == "console":
        return ConsoleSender()
    url = channel.url or _secret(name, channel.url_secret, secrets)
    if channel.type == "apprise":
        return AppriseSender(url, timeout, channel.attempts or 1, name=name)
    if not url.startswith(("http://", "https://")):
        raise ConfigError("its URL must begin with http:// or https://", key=f"channels.{name}")
    key = _secret(name, channel.signing_secret, secrets)
    return WebhookSender(url, key, clock, timeout, channel.attempts or 5)


def masked(url: str) -> str:
    """Scheme, host and port of a URL; what follows may be a secret."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "***"
    return f"{parts.scheme}://{parts.hostname}{port}/***" if parts.hostname else "***"


def _import_apprise() -> Any:
    """Apprise and its hundred plugins, loaded only where a channel needs them; some use deprecated modules."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import apprise

        apprise.Apprise().details()
    return apprise


def _secret(channel: str, name: str | None, secrets: Mapping[str, str]) -> str:
    value = secrets.get(name or "", "")
    if not value:
        raise ConfigError(f"the secret {name!r} is missing or empty in the settings", key=f"channels.{channel}")
    return value
