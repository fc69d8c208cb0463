"""The dictionary as a page for people: `docs/metrics.md` is what this renders, and a test holds them together."""

from __future__ import annotations

from schemas.metrics.model import Dictionary, Healthy, Kind, Metric, Unit

_HEAD = """# Metrics

Generated from `schemas/metrics/dictionary.yaml`; change that file, then run `headrace docs`.

A metric is a numerator over a denominator, both exact, divided once. Percent runs from 0 to 100. Where the denominator
is 0 the value is `null`, not 0. Ranges are by event time, the start included and the end not. Money is in the tenant's
currency. The same events in any order, some of them twice, give the same numbers.

A metric is marked `incomplete` when less than 90 % of what was accepted in its range is stored, or when less than 90 %
of what is usual was accepted: `expected` shows the median of the same hours of the four weeks before, and a range is
only marked when each of at least two of them had more. `age_seconds`: since the newest event was stored.

`compare=previous_period` or `previous_year` puts the earlier range beside the value, with `change` and
`change_percent`; cohorts are followed for as long as those they are compared with. In a series a point is `partial`
when the range or the present cuts it, and an `outlier` when it lies more than 3 standard deviations from the median of
the whole points, seven at least; the deviation is that of a normal distribution with the same median distance (or mean
distance, where more than half of the points are equal). Groups stand by numerator, then denominator, largest first;
`limit` keeps the first ones. `GET /api/v1/analytics/query?metrics=roas,ctr` answers several metrics about the same.

An experiment compares users who were treated with users who were held out. Beside its value stand `low` and `high`, the
ends of the 95 % confidence interval, `p_value`, two-sided, and how many `treated_users` and `control_users` it is by.
Over several campaigns the variances add up, as if nobody were in two of them. What a single user on one side paid has
no variance: an interval by so few is too narrow.

A distribution is many observations; its value is the one that a share of them does not exceed. Beside it stand `p25`,
`median`, `p75`, `p95` and `max`, a `histogram`, and as `numerator` how many were observed.
"""


_KINDS = {
    Kind.QUOTIENT: "Measures",
    Kind.EXPERIMENT: "Experiment",
    Kind.DISTRIBUTION: "Distribution",
    Kind.EVALUATION: "Evaluation",
    Kind.OPERATION: "Counts of the API",
    Kind.ATTRIBUTION: "Credit",
}


def render(dictionary: Dictionary) -> str:
    """The whole page as Markdown, ending with a newline."""
    lines = [_HEAD, "| metric | what it says | unit | healthy | window | priority |", "|---|---|---|---|---|---|"]
    lines += [_row(metric) for metric in dictionary.metrics]
    return "\n".join(lines) + "\n" + "".join(_section(metric) for metric in dictionary.metrics)


def _row(m: Metric) -> str:
    return (
        f"| [{m.id}](#{m.id}) | {m.name} | {m.unit} | {healthy_text(m.healthy, m.unit)} | {m.window} | {m.priority} |"
    )


def healthy_text(healthy: Healthy, unit: Unit) -> str:
    """A healthy range in words: `1.5 % to 5 %`, `up to 20`, `any`."""
    suffix = " %" if unit is Unit.PERCENT else ""
    low = f"{healthy.min:g}{suffix}" if healthy.min is not None else ""
    high = f"{healthy.max:g}{suffix}" if healthy.max is not None else ""
    if low and high:
        return f"{low} to {high}"
    return f"from {low}" if low else f"up to {high}" if high else "any"


def _section(m: Metric) -> str:
    facts = [
        ("Formula", m.formula),
        (_KINDS[m.kind], _measures(m)),
        ("Split and filter by", ", ".join(f"`{d}`" for d in m.dimensions) or "nothing"),
        ("Owner", m.owner),
        ("Refresh", m.refresh),
        ("Target", f"{m.target:g}" if m.target is not None else ""),
        ("Also known as", ", ".join(f"`{alias}`" for alias in m.aliases)),
        ("Our reading", m.reading),
    ]
    listed = "".join(f"- {name}: {text}\n" for name, text in facts if text)
    return f"\n## {m.id}\n\n**{m.name}.** {m.definition}\n\n{listed}"


def _measures(m: Metric) -> str:
    plain = _quotient(m.measures.numerator, m.measures.denominator)
    if m.by_campaign is None:
        return plain
    return f"{plain}; by campaign or creative {_quotient(m.by_campaign.numerator, m.by_campaign.denominator)}"


def _quotient(numerator: str, denominator: str | None) -> str:
    return f"`{numerator}`" + (f" ÷ `{denominator}`" if denominator else "")
