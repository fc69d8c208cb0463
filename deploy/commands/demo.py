"""`headrace demo`: everything on this machine, and a simulated rewards-app business that sends events.

History goes in first, in compressed time; then the business is live through the public HTTP door until Ctrl-C, or for
`--for` seconds. With `--for`, what the API says is compared with what the simulator knows; exit status 1 when that
differs.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.simulator.comparison import Line
    from deploy.simulator.feed import LiveFeed
    from deploy.simulator.session import Session
    from deploy.stack import Stack


def demo(
    *,
    rate: Annotated[float, typer.Option(min=0.1, max=5_000, help="Live events a second.")] = 10.0,
    days: Annotated[int, typer.Option(min=1, max=400, help="Days of history.")] = 75,
    seconds: Annotated[float | None, typer.Option("--for", min=1, help="Stop after so many live seconds.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed is another business.")] = 7,
    users: Annotated[int, typer.Option(min=50, max=200_000, help="Users at the start.")] = 1_000,
    anomaly_after: Annotated[float, typer.Option(min=0, help="Live seconds before the burst of clicks.")] = 120.0,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data, keys and logs (default .headrace).")] = None,
    collector_port: Annotated[int | None, typer.Option(help="Port of the collector (default 8000).")] = None,
    api_port: Annotated[int | None, typer.Option(help="Port of API and dashboard (default 8080).")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes (default 1).")] = None,
) -> None:
    """Run everything, with a simulated business that sends events."""
    from deploy.logs import configure
    from deploy.simulator.profiles import Plan
    from deploy.simulator.session import Session, Wishes
    from deploy.stack import Stack, local_settings
    from schemas.clock import SystemClock

    settings = local_settings(data_dir=data_dir, collector_port=collector_port, api_port=api_port, workers=workers)
    configure(settings.log_level, "demo")
    stack, clock = Stack(settings), SystemClock()
    signals = _Signals(stack)
    stack.start()
    session = None
    try:
        stack.wait_ready()
        plan = Plan(end=0, seed=seed, days=days, users=users, rate=rate, anomaly_after=int(anomaly_after * 1000))
        session = Session(stack.settings, Wishes(plan, seconds), clock)
        right = _play(session, stack, signals, compare=seconds is not None)
    except _Stopped:
        right = True
    finally:
        if session is not None:
            session.close()
        stack.stop()
    if not right:
        raise typer.Exit(1)


class _Stopped(Exception):
    """The user wants it to end."""


class _Signals:
    """The first Ctrl-C or SIGTERM ends the demo and drains; the second kills."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self.seen = stack, 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def stopped(self) -> bool:
        return self.seen > 0

    def _handle(self, number: int, frame: object) -> None:
        self.seen += 1
        if self.seen > 1:
            self._stack.kill()
        else:
            typer.echo("\nstopping; once more to kill", err=True)


def _play(session: Session, stack: Stack, signals: _Signals, *, compare: bool) -> bool:
    """History, live, and the comparison; False when something differs."""
    meter = _Meter(signals)
    typer.echo(_welcome(session, stack))
    report = session.history(meter.history)
    meter.end_line()
    if report is None:
        typer.echo("history is already there; the business goes on from now")
    else:
        took = f"{report.seconds:.1f} s ({report.events / max(report.seconds, 0.001):,.0f}/s)"
        typer.echo(f"history: {report.events:,} events of {session.plan.days} days sent in {took}; live from now on")
    session.live(stack.collector_url, meter.live, signals.stopped)
    meter.end_line()
    feed = session.feed
    typer.echo(f"live: {feed.sent:,} sent, {feed.accepted:,} accepted, {feed.rejected:,} rejected")
    for surprise in feed.surprises:
        typer.echo(f"  unexpected: {surprise}", err=True)
    if not compare:
        return True
    lines = session.compare(stack.api_url)
    typer.echo(_verdict(session, lines))
    return all(line.right for line in lines) and not feed.surprises


def _welcome(session: Session, stack: Stack) -> str:
    from schemas.keys import DEV_SECRET_KEY, DEV_WRITE_KEY

    outage = [f"{ms // 60_000} min" for ms in session.plan.outage]
    history = "is there already" if session.known else f"of {session.plan.days} days goes in first, it takes a moment"
    burst = f"{session.plan.anomaly_after // 1000} s"
    return (
        f"headrace ready  collector {stack.collector_url}  dashboard {stack.api_url}\n\n"
        f"  open      {stack.api_url}/#key={DEV_SECRET_KEY}\n"
        f"  history   {history}\n"
        f"  look at   the event rate and the cards moving, about {session.plan.rate:g} events a second;\n"
        f"            the outage of the mobile app, {outage[0]} to {outage[1]} before the start, in the charts;\n"
        f"            the alert when a bot clicks on one campaign, {burst} after live begins;\n"
        f"            the pipeline ledger: received, accepted, rejected, duplicates, late, stored\n"
        f"  send      curl {stack.collector_url}/api/analytics/events -H 'Authorization: Bearer {DEV_WRITE_KEY}' …\n"
        f"  truth     {session.folder}\n"
        f"  stop      Ctrl-C\n"
    )


def _verdict(session: Session, lines: Sequence[Line]) -> str:
    fates = session.truth.tally.fates
    wrong = [line for line in lines if not line.right]
    found = {line.what: line.got for line in lines}
    ledger = found["received - accepted - rejected"], found["accepted - stored - duplicates"]
    rejected = sum(session.truth.tally.reasons.values())
    rows = [
        f"sent       {session.truth.tally.sent:,} in all runs",
        f"accepted   {found['accepted']:,.0f}, the pipeline's own events among them",
        f"rejected   {rejected:,} malformed, each with its reason",
        f"duplicates {found['duplicates']:,.0f} of {fates['duplicate']:,} sent twice",
        f"late       {found['late']:,.0f} of {fates['late']:,}",
        f"ledger     difference {ledger[0]} received, {ledger[1]} accepted",
    ]
    rows += [f"DIFFERENT  {line.what}: the API says {line.got}, the truth is {line.wanted}" for line in wrong]
    rows.append(f"compared   {len(lines)} numbers with the ground truth, {len(wrong)} differ")
    return "\n".join(rows)


class _Meter:
    """Progress on standard error: one line that is written over on a terminal, now and then a line elsewhere."""

    def __init__(self, signals: _Signals) -> None:
        from schemas.clock import SystemClock

        self._signals, self._clock = signals, SystemClock()
        self._terminal = sys.stderr.isatty()
        self._begin = self._next = self._clock.monotonic()
        self._written = False

    def history(self, stored: int) -> None:
        if self._signals.stopped():
            raise _Stopped
        self._write(f"history: {stored:,} events")

    def live(self, feed: LiveFeed) -> None:
        self._write(f"live: {feed.sent:,} sent  {feed.accepted:,} accepted  {feed.rejected:,} rejected")

    def end_line(self) -> None:
        if self._written and self._terminal:
            sys.stderr.write("\n")
        self._written = False
        self._next = self._clock.monotonic()

    def _write(self, text: str) -> None:
        now = self._clock.monotonic()
        if now < self._next:
            return
        self._next = now + (0.5 if self._terminal else 10.0)
        self._written = True
        sys.stderr.write(f"\r{text}\x1b[K" if self._terminal else text + "\n")
        sys.stderr.flush()
