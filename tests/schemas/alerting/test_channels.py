"""Channels as data: who wants what, and faults that refuse to boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.alerting.channels import Channel, load_channels
from schemas.errors import ConfigError

TEXT = """\
channels:
  on_call:
    type: webhook
    url: https://hooks.internal/x
    signing_secret: on_call_key
    min_severity: warning
    rules: [roas_low]
"""


def load(tmp_path: Path, text: str) -> dict[str, Channel]:
    path = tmp_path / "channels.yaml"
    path.write_text(text)
    return dict(load_channels(path, {"on_call_key", "pager_url"}, {"roas_low", "ctr_low"}))


def test_the_shipped_channel_is_the_console() -> None:
    assert [channel.type for channel in load_channels().values()] == ["console"]


def test_a_channel_wants_its_rules_severities_and_tenants(tmp_path: Path) -> None:
    channel = load(tmp_path, TEXT + "    tenants: [a]\n")["on_call"]
    assert channel.wants("roas_low", "warning", "a")
    assert channel.wants("roas_low", "critical", "a")
    assert not channel.wants("roas_low", "info", "a")
    assert not channel.wants("ctr_low", "critical", "a")
    assert not channel.wants("roas_low", "critical", "b")


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("type: webhook", "type: webhok", 3, "did you mean 'webhook'"),
        ("min_severity: warning", "min_severity: bad", 6, "min_severity"),
        ("signing_secret: on_call_key", "signing_secret: on_call_kay", 5, "did you mean 'on_call_key'"),
        ("    signing_secret: on_call_key\n", "", 2, "signing_secret"),
        ("rules: [roas_low]", "rules: [roas_lwo]", 7, "did you mean 'roas_low'"),
        ("https://hooks.internal/x", "hooks.internal", 4, "must be a URL"),
        ("https://hooks.internal/x", "ftp://hooks.internal", 4, "must be a URL"),
        ("https://hooks.internal/x", "https://u:p@hooks.internal", 4, "keep it as a secret"),
        ("https://hooks.internal/x", "https://hooks.internal/?token=1", 4, "keep it as a secret"),
        ("    url: https://hooks.internal/x\n", "", 2, "either url or url_secret"),
        ("type: webhook", "type: apprise", 2, "url_secret"),
        ("type: webhook", "type: console", 5, "means nothing for type console"),
        ("    url:", "    ulr:", 4, "did you mean 'url'"),
    ],
)
def test_a_fault_names_file_line_and_key(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, TEXT.replace(old, new, 1))
    assert says in str(caught.value)
    assert f"channels.yaml:{line}: " in str(caught.value)


def test_an_error_never_shows_what_may_be_a_credential(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, TEXT.replace("https://hooks", "https://user:hunter2@hooks"))
    assert "hunter2" not in str(caught.value)
