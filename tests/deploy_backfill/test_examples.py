"""The mappings of docs/backfill.md do what it says, on the data sets that they are written for."""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from deploy.backfill.mapping import Mapping, load_mapping
from schemas.taxonomy import Rejection, shipped_packs, validator
from tests.deploy_backfill.test_files import numbered
from tests.real_data.expected import cdnow_purchases, sparkify_listening
from tests.real_data.mapping import CDNOW, SPARKIFY, require

DOCUMENT = Path(__file__).parents[2] / "docs" / "backfill.md"


def example(name: str, tmp_path: Path) -> Mapping:
    """The mapping that begins with a comment of this name."""
    found = re.search(rf"```yaml\n(# {name}.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.S)
    assert found, name
    (tmp_path / name).write_text(found[1])
    return load_mapping(tmp_path / name)


def accepted(path: Path, mapping: Mapping) -> list[dict[str, Any]]:
    check = validator(shipped_packs()["marketing"])
    lines = [check.validate(event, received_at=1.8e9, backfill=True) for _, event in numbered(path, mapping)]
    assert not [line for line in lines if isinstance(line, Rejection)]
    return [line for line in lines if not isinstance(line, Rejection)]


def test_every_mapping_of_the_document_is_valid(tmp_path: Path) -> None:
    for name in re.findall(r"```yaml\n# (\w+\.yaml)", DOCUMENT.read_text(encoding="utf-8")):
        example(name, tmp_path)


def test_cdnow(tmp_path: Path) -> None:
    rows = require(CDNOW).read_text().splitlines()
    (tmp_path / "cdnow.csv").write_text("".join(" ".join(row.split()) + "\n" for row in rows if row.strip()))
    lines, expected = accepted(tmp_path / "cdnow.csv", example("cdnow.yaml", tmp_path)), cdnow_purchases()
    assert len({line["event_id"] for line in lines}) == len(lines) == expected.orders
    assert Decimal(sum(line.get("amount_micros", 0) for line in lines)) / 1_000_000 == expected.revenue


def test_sparkify(tmp_path: Path) -> None:
    mapping = example("sparkify.yaml", tmp_path)
    lines = [line for path in sorted(require(SPARKIFY).glob("*.json")) for line in accepted(path, mapping)]
    expected = sparkify_listening()
    assert len({line["event_id"] for line in lines}) == len(lines) == expected.events
    kinds = Counter(line["properties"]["engagement_type"] for line in lines)
    assert kinds["view_catalog"] > kinds["app_open"] > 0
