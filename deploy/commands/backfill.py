"""`headrace backfill FILE…`: old events into the pipeline, whatever their age. Running it twice stores nothing twice.

Prints progress on standard error and one JSON line on standard output. Exit status 0 when all were sent, the rejected
ones too (the line counts them by reason); 2 for a fault of the input or settings, 1 when Kafka stayed away, 3 for more
rejected events than --max-errors allows, 130 when interrupted. Run again, it goes on where it was.
"""

from __future__ import annotations

import glob
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from schemas.clock import SystemClock
from schemas.errors import ConfigError, HeadraceError

if TYPE_CHECKING:
    from deploy.backfill.files import Job, Run, View
    from deploy.backfill.runner import Owner
    from deploy.settings import Settings

_SHOWN = 3
"""Events that a dry run shows."""


def backfill(
    files: Annotated[
        list[str],
        typer.Argument(help="NDJSON, CSV or Parquet, plain, gzip or zstd; patterns in quotes; - is standard input."),
    ],
    *,
    tenant: Annotated[str | None, typer.Option(help="Whose events these are.")] = None,
    pack: Annotated[str, typer.Option(help="Taxonomy pack of the events.")] = "marketing",
    key: Annotated[str | None, typer.Option(help="A write key: gives tenant and pack.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="YAML that says how rows become events.")] = None,
    derive_ids: Annotated[
        Literal["line", "content", "off"],
        typer.Option(help="Ids of events without one: of content and line, of content alone, or none: rejected."),
    ] = "line",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only validate; show the first events.")] = False,
    max_errors: Annotated[
        int | None, typer.Option(min=0, help="Stop when more events than this are rejected; by default never.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew, whatever was sent before.")] = False,
    state: Annotated[
        Path | None, typer.Option(help="Folder that keeps how far files are sent; else backfill in the data folder.")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=0, max=64, help="Processes beside the reading one; by default 2, 0 for small files."),
    ] = None,
    kafka: Annotated[str | None, typer.Option(help="Kafka servers, host:port; else HEADRACE_KAFKA_BOOTSTRAP.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of a running `headrace up`.")] = None,
) -> None:
    """Send files of old events through the same validation as live ones, without their 30-day limit."""
    from deploy.backfill.files import Job
    from deploy.backfill.mapping import load_mapping
    from deploy.settings import load

    try:
        settings = load(overrides={"kafka.bootstrap": kafka, "data_dir": data_dir})
        owner, paths = _owner(settings, tenant, pack, key), tuple(_expanded(files))
        rules = load_mapping(mapping) if mapping is not None else None
        folder = state or settings.data_dir / "backfill"
        job = Job(settings, owner, paths, rules, derive_ids, processes, folder, restart, dry_run, max_errors)
    except HeadraceError as error:
        raise _failed(error) from error
    _run(job)


def _run(job: Job) -> None:
    from deploy.backfill.files import Run

    meter = _Meter()
    if Path("-") in job.paths:
        sys.stderr.write("standard input cannot be resumed: after an interruption send it again from its beginning\n")
    run = Run(job, meter)
    try:
        if job.dry:
            _preview(job)
        run.run()
    except HeadraceError as error:
        meter.end()
        _say_rejected(run)
        raise _failed(error) from error
    except KeyboardInterrupt:
        meter.end()
        _finish(run, job)
        raise typer.Exit(130) from None
    meter.end()
    _finish(run, job)


def _failed(error: HeadraceError) -> typer.Exit:
    from deploy.backfill.files import TooManyRejected

    sys.stderr.write(f"headrace backfill: {error}\n")
    if isinstance(error, TooManyRejected):
        return typer.Exit(3)
    return typer.Exit(2 if isinstance(error, ConfigError) else 1)


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


def _expanded(names: list[str]) -> list[Path]:
    """The files, patterns replaced by what they match, in order. Raises ConfigError for one that matches nothing."""
    found: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            raise ConfigError(f"is a folder; name its files, for example '{name}/**/*.json'", file=name)
        if path.exists() or name == "-" or not glob.has_magic(name):
            found.append(path)
            continue
        some = sorted(Path(one) for one in glob.glob(name, recursive=True))
        if not any(one.is_file() for one in some):
            raise ConfigError("matches no file", file=name)
        found += [one for one in some if one.is_file()]
    return found


def _preview(job: Job) -> None:
    """Show the first events of the first file as they would be sent."""
    from deploy.backfill.events import decoded
    from deploy.backfill.pieces import Place, pieces
    from ingest.decode import Faulty

    if job.paths[0] == Path("-"):
        return
    with pieces(job.paths[0], job.mapping, Place()) as (found, _):
        for piece in found:
            batch = next(decoded(piece, job.mapping, job.ids))
            for index, event in enumerate(batch.events[:_SHOWN]):
                text = event.message if isinstance(event, Faulty) else json.dumps(event, ensure_ascii=False)
                sys.stderr.write(f"{batch.where(index)}: {text}\n")
            return


class _Meter:
    """Progress on standard error: a line that is written over on a terminal, one every 5 seconds elsewhere."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._begin = self._next = self._clock.monotonic()
        self._terminal = sys.stderr.isatty()
        self._first: float | None = None

    def __call__(self, view: View) -> None:
        now = self._clock.monotonic()
        if self._first is None:
            self._first = view.share or 0.0
        if now < self._next:
            return
        self._next = now + (0.2 if self._terminal else 5.0)
        report, seconds = view.report, max(0.001, now - self._begin)
        share = "     " if view.share is None else f"{100 * view.share:3.0f} %"
        text = (
            f"{share}  {report.events:>12,} events  {report.events / seconds:>9,.0f}/s  {self._left(view, seconds)}"
            f"  {report.rejected.total():,} rejected  {view.path.name}"
        )
        sys.stderr.write(f"\r{text}\x1b[K" if self._terminal else text + "\n")
        sys.stderr.flush()

    def end(self) -> None:
        """What follows stands on a line of its own."""
        if self._terminal:
            sys.stderr.write("\n")

    def _left(self, view: View, seconds: float) -> str:
        """The time that is left, if it goes on as fast."""
        moved = (view.share or 0.0) - (self._first or 0.0)
        if view.share is None or moved <= 0 or not view.report.events:
            return "         "
        left = round((1 - view.share) * seconds / moved)
        return f"{left // 3600:d}:{left // 60 % 60:02d}:{left % 60:02d} left"


def _finish(run: Run, job: Job) -> None:
    outcome, owner = run.outcome, job.owner
    if outcome.before:
        sys.stderr.write(f"{outcome.before:,} events had been sent by earlier runs; --restart sends them again\n")
    _say_rejected(run)
    names = [str(path) for path in job.paths]
    summary: dict[str, Any] = {"files": names, "tenant": owner.tenant, "pack": owner.pack, "dry_run": job.dry}
    sys.stdout.write(json.dumps({**summary, **outcome.summary()}) + "\n")


def _say_rejected(run: Run) -> None:
    report = run.outcome.report
    for sample in report.samples:
        field = f"{sample['field']}: " if sample["field"] else ""
        sys.stderr.write(
            f"rejected: {sample['where']}: {sample['reason']}: {field}{sample['message']}"
            f" (event_id {sample['event_id'] or 'not known'})\n"
        )
    if len(report.samples) < report.rejected.total():
        sys.stderr.write("more are in the table rejected_events, with their bytes, file, line and reason\n")
