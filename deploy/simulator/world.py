"""The people and campaigns of the simulated business, and what only the simulator knows about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Final

from deploy.simulator.chance import Weighted, uuid_from
from deploy.simulator.profiles import (
    CAMPAIGNS,
    CATEGORIES,
    CHANNELS,
    DAY,
    HOUR,
    INACTIVE,
    INACTIVE_AFTER,
    NEW_FOR,
    NEW_SHOPPER,
    PATTERNS,
    PLATFORMS,
    REGIONS,
    VERSIONS,
    CampaignKind,
    Pattern,
    Plan,
)

NEVER: Final = 1 << 62
FADE: Final = 14 * DAY
"""A churner's activity fades over this time before it stops: the signal that a churn model can find."""

_patterns = Weighted(PATTERNS, [pattern.share for pattern in PATTERNS])
_channels = Weighted(CHANNELS, [channel[3] for channel in CHANNELS])
_platforms = Weighted(PLATFORMS, [platform[1] for platform in PLATFORMS])


@dataclass(slots=True, eq=False)
class User:
    """A user of the app. Times in milliseconds; `churn` is when the user stops for good (`NEVER` for most)."""

    id: str
    pattern: Pattern
    signup: int
    churn: int
    category: int
    places: tuple[str, ...]
    platform: str
    version: str
    channel: tuple[str, str, str, float]
    season: int
    segment: str = ""
    unsubscribed: bool = False
    orders: int = 0
    last_order: int = 0
    session: str = ""
    click: tuple[Campaign, str, int] | None = None

    def segment_at(self, now: int) -> str:
        """The behaviour pattern that segmentation would give this user now."""
        if now - self.churn >= INACTIVE_AFTER:
            return INACTIVE
        return NEW_SHOPPER if now - self.signup < NEW_FOR else self.pattern.name

    def activity(self, now: int) -> float:
        """1 for a loyal user, fading to 0.15 before churn, then almost nothing; seasonal users have loud weeks."""
        if now >= self.churn:
            return 0.004
        left = self.churn - now
        level = 1.0 if left >= FADE else 0.15 + 0.85 * left / FADE
        if self.pattern.burst > 1.0:
            level *= self.pattern.burst if (now // (7 * DAY)) % 6 == self.season else 0.45
        return level


@dataclass(slots=True, eq=False)
class Campaign:
    """A running campaign and the truth about it. Money in cents, times in milliseconds."""

    id: str
    kind: CampaignKind
    segment_id: str
    creatives: tuple[tuple[str, float], ...]
    created: int
    launched: int
    paused: int
    budget_cents: int
    spent_cents: int = 0
    unrecorded_cents: float = 0.0
    delivered: int = 0
    converted: int = 0
    treated: set[str] = field(default_factory=set)
    holdout: set[str] = field(default_factory=set)
    caused_orders: int = 0
    caused_cents: int = 0

    def live_at(self, now: int) -> bool:
        return self.launched <= now < self.paused


def segment_ids(seed: int) -> dict[str, str]:
    """A UUID for each behaviour pattern."""
    rng = Random(f"{seed}:segments")
    return {name: uuid_from(rng) for name in (*(pattern.name for pattern in PATTERNS), NEW_SHOPPER, INACTIVE)}


class Population:
    """All users; new ones join at the end. The order never changes, so draws by index are reproducible."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._rng = Random(f"{plan.seed}:people")
        self.users: list[User] = []
        self.prefix = "user"
        span = plan.end - plan.start
        for index in range(plan.users):
            veteran = index % 5 != 0
            if veteran:
                signup = plan.start - self._rng.randrange(2 * HOUR, 180 * DAY)
            else:
                signup = plan.start + self._rng.randrange(span)
            self.join(signup)

    def join(self, signup: int) -> User:
        """Create the next user, signing up at `signup`; some are destined to leave during the history."""
        rng, plan = self._rng, self.plan
        pattern = _patterns.draw(rng)
        churn = NEVER
        if rng.random() < plan.churn_share and signup < plan.end - 12 * DAY:
            earliest = max(plan.start + 6 * DAY, signup + 8 * DAY)
            churn = rng.randrange(earliest, max(earliest + 1, plan.end - 2 * DAY))
        user = User(
            id=f"{self.prefix}-{len(self.users):06d}", pattern=pattern, signup=signup, churn=churn,
            category=rng.randrange(len(CATEGORIES)), places=tuple(rng.sample(REGIONS, pattern.places)),
            platform=_platforms.draw(rng)[0], version=rng.choice(VERSIONS), channel=_channels.draw(rng),
            season=rng.randrange(6),
        )  # fmt: skip
        self.users.append(user)
        return user

    def churners(self, now: int) -> list[User]:
        """Users who have left by `now`."""
        return [user for user in self.users if user.churn <= now]


def build_campaigns(plan: Plan, segments: dict[str, str]) -> list[Campaign]:
    """The campaigns of the plan, with ids that depend on the seed only."""
    rng = Random(f"{plan.seed}:campaigns")
    span = plan.end - plan.start
    found = []
    for kind in CAMPAIGNS:
        day = plan.start + int(kind.start * span) // DAY * DAY
        target = next(iter(sorted(kind.audience))) if len(kind.audience) == 1 else PATTERNS[rng.randrange(6)].name
        pause = NEVER if kind.pause is None else plan.start + int(kind.pause * span) // DAY * DAY + 15 * HOUR
        found.append(
            Campaign(
                id=uuid_from(rng), kind=kind, segment_id=segments[target],
                creatives=tuple((uuid_from(rng), quality) for quality in kind.creatives),
                created=day + 8 * HOUR + rng.randrange(HOUR), launched=day + 9 * HOUR + rng.randrange(HOUR),
                paused=pause, budget_cents=round(kind.budget * 100),
            )
        )  # fmt: skip
    return found
