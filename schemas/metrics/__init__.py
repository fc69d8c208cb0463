"""The metric dictionary: what each number means, as data. Computing it is the job of `api`."""

from schemas.metrics.document import render
from schemas.metrics.loader import SHIPPED, load_dictionary, shipped_dictionary
from schemas.metrics.model import Dictionary, Dimension, Healthy, Kind, Measures, Metric, Priority, Unit

__all__ = [
    "SHIPPED",
    "Dictionary",
    "Dimension",
    "Healthy",
    "Kind",
    "Measures",
    "Metric",
    "Priority",
    "Unit",
    "load_dictionary",
    "render",
    "shipped_dictionary",
]
