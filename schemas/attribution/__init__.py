"""What attribution counts as a touch, and the numbers of its models, as data. Computing it is the job of `api`."""

from schemas.attribution.loader import SHIPPED, load_attribution, shipped_attribution
from schemas.attribution.model import Attribution, Histograms, Span, Touch

__all__ = ["SHIPPED", "Attribution", "Histograms", "Span", "Touch", "load_attribution", "shipped_attribution"]
