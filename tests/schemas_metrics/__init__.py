"""Tests of schemas/metrics."""
