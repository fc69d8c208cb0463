"""The key performance indicators of the executive dashboard, as data. Computing them is the job of `api`."""

from schemas.kpis.document import render_kpis
from schemas.kpis.loader import SHIPPED, load_kpis, shipped_kpis
from schemas.kpis.model import Kpi, Kpis, Part, Unit

__all__ = ["SHIPPED", "Kpi", "Kpis", "Part", "Unit", "load_kpis", "render_kpis", "shipped_kpis"]
