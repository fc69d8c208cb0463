"""What the business is made of: behaviour patterns, campaign kinds, channels, rhythm. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR
"""Simulated time is whole milliseconds since 1970, UTC."""

NEW_FOR: Final = 30 * DAY
INACTIVE_AFTER: Final = 30 * DAY


@dataclass(frozen=True)
class Pattern:
    """How one kind of user behaves. Rates are per user and week; `mean_order` in currency units.

    `response` multiplies a campaign's open, click and lift rates. `weekend` is the factor on Saturdays and Sundays.
    `focus` is the share of orders in the user's favourite category, `burst` the factor of a seasonal week.
    """

    name: str
    share: float
    sessions: float
    purchases: float
    mean_order: float
    response: float
    weekend: float = 1.1
    focus: float = 0.25
    burst: float = 1.0
    places: int = 4


PATTERNS: Final = (
    Pattern("HIGH_SPENDER", 0.15, 2.4, 0.95, 88.0, 1.35),
    Pattern("FREQUENT_SHOPPER", 0.14, 4.0, 2.30, 27.0, 1.15),
    Pattern("WEEKEND_SHOPPER", 0.18, 1.6, 0.70, 42.0, 1.0, weekend=5.5),
    Pattern("CATEGORY_FOCUSED", 0.22, 1.4, 0.50, 36.0, 0.85, focus=0.7),
    Pattern("LOCATION_CLUSTERED", 0.16, 1.6, 0.62, 47.0, 1.1, places=1),
    Pattern("SEASONAL_SPENDER", 0.15, 1.2, 0.34, 52.0, 0.95, burst=4.0),
)
NEW_SHOPPER: Final = "NEW_SHOPPER"
INACTIVE: Final = "INACTIVE"
SEGMENTS: Final = (*(pattern.name for pattern in PATTERNS), NEW_SHOPPER, INACTIVE)
"""All eight: the last two are stages of a life, not characters, and users pass through them."""

EVERYBODY: Final = frozenset(SEGMENTS)


@dataclass(frozen=True)
class CampaignKind:
    """One campaign of the plan. `start` and `pause` are shares of the history (0 to 1), rates are probabilities.

    `weekly` deliveries per eligible user and week; `lift` the extra purchase probability of a click, `view_lift` of an
    open without a click (the true incremental effect); `cost` per message sent, `budget` in currency units.
    """

    kind: str
    title: str
    start: float
    weekly: float
    open_rate: float
    click_rate: float
    lift: float
    view_lift: float
    cost: float
    budget: float
    audience: frozenset[str] = EVERYBODY
    pause: float | None = None
    channels: tuple[tuple[str, float], ...] = (("push", 0.5), ("email", 0.4), ("in_app", 0.1))
    creatives: tuple[float, ...] = (1.0, 0.8)


def _only(*names: str) -> frozenset[str]:
    return frozenset(names)


CAMPAIGNS: Final = (
    CampaignKind("DISCOUNT", "Spring price drop", 0.02, 0.30, 0.30, 0.16, 0.14, 0.03, 0.070, 420),
    CampaignKind(
        "DISCOUNT", "Flash friday", 0.45, 0.22, 0.27, 0.17, 0.10, 0.02, 0.080, 260, creatives=(1.0, 1.15, 0.7)
    ),
    CampaignKind("CASHBACK", "Five percent back", 0.04, 0.28, 0.31, 0.15, 0.13, 0.03, 0.060, 380),
    CampaignKind("LOYALTY", "Double points", 0.10, 0.20, 0.34, 0.14, 0.09, 0.025, 0.050, 240),
    CampaignKind(
        "LOCATION_BASED", "Around your corner", 0.12, 0.40, 0.33, 0.16, 0.12, 0.03, 0.065, 150,
        audience=_only("LOCATION_CLUSTERED", "WEEKEND_SHOPPER"), channels=(("push", 0.8), ("in_app", 0.2)),
    ),
    CampaignKind(
        "CATEGORY_PROMOTION", "Home and garden weeks", 0.20, 0.32, 0.28, 0.15, 0.11, 0.02, 0.062, 140,
        audience=_only("CATEGORY_FOCUSED", "SEASONAL_SPENDER"),
    ),
    CampaignKind(
        "SPENDING_MILESTONE", "Next level: 500", 0.25, 0.25, 0.29, 0.14, 0.12, 0.03, 0.058, 120,
        audience=_only("HIGH_SPENDER", "FREQUENT_SHOPPER"),
    ),
    CampaignKind(
        "RE_ENGAGEMENT", "We miss you", 0.30, 0.30, 0.14, 0.11, 0.08, 0.02, 0.072, 130,
        audience=_only("INACTIVE", "SEASONAL_SPENDER", "CATEGORY_FOCUSED"), channels=(("email", 0.7), ("sms", 0.3)),
    ),
    CampaignKind(
        "VIP", "First look", 0.35, 0.40, 0.38, 0.18, 0.15, 0.04, 0.110, 110,
        audience=_only("HIGH_SPENDER"), channels=(("email", 0.6), ("push", 0.3), ("sms", 0.1)),
    ),
    CampaignKind(
        "CASHBACK", "Welcome bonus", 0.05, 0.45, 0.32, 0.15, 0.13, 0.03, 0.085, 160,
        audience=_only("NEW_SHOPPER"),
    ),
    CampaignKind(
        "DISCOUNT", "Clearance leftovers", 0.08, 0.20, 0.16, 0.07, 0.02, 0.0, 0.095, 190, pause=0.6,
    ),
)  # fmt: skip

CHANNELS: Final = (
    ("organic", "", "", 0.34),
    ("paid_search", "google", "cpc", 0.22),
    ("paid_social", "meta", "paid_social", 0.2),
    ("referral", "friends", "referral", 0.14),
    ("affiliate", "partners", "affiliate", 0.1),
)
"""Acquisition channel, utm_source, utm_medium, share."""

CATEGORIES: Final = ("grocery", "fashion", "electronics", "home", "beauty", "travel", "dining", "sports")
MARGINS: Final = (0.74, 0.52, 0.81, 0.61, 0.48, 0.86, 0.66, 0.58)
"""Cost of goods as a share of the order value, by category."""

REGIONS: Final = ("us-east", "us-west", "us-south", "us-central", "ca", "eu-west")
PLATFORMS: Final = (("iOS", 0.52), ("Android", 0.40), ("Web", 0.08))
VERSIONS: Final = ("4.18.0", "4.19.2", "4.20.1")
MARKETERS: Final = (("marketer-ana", "cmo"), ("marketer-ben", "perf_lead"), ("marketer-chi", "lifecycle_lead"),
                    ("marketer-dee", "rewards_pm"), ("marketer-eli", "data_science"))  # fmt: skip

SHOP_HOURS: Final = (4, 2, 1, 1, 1, 2, 6, 14, 18, 18, 20, 26, 38, 36, 24, 22, 24, 30, 40, 52, 56, 46, 26, 12)
"""Weight of each hour of the day (UTC) for visits: a lunch peak and an evening peak."""

SEND_HOURS: Final = (0, 0, 0, 0, 0, 0, 0, 4, 16, 24, 20, 14, 18, 10, 8, 10, 14, 22, 26, 18, 8, 0, 0, 0)
"""Weight of each hour for campaign deliveries."""


MAX_RUSH_RATE: Final = 25.0
FOREVER: Final = 1 << 62


@dataclass(frozen=True)
class Plan:
    """Sizes and moments of one simulation. Times in milliseconds UTC.

    `end`: where history ends and live begins, in the middle of a rush. On `rush_days` before there was a rush at the
    same time of day, from `rush_before` before to `rush_after` after, at the live `rate` (events a second, at most
    `MAX_RUSH_RATE`): what is normal at this time of day can be learnt from the history, so the live stream is no
    anomaly, and the burst in it is one. `outage`: mobile events lost between these two distances before `end`. The
    anomaly (clicks of a bot on one campaign, `anomaly_rate` times the usual rate of all events) begins `anomaly_after`
    after `end` and lasts `anomaly_for`.
    """

    end: int
    seed: int = 7
    days: int = 75
    users: int = 1_000
    rate: float = 10.0
    rush_days: tuple[int, ...] = (1, 2, 4, 5)
    rush_before: int = 40 * 60_000
    rush_after: int = 50 * 60_000
    outage: tuple[int, int] = (35 * 60_000, 12 * 60_000)
    anomaly_after: int = 120_000
    anomaly_for: int = 60_000
    anomaly_rate: float = 0.25
    churn_share: float = 0.18
    rush_purchase_factor: float = 0.13
    calm_attribution: int = 6 * HOUR
    rush_attribution: int = 5 * 60_000

    @property
    def start(self) -> int:
        """First midnight of the history."""
        return (self.end - self.days * DAY) // DAY * DAY

    @property
    def rushes(self) -> list[tuple[int, int]]:
        """From and to of every rush; the last one is the live stream and has no end."""
        moments = [self.end - day * DAY for day in self.rush_days if day <= self.days]
        past = [(moment - self.rush_before, moment + self.rush_after) for moment in moments]
        return [*sorted(past), (self.end - self.rush_before, FOREVER)]

    def rate_at(self, ms: int) -> float:
        """Events a second of a rush at `ms`; in the history it is bounded."""
        return self.rate if ms >= self.end else min(self.rate, MAX_RUSH_RATE)
