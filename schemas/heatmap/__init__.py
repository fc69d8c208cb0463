"""How the cells of the engagement heatmap are judged, as data. Counting them is the job of `api`."""

from schemas.heatmap.model import SHIPPED, Heatmap, Level, load_heatmap, shipped_heatmap

__all__ = ["SHIPPED", "Heatmap", "Level", "load_heatmap", "shipped_heatmap"]
