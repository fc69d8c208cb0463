"""Tests of api/: every number against plain Python, on the real engine."""
