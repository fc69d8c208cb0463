"""What is rolled up by day: rows that measures share, by no dimension and by one at a time.

A question that needs two dimensions at once, or points shorter than a day, reads the events instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from api.selections import (
    BY_MESSAGE,
    NOT_HELD_OUT,
    Select,
    everything,
    first_signups,
    newcomers,
    of_role,
    orders,
    session_days,
    since_signup,
)
from schemas.metrics import Dimension
from schemas.taxonomy.pack import Pack

_CAMPAIGN: Final = (Dimension.CAMPAIGN, Dimension.CREATIVE)
_REACHED: Final = (*_CAMPAIGN, Dimension.SEGMENT)
_SENT: Final = (*_REACHED, Dimension.CHANNEL)


class Reach(IntEnum):
    """How far an event reaches.

    To its own day, to others of its order, to all orders and sign-ups of its user, to every sign of life of them. Or to
    its own day and the next, which stands last: what is dirty for a reach is so for all that come after it.
    """

    DAY = 0
    ORDERS = 1
    CUSTOMERS = 2
    LIVES = 3
    NEXT_DAYS = 4


class Elapsed(StrEnum):
    """What rows are split by that is no dimension of an event."""

    MONTH = "month"


@dataclass(frozen=True)
class Family:
    """Rows that are counted together: how many, and where asked for their amounts (millionths) and distinct users.

    `roles`: what the pack must declare. `reach`: which days an event can change. `once`: a user has one row ever, so
    that rows are users. `whole`: counted also in all, and not by dimension only. Repeated rows are collapsed where the
    selection does not do so by itself.
    """

    id: str
    roles: tuple[str, ...]
    select: Select
    dimensions: tuple[Dimension | Elapsed, ...]
    money: bool = False
    users: bool = False
    reach: Reach = Reach.DAY
    once: bool = False
    whole: bool = True

    def known_to(self, pack: Pack) -> bool:
        """Whether the pack declares what this counts."""
        return all(pack.roles.get(role) for role in self.roles)

    @property
    def columns(self) -> list[str]:
        """The columns of `events` that the family reads beside the time."""
        numbers = [*(["amount_micros"] if self.money else []), *(["user_id"] if self.users else [])]
        return [*numbers, *(dimension.value for dimension in self.dimensions)]


EVERYTHING: Final = Family("all", (), everything, (*_SENT, Dimension.EVENT_TYPE))
ACTIVE: Final = Family(
    "active", ("activity",), of_role("activity"), (Dimension.SEGMENT, Dimension.EVENT_TYPE), users=True
)
SENT: Final = Family("sent", ("impression",), of_role("impression", NOT_HELD_OUT), _SENT, users=True)
OPENED: Final = Family("opened", ("open",), of_role("open"), _REACHED, users=True)
CLICKED: Final = Family("clicked", ("click",), of_role("click"), _REACHED, users=True)
MESSAGE_SENT: Final = Family("message_sent", ("sent",), of_role("sent", BY_MESSAGE), _SENT, users=True)
MESSAGE_OPENED: Final = Family(
    "message_opened", ("message_open",), of_role("message_open", BY_MESSAGE), _SENT, users=True
)
SPENT: Final = Family("spent", ("spend",), of_role("spend"), _CAMPAIGN, money=True)
PURCHASED: Final = Family(
    "purchased",
    ("purchase",),
    orders("purchase", by_campaign=False),
    _REACHED,
    money=True,
    users=True,
    reach=Reach.ORDERS,
)
CONVERTED: Final = Family(
    "converted",
    ("conversion",),
    orders("conversion", by_campaign=True),
    _REACHED,
    money=True,
    users=True,
    reach=Reach.ORDERS,
)
SESSIONS: Final = Family("sessions", ("session_start",), of_role("session_start"), (), users=True)
SESSION_DAYS: Final = Family("session_days", ("session_start",), session_days, (), money=True, reach=Reach.NEXT_DAYS)
SIGNED_UP: Final = Family("signed_up", ("signup",), first_signups, (), reach=Reach.CUSTOMERS, once=True)
RETAINED: Final = Family(
    "retained",
    ("activity", "signup"),
    since_signup,
    (Elapsed.MONTH,),
    users=True,
    reach=Reach.LIVES,
    whole=False,
)
NEWCOMERS: Final = Family("newcomers", ("purchase",), newcomers, (), reach=Reach.CUSTOMERS, once=True)

FAMILIES: Final[Mapping[str, Family]] = {
    family.id: family
    for family in (
        EVERYTHING,
        ACTIVE,
        SENT,
        OPENED,
        CLICKED,
        MESSAGE_SENT,
        MESSAGE_OPENED,
        SPENT,
        PURCHASED,
        CONVERTED,
        SESSIONS,
        SESSION_DAYS,
        SIGNED_UP,
        NEWCOMERS,
        RETAINED,
    )
}
