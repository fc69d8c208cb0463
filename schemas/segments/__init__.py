"""Segments as data: the eight behaviour patterns and the RFM clusters. Assigning users to them is done elsewhere."""

from schemas.segments.patterns import Patterns, load_patterns, pattern_uuid, shipped_patterns
from schemas.segments.rfm import Cluster, Clusters, load_clusters, shipped_clusters

__all__ = [
    "Cluster",
    "Clusters",
    "Patterns",
    "load_clusters",
    "load_patterns",
    "pattern_uuid",
    "shipped_clusters",
    "shipped_patterns",
]
