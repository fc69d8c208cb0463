"""`headrace metrics`: the metric dictionary at the command line."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from schemas.metrics import Metric, shipped_dictionary
from schemas.metrics.document import healthy_text

metrics_app = typer.Typer(help="The metric dictionary: what each number means.", no_args_is_help=True)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@metrics_app.command("list")
def list_metrics(as_json: _Json = False) -> None:
    """List all metrics, one a line."""
    metrics = shipped_dictionary().metrics
    if as_json:
        typer.echo(json.dumps([metric.model_dump(mode="json") for metric in metrics], indent=2))
        return
    width = max(len(metric.id) for metric in metrics)
    for metric in metrics:
        typer.echo(f"{metric.id:<{width}}  {metric.unit:<8}  {metric.priority}  {metric.definition}")


@metrics_app.command("show")
def show_metric(
    metric_id: Annotated[str, typer.Argument(help="An id of `headrace metrics list`.")], as_json: _Json = False
) -> None:
    """Show one metric: definition, formula, healthy range, and how we read the specification."""
    metric = shipped_dictionary().find(metric_id)
    if metric is None:
        known = ", ".join(m.id for m in shipped_dictionary().metrics)
        typer.echo(f"There is no metric {metric_id!r}. Known: {known}.", err=True)
        raise typer.Exit(2)
    typer.echo(json.dumps(metric.model_dump(mode="json"), indent=2) if as_json else _text(metric))


def _text(m: Metric) -> str:
    rows = {
        "id": m.id,
        "name": m.name,
        "definition": m.definition,
        "formula": m.formula,
        "unit": str(m.unit),
        "healthy": healthy_text(m.healthy, m.unit),
        "target": f"{m.target:g}" if m.target is not None else "",
        "numerator": m.measures.numerator,
        "denominator": m.measures.denominator or "",
        "split by": ", ".join(m.dimensions),
        "window": m.window,
        "owner": m.owner,
        "refresh": m.refresh,
        "priority": str(m.priority),
        "reading": m.reading,
    }
    return "\n".join(f"{name:<12} {value}" for name, value in rows.items() if value)
