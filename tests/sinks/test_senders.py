"""Every sender against the contract, and the contract against senders with a defect."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar

import httpx
import pytest

from schemas.alerting.channels import Channel
from schemas.alerting.incident import Kind
from schemas.clock import ManualClock
from schemas.errors import ConfigError, Permanent, Retryable
from sinks.message import Message
from sinks.senders import AppriseSender, ConsoleSender, Sender, WebhookSender, build_sender, masked
from sinks.settings import NotifySettings
from sinks.signing import HEADER, sign, verify
from tests.sinks import sender_contract as contract
from tests.sinks.alerts import NOW, alert, message
from tests.sinks.hook_server import Hook, hook_server
from tests.sinks.sender_contract import CHECKS, TIMEOUT, Place

KEY = "signing-key-5ecret"
PATH = "token-5ecret"


class HttpPlace:
    """A sender that posts to a local server."""

    answers = True
    secrets = (KEY, PATH)

    def __init__(self, hook: Hook, make: Callable[[str], Sender]) -> None:
        self._hook = hook
        self.sender = make(f"{hook.url}/{PATH}")

    def texts(self) -> list[str]:
        return [body.decode() for _, _, body in self._hook.requests]

    def behave(self, *script: int | str) -> None:
        self._hook.script.clear()
        self._hook.script.extend(script)

    def vanish(self) -> None:
        self._hook.stop()


class ConsolePlace:
    """The log."""

    answers = False
    secrets = ()

    def __init__(self) -> None:
        self.sender: Sender = ConsoleSender()
        self._seen: list[str] = []
        self.handler = logging.Handler()
        self.handler.emit = lambda record: self._seen.append(record.getMessage())  # type: ignore[method-assign]

    def texts(self) -> list[str]:
        return self._seen

    def behave(self, *script: int | str) -> None:
        raise NotImplementedError

    def vanish(self) -> None:
        raise NotImplementedError


def webhook(url: str) -> Sender:
    return WebhookSender(url, KEY, ManualClock(NOW), TIMEOUT)


def apprise(url: str) -> Sender:
    return AppriseSender(url.replace("http://", "json://"), TIMEOUT)


@contextmanager
def http_place(make: Callable[[str], Sender]) -> Iterator[Place]:
    with hook_server() as hook:
        place = HttpPlace(hook, make)
        yield place
        place.sender.close()


@contextmanager
def console_place() -> Iterator[Place]:
    place = ConsolePlace()
    log = logging.getLogger("headrace.alerts")
    log.addHandler(place.handler)
    log.setLevel(logging.INFO)
    yield place
    log.removeHandler(place.handler)


PLACES = {"webhook": lambda: http_place(webhook), "apprise": lambda: http_place(apprise), "console": console_place}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", PLACES)
def test_every_sender_keeps_the_contract(name: str, check: Callable[[Place], None]) -> None:
    with PLACES[name]() as place:
        check(place)


class Swallows(WebhookSender):
    """Reports nothing."""

    def send(self, message: Message) -> None:
        with suppress(Retryable, Permanent):
            super().send(message)


class Leaks(WebhookSender):
    """Puts the URL into its errors."""

    def send(self, message: Message) -> None:
        try:
            super().send(message)
        except Retryable as error:
            raise Retryable(f"{error} {self._url}") from None


class Repeats(WebhookSender):
    """Tries again by itself."""

    def send(self, message: Message) -> None:
        try:
            super().send(message)
        except Retryable:
            super().send(message)


class Follows(WebhookSender):
    """Lets the message travel on."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._http.close()
        self._http = httpx.Client(timeout=TIMEOUT, follow_redirects=True, trust_env=False)


class Waits(WebhookSender):
    """Has no timeout."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._http.close()
        self._http = httpx.Client(timeout=None, trust_env=False)


class SaysLittle(WebhookSender):
    """Sends the id only."""

    def send(self, message: Message) -> None:
        self._http.post(self._url, content=message.row.alert_id)


class NeverStops(WebhookSender):
    """Has no end of tries."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.attempts = 10**9


DEFECTS = {
    Swallows: contract.check_reports_a_refusal,
    Leaks: contract.check_hides_secrets,
    Repeats: contract.check_one_send_is_one_request,
    Follows: contract.check_follows_no_redirect,
    Waits: contract.check_gives_up_on_silence,
    SaysLittle: contract.check_says_what_happened,
    NeverStops: contract.check_is_bounded_in_tries,
}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_the_contract_catches_a_planted_defect(defect: type[WebhookSender]) -> None:
    with http_place(lambda url: defect(url, KEY, ManualClock(NOW), TIMEOUT)) as place, pytest.raises(AssertionError):
        DEFECTS[defect](place)


class TestWebhook:
    """What only webhooks do."""

    def test_the_signature_can_be_verified_over_the_raw_body(self) -> None:
        with hook_server() as hook:
            sender = webhook(f"{hook.url}/x")
            sender.send(message())
            sender.close()
            [(_, headers, body)] = hook.requests
        assert headers[HEADER].startswith(f"t={int(NOW)},v1=")
        assert verify(KEY.encode(), headers[HEADER], body, NOW + 1)
        assert not verify(b"other key", headers[HEADER], body, NOW + 1)
        assert not verify(KEY.encode(), headers[HEADER], body + b" ", NOW + 1)
        assert not verify(KEY.encode(), headers[HEADER], body, NOW + 301)
        assert headers["X-Headrace-Delivery"] == message().delivery_id
        sent = json.loads(body)
        assert sent["kind"] == "raised"
        assert sent["alert"]["evidence"]["runbook"] == "look"
        assert sent["alert"]["value"] == 1.23456

    @pytest.mark.parametrize(
        ("status", "kind"), [(400, Permanent), (401, Permanent), (410, Permanent), (429, Retryable)]
    )
    def test_statuses_say_whether_to_try_again(self, status: int, kind: type[Exception]) -> None:
        with http_place(webhook) as place:
            place.behave(status)
            with pytest.raises(kind, match=str(status)):
                place.sender.send(message())

    def test_an_absent_server_is_retryable(self) -> None:
        sender = WebhookSender("http://127.0.0.1:9/secret", KEY, ManualClock(NOW), TIMEOUT)
        with pytest.raises(Retryable, match=r"http://127\.0\.0\.1:9/\*\*\*: ConnectError"):
            sender.send(message())
        sender.close()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=,v1=",
        "v1=00",
        f"t={int(NOW)}",
        f"t=-1,v1={'0' * 64}",
        "t=²,v1=0",
        f"t={'9' * 40},v1=0",
        f"t={int(NOW)},v1=é",
    ],
)
def test_a_malformed_signature_is_refused_not_crashed_on(header: str) -> None:
    assert not verify(b"k", header, b"body", NOW)


def test_a_signature_is_over_time_and_body() -> None:
    assert sign(b"k", b"body", 1.9) == "t=1,v1=" + hmac.new(b"k", b"1.body", "sha256").hexdigest()


def test_every_try_of_a_message_has_the_same_delivery_id_and_others_differ() -> None:
    ids = {message().delivery_id, message(Kind.RESOLVED).delivery_id, message(channel="other").delivery_id}
    assert len(ids) == 3
    assert message().delivery_id in ids


def test_a_message_without_readable_evidence_still_says_something() -> None:
    for evidence in ("", "[]", "{"):
        body = Message("ops", Kind.RAISED, alert(evidence=evidence, value=None)).body
        assert "roas_low: none" in body


class TestBuilding:
    """From declared channels to senders."""

    CLOCK: ClassVar = ManualClock(NOW)

    def build(self, secrets: dict[str, str], **fields: object) -> Sender:
        return build_sender("ops", Channel.model_validate(fields), secrets, self.CLOCK, NotifySettings())

    def test_each_type(self) -> None:
        assert isinstance(self.build({}, type="console"), ConsoleSender)
        hook = self.build({"k": "v"}, type="webhook", url="http://h/x", signing_secret="k", attempts=2)
        assert (type(hook), hook.attempts) == (WebhookSender, 2)
        service = self.build({"u": "json://h/x"}, type="apprise", url_secret="u")
        assert (type(service), service.attempts, service.repeatable) == (AppriseSender, 1, False)
        hook.close()
        service.close()

    @pytest.mark.parametrize("secrets", [{}, {"u": ""}])
    def test_a_missing_secret_is_a_configuration_error(self, secrets: dict[str, str]) -> None:
        with pytest.raises(ConfigError, match=r"channels\.ops: the secret 'u'"):
            self.build(secrets, type="apprise", url_secret="u")

    @pytest.mark.parametrize(
        ("kind", "url"), [("apprise", "nonsense-hunter2://x"), ("apprise", "hunter2"), ("webhook", "file:///hunter2")]
    )
    def test_an_unusable_secret_url_is_refused_without_showing_it(
        self, kind: str, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        extra = {"signing_secret": "k"} if kind == "webhook" else {}
        with pytest.raises(ConfigError, match=r"channels\.ops") as caught:
            self.build({"u": url, "k": "key"}, type=kind, url_secret="u", **extra)
        assert "hunter2" not in str(caught.value) + caplog.text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h.example/services/T0/B0/x", "https://h.example/***"),
        ("http://u:p@h:99/x?token=1", "http://h:99/***"),
        ("http://[broken", "***"),
    ],
)
def test_masked_urls_show_where_and_nothing_else(url: str, shown: str) -> None:
    assert masked(url) == shown
