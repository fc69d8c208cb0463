"""`headrace collect`: one collector process, until SIGTERM. Starts without Kafka too, and answers 503 then."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from deploy.settings import Settings


def collect(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on; 0 takes a free one.")] = None,
    reuse_port: Annotated[
        bool | None, typer.Option("--reuse-port", help="Share the port with other collectors.", show_default=False)
    ] = None,
) -> None:
    """Take events over HTTP, check them and hand them to Kafka."""
    from deploy.settings import load

    overrides = {"collector.host": host, "collector.port": port, "collector.reuse_port": reuse_port}
    run_collector(load(overrides=overrides))


def run_collector(settings: Settings) -> None:
    """Run a collector until SIGTERM (blocks). Raises ConfigError, or Fatal when the port is taken."""
    from ingest.server import serve
    from schemas.clock import SystemClock
    from schemas.keys import KeyStore
    from schemas.taxonomy import shipped_packs, validator

    clock = SystemClock()
    if settings.dev_keys and not is_loopback(settings.collector.host):
        text = f"the development keys work on loopback only, not on {settings.collector.host}; unset one of the two"
        raise ConfigError(text, key="HEADRACE_DEV_KEYS")
    keys = KeyStore(settings.keys_path, clock, dev_keys=settings.dev_keys)
    validators = {name: validator(pack) for name, pack in shipped_packs().items()}
    serve(settings.collector, settings.kafka.bootstrap, validators, keys, clock)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
