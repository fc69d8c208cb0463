"""`headrace backfill FILE…`: old events into the pipeline, whatever their age. Running it twice stores nothing twice.

Prints progress on standard error and one JSON line on standard output. Exit status 0 when all were sent, the rejected
ones too (the line counts them by reason), 2 for a fault of the input or settings, 1 when Kafka stayed away.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.clock import SystemClock
from schemas.errors import ConfigError, HeadraceError

if TYPE_CHECKING:
    from deploy.backfill.runner import Owner, Report
    from deploy.backfill.source import Progress
    from deploy.settings import Settings


def backfill(
    files: Annotated[list[Path], typer.Argument(help="NDJSON files, plain, .gz or .zst; - is standard input.")],
    *,
    tenant: Annotated[str | None, typer.Option(help="Whose events these are.")] = None,
    pack: Annotated[str, typer.Option(help="Taxonomy pack of the events.")] = "marketing",
    key: Annotated[str | None, typer.Option(help="A write key: gives tenant and pack.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="YAML that says how CSV rows become events.")] = None,
    derive_ids: Annotated[
        bool, typer.Option("--derive-ids", help="Make ids from the content of lines that have none.")
    ] = False,
    processes: Annotated[int, typer.Option(min=0, max=64, help="Processes beside the reading one.")] = 2,
    kafka: Annotated[str | None, typer.Option(help="Kafka servers, host:port; else HEADRACE_KAFKA_BOOTSTRAP.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of a running `headrace up`.")] = None,
) -> None:
    """Send files of old events through the same validation as live ones, without their 30-day limit."""
    from deploy.backfill.files import Job, run
    from deploy.backfill.mapping import load_mapping
    from deploy.settings import load

    try:
        settings = load(overrides={"kafka.bootstrap": kafka, "data_dir": data_dir})
        owner = _owner(settings, tenant, pack, key)
        rules = load_mapping(mapping) if mapping is not None else None
        job = Job(settings, owner, tuple(files), rules, derive_ids, processes)
        report = run(job, _Meter())
    except HeadraceError as error:
        sys.stderr.write(f"\nheadrace backfill: {error}\n")
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error
    _finish(report, owner, files)


def _owner(settings: Settings, tenant: str | None, pack: str, key: str | None) -> Owner:
    from deploy.backfill.runner import Owner
    from schemas.keys import DEV_TENANT, KeyRefused, KeyStore, Kind
    from schemas.taxonomy import shipped_packs

    if key is not None:
        try:
            found = KeyStore(settings.keys_path, SystemClock(), dev_keys=bool(settings.dev_keys)).find(key, Kind.WRITE)
        except KeyRefused as refused:
            raise ConfigError(refused.message, key="--key") from refused
        return Owner(found.tenant, found.pack, found.id)
    if pack not in shipped_packs():
        raise ConfigError(f"is no pack; known: {', '.join(sorted(shipped_packs()))}", key="--pack")
    if tenant is None and not settings.dev_keys:
        raise ConfigError("say whose events these are: --tenant NAME, or --key with a write key", key="--tenant")
    return Owner(tenant or DEV_TENANT, pack)


class _Meter:
    """Progress on standard error: a line that is written over on a terminal, one every 5 seconds elsewhere."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._begin = self._next = self._clock.monotonic()
        self._terminal = sys.stderr.isatty()

    def __call__(self, path: Path, progress: Progress, report: Report) -> None:
        now = self._clock.monotonic()
        if now < self._next:
            return
        self._next = now + (0.2 if self._terminal else 5.0)
        rate = report.events / max(0.001, now - self._begin)
        share = f"{100 * progress.done / progress.size:3.0f} %" if progress.size else "     "
        text = (
            f"{share}  {report.events:>12,} events  {rate:>9,.0f}/s  {report.rejected.total():,} rejected  {path.name}"
        )
        sys.stderr.write(f"\r{text}\x1b[K" if self._terminal else text + "\n")
        sys.stderr.flush()


def _finish(report: Report, owner: Owner, files: list[Path]) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    for sample in report.samples:
        sys.stderr.write(
            f"rejected: event {sample['number']} {sample['event_id'] or '(no id)'}: {sample['reason']}: "
            f"{sample['field']} {sample['message']}\n"
        )
    if len(report.samples) < report.rejected.total():
        sys.stderr.write("more are in the table rejected_events, with their bytes and reasons\n")
    summary: dict[str, Any] = {"files": [str(path) for path in files], "tenant": owner.tenant, "pack": owner.pack}
    sys.stdout.write(json.dumps({**summary, **report.summary()}) + "\n")
