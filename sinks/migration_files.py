"""Reading numbered SQL files, and holding them to what makes running them twice harmless.

There is no lock: every statement must say IF [NOT] EXISTS (or set something to a value), so that two processes that
migrate at once, or one that died half-way, end at the same tables. A statement that cannot be repeated is refused here.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.errors import ConfigError

FOLDER: Final = Path(__file__).parent / "migrations"
_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql\Z")
_PART: Final = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^'\\]|\\.|'')*'|`[^`]*`|\"[^\"]*\"|;|[^;'`\"/-]+|.", re.DOTALL)
_REPEATABLE: Final = (
    re.compile(r"CREATE (TABLE|VIEW|MATERIALIZED VIEW|DICTIONARY|FUNCTION) IF NOT EXISTS ", re.IGNORECASE),
    re.compile(r"CREATE OR REPLACE (TABLE|VIEW|DICTIONARY|FUNCTION) ", re.IGNORECASE),
    re.compile(r"DROP (TABLE|VIEW|DICTIONARY|FUNCTION) IF EXISTS ", re.IGNORECASE),
)
_ALTER: Final = re.compile(r"ALTER TABLE (?:`[^`]+`|[\w.]+) (.+)", re.IGNORECASE | re.DOTALL)
_REPEATABLE_CHANGE: Final = re.compile(
    r"(ADD (COLUMN|INDEX|PROJECTION|CONSTRAINT) IF NOT EXISTS|"
    r"(DROP|CLEAR|COMMENT|RENAME) (COLUMN|INDEX|PROJECTION|CONSTRAINT) IF EXISTS|"
    r"MODIFY (COLUMN|TTL|SETTING|COMMENT|ORDER BY|QUERY)|MATERIALIZE (INDEX|PROJECTION|TTL|COLUMN)|RESET SETTING)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Migration:
    """One file. `checksum`: SHA-256 of its bytes, with line ends made equal, in hex."""

    number: int
    name: str
    checksum: str
    statements: tuple[str, ...]


def load_migrations(folder: Path = FOLDER) -> list[Migration]:
    """The files in order. Raises `ConfigError` for a wrong name or number, or a statement that is not repeatable."""
    found = [_load(path) for path in sorted(folder.glob("*.sql"))]
    for expected, migration in enumerate(found, start=1):
        if migration.number != expected:
            raise ConfigError(
                f"expected number {expected:04d} here; number the files 0001, 0002, … without gaps", file=migration.name
            )
    return found


def _load(path: Path) -> Migration:
    match = _NAME.match(path.name)
    if not match:
        raise ConfigError("name it like 0008_what_it_adds.sql", file=path.name)
    text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    statements = tuple(split_statements(text))
    for statement in statements:
        _check_repeatable(statement, path.name, text)
    checksum = hashlib.sha256(text.encode()).hexdigest()
    return Migration(int(match.group(1)), path.name, checksum, statements)


def split_statements(text: str) -> list[str]:
    """Statements between semicolons, without comments; semicolons in quotes do not count."""
    statements, current = [], ""
    for part in _PART.findall(text):
        if part == ";":
            statements.append(current.strip())
            current = ""
        elif not part.startswith(("--", "/*")):
            current += part
    statements.append(current.strip())
    return [statement for statement in statements if statement]


def _check_repeatable(statement: str, file: str, text: str) -> None:
    flat = " ".join(statement.split())
    if any(pattern.match(flat) for pattern in _REPEATABLE):
        return
    alter = _ALTER.match(flat)
    if alter and all(_REPEATABLE_CHANGE.match(change) for change in _changes(alter.group(1))):
        return
    line = text[: max(text.find(statement.split("\n", maxsplit=1)[0]), 0)].count("\n") + 1
    raise ConfigError(
        "this statement cannot be run twice; write CREATE … IF NOT EXISTS, DROP … IF EXISTS, "
        "ADD COLUMN IF NOT EXISTS or MODIFY …",
        file=file,
        line=line,
        key=flat[:60],
    )


def _changes(body: str) -> list[str]:
    """The comma-separated changes of an ALTER; commas in brackets do not count."""
    parts, depth, current = [], 0, ""
    for char in body:
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += char
    return [*parts, current.strip()]
