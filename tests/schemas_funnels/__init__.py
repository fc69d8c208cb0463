"""Tests of schemas/funnels and schemas/cohorts."""
