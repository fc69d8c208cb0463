"""`headrace dead-letters`: what was rejected, why, and how it comes back.

Tables and JSON on standard output, progress on standard error. Exit status 0; 3 when a replay left letters that are
still refused, 2 for a fault of the options, the patch or the settings, 1 when a server stayed away.
"""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from deploy.dead_letters import shown
from deploy.dead_letters.options import load_patch, selecting
from schemas.clock import SystemClock
from schemas.dead_letters.selection import Selection, split_id
from schemas.errors import ConfigError, HeadraceError

if TYPE_CHECKING:
    from deploy.dead_letters.office import Office, Request
    from deploy.dead_letters.report import Reports

dead_letters_app = typer.Typer(
    help="Rejected events and unreadable records: list, inspect, mend, replay.", no_args_is_help=True
)

REFUSED: Final = 3
_EXPORT_LIMIT: Final = 10_000_000

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PatchOption = Annotated[Path | None, typer.Option("--patch", help="YAML or JSON file that says how to mend them.")]
HistoryOption = Annotated[bool, typer.Option("--history", help="Let them be of any age, as backfill does.")]
AsTenantOption = Annotated[str, typer.Option("--as-tenant", help="Whose unreadable records are that do not say it.")]


@dead_letters_app.command("list")
@selecting
def list_letters(
    *,
    selection: Selection,
    each: Annotated[bool, typer.Option("--each", help="Every letter, the newest first, not groups.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Rows, at most.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Groups by reason, field and event type, each with an example; or, with --each, the letters themselves."""
    from deploy.dead_letters.office import letter_object

    with _office() as office:
        if each:
            letters = [letter_object(one) for one in office.store.page(selection, limit=limit, newest_first=True)]
            _print(letters, as_json, shown.letters)
        else:
            _print(office.store.groups(selection, limit), as_json, shown.groups)


@dead_letters_app.command("show")
def show(
    letter_id: Annotated[str, typer.Argument(help="As `list` shows it.")],
    tenant: Annotated[str | None, typer.Option(help="Of this tenant, where two have the same id.")] = None,
    as_json: JsonOption = False,
) -> None:
    """One dead letter: its reason, its original, what was tried, and what the validator says of it now."""
    try:
        split_id(letter_id)
    except ValueError as error:
        typer.echo(f"headrace dead-letters: {error}", err=True)
        raise typer.Exit(2) from error
    with _office() as office:
        found = office.store.page(Selection(tenant=tenant, ids=(letter_id,)), limit=1, newest_first=True)
        if not found:
            raise ConfigError("there is no dead letter with this id; they are kept for 90 days", key=letter_id)
        _print(office.inspect(found[0]), as_json, shown.letter)


@dead_letters_app.command("preview")
@selecting
def preview(
    *,
    selection: Selection,
    patch: PatchOption = None,
    history: HistoryOption = False,
    as_tenant: AsTenantOption = "",
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Letters to judge, at most.")] = 1000,
    examples: Annotated[int, typer.Option("--show", min=0, max=1000, help="Letters to show.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """What a replay would do, on the original bytes. Writes nothing."""
    with _office() as office:
        request = _request(selection, patch, history, as_tenant)
        _print(office.preview(request, limit=limit, show=examples), as_json, shown.preview)


@dead_letters_app.command("replay")
@selecting
def replay(
    *,
    selection: Selection,
    patch: PatchOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Needed when nothing else selects.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Those that were replayed, too, if they are not stored.")
    ] = False,
    history: HistoryOption = False,
    as_tenant: AsTenantOption = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Letters to look at, at most.")] = None,
    actor: Annotated[str, typer.Option("--by", help="Who asks for it, for the audit; by default you.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Send them through the pipeline again. Running it twice changes nothing; cut short, it goes on where it ended."""
    replay_selected(
        selection,
        patch=patch,
        everything=everything,
        again=again,
        history=history,
        as_tenant=as_tenant,
        limit=limit,
        actor=actor,
        as_json=as_json,
    )


def replay_selected(
    selection: Selection,
    *,
    patch: Path | None = None,
    everything: bool = False,
    again: bool = False,
    history: bool = False,
    as_tenant: str = "",
    limit: int | None = None,
    actor: str = "",
    as_json: bool = False,
) -> None:
    """What `replay` does; other commands call it, too. Raises typer.Exit with the status."""
    with _office() as office:
        if not everything and not selection.describe():
            raise ConfigError("say which: an option that selects (--reason, --from, …), or --all", key="replay")
        request, meter = _request(selection, patch, history, as_tenant), _Meter()
        found = office.replay(request, actor or _me(), again=again, limit=limit, tell=meter)
        _print(found, as_json, shown.replayed)
        if any(report["still_rejected"] for report in found["tenants"].values()):
            raise typer.Exit(REFUSED)


@dead_letters_app.command("export")
@selecting
def export(
    *,
    selection: Selection,
    out: Annotated[Path, typer.Option("--out", help="File to write, NDJSON; - is standard output.")] = Path("-"),
    originals: Annotated[bool, typer.Option("--originals", help="The bytes as they came, nothing else.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Letters, at most.")] = _EXPORT_LIMIT,
) -> None:
    """Write them to a file, one a line: with all that is known of each, or only their bytes."""
    from deploy.dead_letters.office import letter_object

    with _office() as office:
        stream = sys.stdout.buffer if str(out) == "-" else out.open("wb")
        number = 0
        with stream if str(out) != "-" else _kept_open():
            for batch in office.store.batches(selection, limit=limit):
                for one in batch:
                    text = one.original.decode("utf-8", "backslashreplace")
                    whole = json.dumps({**letter_object(one), "original": text}).encode()
                    stream.write((one.original.replace(b"\n", b" ") if originals else whole) + b"\n")
                    number += 1
            stream.flush()
        sys.stderr.write(f"{number:,} dead letters written\n")


@dead_letters_app.command("flood")
def flood(
    *,
    accept: Annotated[
        bool, typer.Option("--accept", help="Go on: what Kafka holds by now goes to the dead letters.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on: the cause is gone, judge again.")] = False,
    actor: Annotated[str, typer.Option("--by", help="Who says so; by default you.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Floods of bad messages at which a consumer has stopped; and how it goes on. Exit status 3 while one is open."""
    from deploy.settings import load
    from sinks.floods import ACCEPTED, OPEN, RESUMED, FloodBook
    from sinks.warehouse import Warehouse

    with _told():
        if accept and resume:
            raise ConfigError("say one of --accept and --resume", key="flood")
        clock = SystemClock()
        book = FloodBook(Warehouse(load().warehouse), clock)
        if accept or resume:
            book.close(ACCEPTED if accept else RESUMED, actor or _me())
        floods = book.floods()
        _print([msgspec.to_builtins(one) for one in floods], as_json, shown.floods)
        if any(one.state == OPEN for one in floods):
            raise typer.Exit(REFUSED)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except HeadraceError as error:
        sys.stderr.write(f"headrace dead-letters: {error}\n")
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error


@contextmanager
def _kept_open() -> Iterator[None]:
    yield


@contextmanager
def _office() -> Iterator[Office]:
    """The office of the installation that the settings name; faults become messages and exit statuses."""
    from deploy.dead_letters.office import open_office
    from deploy.settings import load

    with _told():
        office, close = open_office(load(), SystemClock())
        try:
            yield office
        finally:
            close()


def _request(selection: Selection, patch: Path | None, history: bool, as_tenant: str) -> Request:
    from deploy.dead_letters.office import Request

    return Request(selection, load_patch(patch), history, as_tenant)


def _print(found: Any, as_json: bool, show_it: Callable[[Any], str]) -> None:
    sys.stdout.write((json.dumps(found) if as_json else show_it(found)) + "\n")


def _me() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"


class _Meter:
    """Progress on standard error: a line that is written over on a terminal, one every 5 seconds elsewhere."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._next = self._clock.monotonic() + 1.0
        self._terminal = sys.stderr.isatty()

    def __call__(self, reports: Reports) -> None:
        now = self._clock.monotonic()
        if now < self._next:
            return
        self._next = now + (0.2 if self._terminal else 5.0)
        done = sum(report.examined for report in reports.values())
        open_ = sum(report.selected - report.skipped for report in reports.values())
        accepted = sum(report.accepted for report in reports.values())
        text = f"{done:,} of {open_:,} looked at, {accepted:,} accepted"
        sys.stderr.write(f"\r{text}\x1b[K" if self._terminal else text + "\n")
        sys.stderr.flush()
