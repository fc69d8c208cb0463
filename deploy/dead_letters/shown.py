"""Dead letters as text for a person: tables that fit a terminal, previews, reports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from schemas.taxonomy.times import to_iso

_CELL = 60


def groups(found: Sequence[dict[str, Any]]) -> str:
    """The table of groups, and what to do next."""
    if not found:
        return "no dead letters here"
    head = ("count", "open", "reason", "field", "event type", "keys", "last", "example", "message")
    rows = [
        (
            *(f"{one['count']:,}", f"{one['open']:,}", one["reason"], one["field"], one["event_type"], one["keys"]),
            *(to_iso(one["last_at"])[:19], one["example"]["id"], one["example"]["message"]),
        )
        for one in found
    ]
    return _table(head, rows) + "\n\nlook at one: headrace dead-letters show EXAMPLE"


def letters(found: Sequence[dict[str, Any]]) -> str:
    """The table of letters."""
    if not found:
        return "no dead letters here"
    head = ("id", "received", "tenant", "state", "reason", "field", "event type", "key", "message")
    names = ("tenant", "state", "reason", "field", "event_type", "key_id", "message")
    return _table(head, [(one["id"], one["received_at"][:19], *(one[name] for name in names)) for one in found])


def letter(found: dict[str, Any]) -> str:
    """One letter, field by field, its original last."""
    lines = [
        f"{name:<12} {found[name]}"
        for name in ("id", "tenant", "received_at", "state", "event_type", "event_id", "key_id")
        if found[name] != ""
    ]
    lines.append(f"{'rejected':<12} {_why(found)}")
    if last := found.get("last_try"):
        said = _why(last) if last["reason"] else last["message"] or "accepted"
        lines.append(f"{'last try':<12} {last['at']} by {last['actor']}: {said}")
    lines.append(f"{'now':<12} {_verdict(found['verdict'])}")
    return "\n".join([*lines, "", found["original"]])


def preview(found: dict[str, Any]) -> str:
    """The counts, then some letters with what the patch changes."""
    lines = [
        f"{found['examined']:,} looked at: {found['would_be_accepted']:,} would be accepted, "
        f"{found['would_be_rejected']:,} not; the patch changes {found['changed_by_patch']:,}",
        *(f"  still {reason}: {n:,}" for reason, n in found["rejected_by_reason"].items()),
    ]
    for one in found["letters"]:
        lines += ["", f"{one['id']}  was {one['rejected_as']} {one['field']}".rstrip()]
        lines += [f"  {_change(change)}" for change in one.get("changes", ())] or ["  unchanged"]
        lines.append(f"  {_verdict(one['verdict'])}")
    return "\n".join([*lines, "", "nothing was written"])


def replayed(found: dict[str, Any]) -> str:
    """What became of the letters, tenant by tenant."""
    if not found["tenants"]:
        return "nothing was selected"
    lines = []
    for tenant, report in found["tenants"].items():
        lines.append(
            f"{tenant or '(no tenant)'}: {report['selected']:,} selected, {report['accepted']:,} accepted, "
            f"{report['still_rejected']:,} still rejected, {report['already_stored']:,} stored already, "
            f"{report['skipped']:,} settled before"
        )
        lines += [f"  still {reason}: {n:,}" for reason, n in report["rejected_by_reason"].items()]
        lines += [f"    {one['id']} {_why(one)}" for one in report["samples"]]
    audited = (f"audited as {said}" if "not" not in said else said for said in found["audit"].values())
    return "\n".join([*lines, *audited])


def floods(found: Sequence[dict[str, Any]]) -> str:
    """The table of floods, and how a consumer that stands at one goes on."""
    if not found:
        return "no consumer has stopped at a flood"
    head = ("state", "stopped", "topic", "from", "bad", "of", "by", "example")
    rows = [
        (
            *(one["state"], to_iso(one["stopped_at"])[:19], one["topic"], one["place"], f"{one['bad']:,}"),
            *(f"{one['seen']:,}", one["actor"], one["example"]),
        )
        for one in found
    ]
    lines = [_table(head, rows)]
    if any(one["state"] == "open" for one in found):
        lines += [
            "",
            "the cause is gone:            headrace dead-letters flood --resume",
            "let it go to the dead letters: headrace dead-letters flood --accept",
        ]
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    cells = [tuple(head), *(tuple(_cell(value) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return "\n".join(
        "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _cell(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def _why(found: dict[str, Any]) -> str:
    return " ".join(part for part in (f"{found['reason']}:", found["field"], found["message"]) if part)


def _verdict(verdict: dict[str, Any]) -> str:
    if verdict["accepted"]:
        more = f" ({verdict['events']} events)" if verdict["events"] > 1 else ""
        return f"would be accepted as {verdict['event_id']}{more}"
    return f"would be rejected: {_why(verdict)}"


def _change(change: dict[str, str]) -> str:
    before, after = (_cell(change[side]) or "(nothing)" for side in ("before", "after"))
    return f"{change['path'] or json.dumps('text')}: {before} -> {after}"
