"""How the health of a customer is scored, as data. Computing it is the job of `api`."""

from schemas.health.model import SHIPPED, Category, Health, load_health, shipped_health

__all__ = ["SHIPPED", "Category", "Health", "load_health", "shipped_health"]
