"""The taxonomy: what events exist, what they hold, and whether one that arrives is good."""

from schemas.taxonomy.load import load_pack, shipped_packs
from schemas.taxonomy.pack import Event, EventRef, Freshness, Pack, Property, extra_columns
from schemas.taxonomy.validator import Rejection, Validator, validator

__all__ = [
    "Event",
    "EventRef",
    "Freshness",
    "Pack",
    "Property",
    "Rejection",
    "Validator",
    "extra_columns",
    "load_pack",
    "shipped_packs",
    "validator",
]
