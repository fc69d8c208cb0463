"""Tests of segments as data."""
