"""The KPIs as a page for people: `docs/kpis.md` is what this renders, and a test holds them together."""

from __future__ import annotations

from schemas.kpis.model import Kpi, Kpis

_HEAD = """# Executive KPIs

Generated from `schemas/kpis/kpis.yaml`; change that file, then run `headrace docs`.

    curl -H "Authorization: Bearer $KEY" \\
      'localhost:8080/api/v1/analytics/kpis?startDate=2026-11-01&endDate=2026-12-01&comparisonPeriod=previous_period'

    {"period": {"startDate": "2026-11-01T00:00:00.000Z", "endDate": "2026-12-01T00:00:00.000Z"},
     "kpis": {"dau": 412.5, "cac": 14.2, …},
     "details": {"cac": {"value": 14.2, "unit": "currency", "numerator": 1420, "denominator": 100}, …},
     "comparison": {"cac": {"value": 16.0, "change": -1.8, "changePercent": -11.25}, …},
     "comparison_period": {…}, "definitions": {"cac": {"name": …, "definition": …, "formula": …}, …},
     "start": …, "end": …, "as_of": …, "completeness": 100.0, "incomplete": false}

Parameters have the specification's names; `start`, `end` and `compare` mean the same as `startDate`, `endDate` and
`comparisonPeriod`. Without a start the 30 days before the end are read. The start is included and the end is not: all
of November is `startDate=2026-11-01&endDate=2026-12-01`. The tenant is the key's, so there is no `tenantId`.

`previous_period` is as long as the range and ends where it starts; `previous_year` begins on the same date a year
earlier (on 28 February for the 29th) and is as long as the range. `change` is this period less that one,
`changePercent` is that by the size of the other period's value, and null where that is 0 or null.

A quotient is divided once and exactly, and null where its denominator is 0. Money is in the tenant's currency; an order
counts once, at its first event. A KPI needs what its facts count: where a taxonomy pack lacks a role, it is left out.
Periods are read with at most eight statements each; one that is too long answers 422 `too-much`.

## Left out

The specification lists KPIs of a genetic testing service. What the marketing pack has no events for is not there,
instead of being 0: tests ordered and completed, turnaround time, carriers and deficients identified, genotypes,
counselling, support tickets, cash and margins, partners, NPS, brand awareness and market penetration; subscriptions,
active, new and cancelled; revenue by payer. There is no 90-day projection of the run rate: a straight line through the
revenue of 90 days forecasts little, and the interval that the specification computes is not one of a forecast.

| KPI | what it says | unit | formula |
|---|---|---|---|
"""


def render_kpis(declared: Kpis) -> str:
    """The whole page as Markdown, ending with a newline."""
    rows = "".join(f"| [{k.id}](#{k.id.lower()}) | {k.name} | {k.unit} | {k.formula} |\n" for k in declared.kpis)
    return _HEAD + rows + "".join(_section(kpi) for kpi in declared.kpis)


def _section(kpi: Kpi) -> str:
    parts = "; ".join(f"`{part.kpi}` weighs {part.weight}, full at {part.full:g}" for part in kpi.parts)
    facts = [("Formula", kpi.formula), ("Parts", parts), ("Our reading", kpi.reading)]
    listed = "".join(f"- {name}: {text}\n" for name, text in facts if text)
    return f"\n## {kpi.id}\n\n**{kpi.name}.** {kpi.definition}\n\n{listed}"
