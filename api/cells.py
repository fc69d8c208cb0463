"""What a read of measures gives."""

from __future__ import annotations

Cells = dict[tuple[str | None, int | None], int]
"""(group, start of the point in ms) -> whole number. (None, None) is the total."""
