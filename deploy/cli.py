"""`headrace`: one word for each thing to run. A command's module is imported when the command is called, not before."""

from __future__ import annotations

import difflib
import importlib
import sys
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperGroup

from deploy.allocator import give_back_large_blocks, keep_trimmed, share_arenas
from schemas.errors import ConfigError, HeadraceError

COMMANDS: Final[dict[str, str]] = {
    "up": "Run everything on this machine, in the foreground.",
    "demo": "Run everything, with a simulated business that sends events.",
    "collect": "Run a collector: events over HTTP in, Kafka out.",
    "process": "Run a worker: events from Kafka into the warehouse, or watch metrics and raise alerts.",
    "serve": "Run the API and the dashboard.",
    "broker": "Run the embedded broker (Kafka protocol, in memory).",
    "warehouse": "Run the embedded warehouse (ClickHouse protocol, on disk).",
    "migrate": "Bring the warehouse's tables and Kafka's topics to this version.",
    "backfill": "Send history from files.",
    "dead-letters": "List, inspect, mend and replay what was rejected.",
    "suppress": "Say whose events are not to be kept.",
    "replay": "Build windows, predictions and anomalies again from the events, compare, and swap them in.",
    "rollups": "Show, check and rebuild what days have counted.",
    "keys": "Create, list and revoke keys.",
    "taxonomy": "Show, check and export the event types.",
    "metrics": "Show what each metric means.",
    "attribution": "Credit channels for conversions, out of a file of paths.",
    "doctor": "Check this machine and the running servers, and say what to do.",
    "settings": "List every setting, its default and its value.",
    "docs": "Write or check the generated documents.",
    "bench": "Run the benchmarks.",
}
"""Name -> one line. The module is `deploy.commands.<name>`, holding `<name>_app` (a Typer) or a function `<name>`; in
both a hyphen is an underscore."""

_FOLDER: Final = Path(__file__).with_name("commands")


class LazyGroup(TyperGroup):
    """Lists commands without importing them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name in COMMANDS if (_FOLDER / f"{_module(name)}.py").exists()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            close = difflib.get_close_matches(cmd_name, self.list_commands(ctx), n=1)
            guess = f"did you mean {close[0]!r}?" if close else "`headrace --help` lists them."
            ctx.fail(f"there is no command {cmd_name!r}; {guess}")
        return _load(cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, COMMANDS))
        lines = [f"  {name:<{width}}  {COMMANDS[name]}" for name in self.list_commands(ctx)]
        typer.echo("Usage: headrace COMMAND [OPTIONS]\n\nCommands:\n" + "\n".join(lines))
        typer.echo(
            "\nEvery setting is a variable HEADRACE_…: `headrace settings`. Help on one: headrace COMMAND --help"
        )


app = typer.Typer(cls=LazyGroup, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _root() -> None:
    """Event-streaming analytics."""


def _load(name: str) -> Any:
    module = importlib.import_module(f"deploy.commands.{_module(name)}")
    group = getattr(module, f"{_module(name)}_app", None)
    if group is None:
        group = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        group.command(name)(getattr(module, name))
    command = typer.main.get_command(group)
    command.name = name
    return command


def _module(name: str) -> str:
    return name.replace("-", "_")


def main() -> None:
    """The console script. Exit status 2: cannot be used as configured; 1: failed; 130: interrupted."""
    give_back_large_blocks()
    share_arenas()
    keep_trimmed()
    arguments = sys.argv[1:] or ["--help"]
    try:
        app(arguments, prog_name="headrace")
    except ConfigError as error:
        print(f"headrace: {error}", file=sys.stderr)
        sys.exit(2)
    except HeadraceError as error:
        print(f"headrace: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
