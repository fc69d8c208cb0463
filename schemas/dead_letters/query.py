"""SQL over dead letters and their states, with bound parameters; whoever may read the warehouse runs it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from schemas.dead_letters.selection import Selection, State, split_id

COLUMNS: Final = (
    "tenant",
    "received_at",
    "reason",
    "field",
    "message",
    "key_id",
    "chunk",
    "index",
    "event_id",
    "event_type",
)
STATE_COLUMNS: Final = ("state", "reason", "field", "message", "event_id", "patch", "replay_id", "actor", "at")
PAGE_FIELDS: Final = (
    *(name for name in COLUMNS if name != "received_at"),
    "received_ms",
    "size",
    "state",
    *(f"last_{name}" for name in STATE_COLUMNS if name not in ("state", "at")),
    "last_ms",
)
"""What `page` answers, in order."""
GROUP_FIELDS: Final = (
    *("reason", "field", "event_type", "n", "open", "first_ms", "last_ms", "chunk", "example", "message", "keys"),
)
"""What `groups` answers, in order."""

Key = tuple[str, float, int, int]
"""Tenant, Unix seconds of receipt, chunk, index."""


class Query(NamedTuple):
    """A statement with `{name:Type}` places and their values."""

    sql: str
    params: dict[str, Any]


class _Bind:
    def __init__(self) -> None:
        self.params: dict[str, Any] = {}

    def __call__(self, value: Any, kind: str = "String") -> str:
        name = f"d{len(self.params)}"
        self.params[name] = value
        return f"{{{name}:{kind}}}"

    def time(self, seconds: float) -> str:
        """A moment, to the millisecond."""
        return f"fromUnixTimestamp64Milli({self(round(seconds * 1000), 'Int64')}, 'UTC')"


def page(
    selection: Selection, *, limit: int, offset: int = 0, newest_first: bool = False, after: Key | None = None
) -> Query:
    """Keys, texts, sizes and states of one page; the originals are not read. `after`: the last key before this page."""
    bind = _Bind()
    if after is not None:
        selection = selection.model_copy(update={"start": max(selection.start or after[1], after[1])})
    columns = ", ".join(f"r.`{name}` AS `{name}`" for name in COLUMNS if name not in ("received_at",))
    more = f" AND {_after(bind, after)}" if after else ""
    order = "DESC" if newest_first else "ASC"
    by = ", ".join(f"{column} {order}" for column in ("r.received_at", "r.tenant", "r.chunk", "r.`index`"))
    sql = (
        f"SELECT {columns}, {_milli('r.received_at')} AS received_ms, r.size AS size, {_state()}"
        f" FROM {_source(bind, selection)}{more} ORDER BY {by}"
        f" LIMIT {bind(limit, 'UInt32')} OFFSET {bind(offset, 'UInt32')}"
    )
    return Query(sql, bind.params)


def groups(selection: Selection, *, limit: int) -> Query:
    """Counts by reason, field and event type, the largest first, each with the times and an example."""
    bind = _Bind()
    newest = "(r.received_at, r.chunk, r.`index`)"
    sql = (
        "SELECT r.reason AS reason, r.field AS field, r.event_type AS event_type, count() AS n,"
        f" countIf(s.state IN ('', '{State.REFUSED_AGAIN}')) AS open,"
        f" min({_milli('r.received_at')}) AS first_ms, max({_milli('r.received_at')}) AS last_ms,"
        f" argMax(r.chunk, {newest}) AS chunk,"
        f" argMax(r.`index`, {newest}) AS example, argMax(r.message, {newest}) AS message, uniqExact(r.key_id) AS keys"
        f" FROM {_source(bind, selection)} GROUP BY reason, field, event_type"
        f" ORDER BY n DESC, reason, field, event_type LIMIT {bind(limit, 'UInt32')}"
    )
    return Query(sql, bind.params)


def counts(selection: Selection) -> Query:
    """Counts by tenant, state and reason."""
    bind = _Bind()
    sql = (
        f"SELECT r.tenant AS tenant, {_state_name()} AS state, r.reason AS reason, count() AS n"
        f" FROM {_source(bind, selection)} GROUP BY tenant, state, reason ORDER BY tenant, state, reason"
    )
    return Query(sql, bind.params)


def originals(tenant: str, keys: list[Key]) -> Query:
    """The bytes of these letters of one tenant: received_ms, chunk, index, original, encoding."""
    bind = _Bind()
    times = [round(received_at * 1000) for _, received_at, _, _ in keys]
    pairs = [(chunk, index) for _, _, chunk, index in keys]
    sql = (
        f"SELECT {_milli('received_at')} AS received_ms, chunk, `index`, original, encoding FROM rejected_events FINAL"
        f" WHERE tenant = {bind(tenant)} AND received_at >= {bind.time(min(times) / 1000)}"
        f" AND received_at <= {bind.time(max(times) / 1000)}"
        f" AND (chunk, `index`) IN {bind(pairs, 'Array(Tuple(UInt64, UInt32))')}"
    )
    return Query(sql, bind.params)


def stored_ids(tenant: str, event_ids: list[str]) -> Query:
    """Which of these ids are stored."""
    bind = _Bind()
    sql = (
        f"SELECT DISTINCT event_id FROM events WHERE tenant = {bind(tenant)}"
        f" AND event_id IN {bind(event_ids, 'Array(String)')}"
    )
    return Query(sql, bind.params)


def _source(bind: _Bind, selection: Selection) -> str:
    """Both tables, joined, and what the selection says. Conditions on columns stand inside, where they cost least."""
    states = (
        f"SELECT tenant, received_at, chunk, `index`, {', '.join(STATE_COLUMNS)} FROM dead_letter_state FINAL"
        f"{_where(_ours(bind, selection))}"
    )
    letters = (
        f"SELECT {', '.join(f'`{name}`' for name in COLUMNS)}, length(original) AS size FROM rejected_events FINAL"
        f"{_where([*_ours(bind, selection), *_conditions(bind, selection)])}"
    )
    wanted = f"{_state_name()} IN {bind(list(selection.states), 'Array(String)')}" if selection.states else "1"
    return f"({letters}) AS r LEFT ANY JOIN ({states}) AS s USING (tenant, received_at, chunk, `index`) WHERE {wanted}"


def _ours(bind: _Bind, selection: Selection) -> list[str]:
    """Conditions on columns that both tables have."""
    found = []
    if selection.tenant is not None:
        found.append(f"tenant = {bind(selection.tenant)}")
    if selection.start is not None:
        found.append(f"received_at >= {bind.time(selection.start)}")
    if selection.end is not None:
        found.append(f"received_at < {bind.time(selection.end)}")
    if selection.chunks:
        found.append(f"chunk IN {bind(list(selection.chunks), 'Array(UInt64)')}")
    if selection.ids:
        pairs = [split_id(one) for one in selection.ids]
        found.append(f"(chunk, `index`) IN {bind(pairs, 'Array(Tuple(UInt64, UInt32))')}")
    return found


def _conditions(bind: _Bind, selection: Selection) -> list[str]:
    found = []
    for column, values in (
        ("reason", [str(reason) for reason in selection.reasons]),
        ("field", list(selection.fields_)),
        ("event_type", list(selection.event_types)),
        ("key_id", list(selection.key_ids)),
    ):
        if values:
            found.append(f"{column} IN {bind(values, 'Array(String)')}")
    if selection.text:
        found.append(f"positionCaseInsensitiveUTF8(message, {bind(selection.text)}) > 0")
    return found


def _where(conditions: list[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _state() -> str:
    columns = [f"s.{name} AS last_{name}" for name in STATE_COLUMNS if name not in ("state", "at")]
    return ", ".join((f"{_state_name()} AS state", *columns, f"{_milli('s.at')} AS last_ms"))


def _state_name() -> str:
    return f"if(s.state = '', '{State.WAITING}', s.state)"


def _after(bind: _Bind, key: Key) -> str:
    tenant, received_at, chunk, index = key
    return (
        f"(r.received_at, r.tenant, r.chunk, r.`index`) > ({bind.time(received_at)}, {bind(tenant)},"
        f" {bind(chunk, 'UInt64')}, {bind(index, 'UInt32')})"
    )


def _milli(column: str) -> str:
    return f"toUnixTimestamp64Milli({column})"
