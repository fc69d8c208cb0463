"""Alerts as data: what is watched, when it is wrong, and who is told."""
