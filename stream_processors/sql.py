"""SQL text of the processors: literals, role conditions, and the aggregates that equal the in-memory folds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from schemas.taxonomy import EventRef

_ESCAPES: Final = str.maketrans({"\\": "\\\\", "'": "\\'", "\0": "\\0"})

GROUP_VALUES: Final = 5_000
GROUP_BYTES: Final = 120_000

Roles = Mapping[str, Sequence[EventRef]]


def text(value: str) -> str:
    """A string literal. Ids come from outside: backslash, quote and NUL are escaped."""
    return f"'{value.translate(_ESCAPES)}'"


def moment(seconds: float) -> str:
    """A DateTime64(3) literal in UTC: to compare a DateTime64 column with.

    Never with a DateTime: `<` passes over parts whose first row lies in the last second before such a time, `>` over
    those whose last one lies in the second after it (ClickHouse 26.9), and rows are missing until the part is merged.
    """
    return f"toDateTime64({seconds:.3f}, 3, 'UTC')"


def text_list(values: Iterable[str]) -> str:
    """A parenthesised list of string literals, for `IN`; quick for tens of thousands when none has to be escaped."""
    joined = "','".join(values := list(values))
    if joined.count("'") == 2 * max(0, len(values) - 1) and "\\" not in joined and "\0" not in joined:
        return f"('{joined}')" if values else "()"
    return "(" + ",".join(map(text, values)) + ")"


def groups(values: Iterable[str]) -> Iterator[list[str]]:
    """The values in groups whose `text_list` fits a query twice: ClickHouse takes no query over 256 KiB."""
    some: list[str] = []
    size = 0
    for value in values:
        more = len(text(value).encode()) + 1
        if some and (size + more > GROUP_BYTES or len(some) == GROUP_VALUES):
            yield some
            some, size = [], 0
        some.append(value)
        size += more
    if some:
        yield some


def pair_list(pairs: Iterable[tuple[str, str]]) -> str:
    """A parenthesised list of pairs of string literals, for `(a, b) IN`."""
    return "(" + ",".join(f"({text(a)},{text(b)})" for a, b in pairs) + ")"


def role_condition(roles: Mapping[str, Roles], role: str) -> str:
    """The condition on `pack`, `event_type` and `subtype` that a row of `events` plays a role (`0`: in no pack)."""
    options = []
    for pack, declared in roles.items():
        refs = list(declared.get(role, ()))
        whole = [event_type for event_type, subtype in refs if subtype is None]
        pairs = [(event_type, subtype) for event_type, subtype in refs if subtype is not None]
        either = [f"event_type IN {text_list(whole)}"] if whole else []
        if pairs:
            either.append(f"(event_type, subtype) IN {pair_list(pairs)}")
        if either:
            options.append(f"(pack = {text(pack)} AND ({' OR '.join(either)}))")
    return "(" + " OR ".join(options) + ")" if options else "0"


def user_state_columns(roles: Mapping[str, Roles]) -> str:
    """The aggregates over `events AS e` by user that equal folding them (`stream_processors.users.fold`)."""
    role = {name: role_condition(roles, name) for name in ROLE_NAMES}
    delivered = f"{role['impression']} AND NOT is_holdout"
    seconds = "toFloat64({})"

    def at(function: str, condition: str) -> str:
        return f"if(countIf({condition}) = 0, NULL, {seconds.format(f'{function}If(timestamp, {condition})')})"

    return f"""
        tenant, user_id,
        {seconds.format("min(timestamp)")} AS first_seen, {seconds.format("max(timestamp)")} AS last_seen,
        {at("max", role["activity"])} AS last_active, {at("min", role["signup"])} AS signed_up_at,
        {at("min", role["purchase"])} AS first_purchase_at, {at("max", role["purchase"])} AS last_purchase_at,
        {at("max", role["unsubscribe_all"])} AS unsubscribed_at,
        count() AS events, countIf({role["purchase"]}) AS purchases,
        sumIf(amount_micros, {role["purchase"]}) AS monetary_micros, countIf({role["session_start"]}) AS sessions,
        sumMapIf(map(channel, toUInt64(1)), {delivered}) AS delivered,
        sumMapIf(map(channel, toUInt64(1)), {role["open"]}) AS opened,
        countIf({role["click"]}) AS clicked,
        argMaxIf(e.segment, (e.timestamp, e.segment), e.segment != '') AS segment,
        if(countIf(e.segment != '') = 0, 0, {seconds.format("maxIf(e.timestamp, e.segment != '')")}) AS segment_at"""


ROLE_NAMES: Final = (
    "activity",
    "signup",
    "purchase",
    "unsubscribe_all",
    "session_start",
    "impression",
    "open",
    "click",
)

WINDOW_COLUMNS: Final = """
        tenant, toUnixTimestamp(toStartOfMinute(timestamp)) AS minute_at, event_type,
        if(is_holdout, 'holdout', subtype) AS kind, campaign_id, creative_id, segment, channel,
        count() AS events, sum(amount_micros) AS amount, countIf(late_arrival) AS late"""

WINDOW_KEY: Final = "tenant, minute_at, event_type, kind, campaign_id, creative_id, segment, channel"
