"""Replay: rollups, model outputs and findings built anew from stored events or from Kafka, compared, and swapped in."""
