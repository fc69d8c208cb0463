"""Which routes are served where."""

from __future__ import annotations

from fastapi import APIRouter

from api.routes import (
    alerts,
    anomalies,
    attribution,
    churn,
    cohorts,
    conflicts,
    corrections,
    customer_health,
    dead_letters,
    evaluations,
    funnels,
    health,
    heatmap,
    kpis,
    live,
    metrics,
    pipeline,
    reconcile,
    segments,
    windows,
)

ROOT = "/api/v1/analytics"


def all_routers() -> list[tuple[APIRouter, str]]:
    """Routers with the prefix that each is served under."""
    return [
        (pipeline.router, ROOT),
        (metrics.router, ROOT),
        (corrections.router, ROOT),
        (live.router, ROOT),
        (windows.router, ROOT),
        (kpis.router, ROOT),
        (heatmap.router, ROOT),
        (customer_health.router, ROOT),
        (reconcile.router, ROOT),
        (churn.router, ROOT),
        (segments.router, ROOT),
        (anomalies.router, ROOT),
        (attribution.router, ROOT),
        (alerts.router, ROOT),
        (dead_letters.router, ROOT),
        (conflicts.router, ROOT),
        (evaluations.router, ROOT),
        (funnels.router, ROOT),
        (cohorts.router, ROOT),
        (churn.users, ROOT),
        (churn.users, "/api/v1"),
        (churn.users, ""),
        (health.router, ""),
        (metrics.alias, ""),
    ]
