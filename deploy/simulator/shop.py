"""What users do by themselves: sign up, visit, buy, leave."""

from __future__ import annotations

from typing import Final

from deploy.simulator.chance import Weighted, price
from deploy.simulator.profiles import CATEGORIES, DAY, MARGINS
from deploy.simulator.stage import Stage
from deploy.simulator.world import Campaign, User

ENGAGEMENTS: Final = (
    ("view_catalog", "catalog", 0.42),
    ("view_rewards", "rewards", 0.24),
    ("search", "search", 0.22),
    ("save_item", "item", 0.12),
)
QUERIES: Final = ("running shoes", "coffee beans", "desk lamp", "weekend trip", "headphones", "gift card", "yoga mat")
GRANTED: Final = {"purpose": "marketing", "legal_basis": "CCPA", "policy_version": "2026-01", "method": "single_opt_in"}
WITHDRAWN: Final = {**GRANTED, "method": "unsubscribe_link"}
_engagements = Weighted(ENGAGEMENTS, [engagement[2] for engagement in ENGAGEMENTS])
_payments = Weighted(("card", "wallet", "other"), (0.62, 0.33, 0.05))


class Shop:
    """The app itself. Purchases in a visit would have happened without any campaign: they are the baseline."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def sign_up(self, user: User) -> None:
        stage, (channel, source, medium, _) = self._stage, user.channel
        user.segment = user.segment_at(stage.now)
        user.session = stage.uuid()
        stage.emit_user(
            "user_signed_up", "mobile", user,
            {
                "acquisition_channel": channel, "utm_source": source or None, "utm_medium": medium or None,
                "utm_campaign": f"{channel}-always-on" if source else None,
            },
        )  # fmt: skip
        stage.emit_user("consent_granted", "mobile", user, GRANTED)

    def visit(self, user: User) -> None:
        """One session: the app opens, a few screens, perhaps a purchase."""
        stage, rng = self._stage, self._stage.rng
        user.session = stage.uuid()
        self.engage(user, "app_open", "home", 0)
        gap = 0.0
        for _ in range(min(8, int(rng.expovariate(0.45)))):
            kind, screen, _ = _engagements.draw(rng)
            gap += rng.uniform(3_000, 40_000)
            stage.after(gap, self.engage, user, kind, screen, int(gap / 1000))
        chance = user.pattern.purchases / user.pattern.sessions
        if stage.rush:
            chance *= stage.plan.rush_purchase_factor
        if rng.random() < chance:
            stage.after(gap + rng.uniform(5_000, 90_000), self.buy, user)

    def engage(self, user: User, kind: str, screen: str, seconds: int) -> None:
        query = self._stage.rng.choice(QUERIES) if kind == "search" else None
        self._stage.emit_user(
            "user_engaged", "mobile", user,
            {
                "engagement_type": kind, "session_id": user.session, "session_duration_seconds": seconds,
                "screen_name": screen, "search_query": query,
            },
        )  # fmt: skip

    def buy(self, user: User, cause: Campaign | None = None) -> None:
        """A purchase; `cause` is the campaign without which it would not have happened."""
        stage, rng, pattern = self._stage, self._stage.rng, user.pattern
        category = user.category if rng.random() < pattern.focus else rng.randrange(len(CATEGORIES))
        value = price(rng, pattern.mean_order)
        promoted = cause is not None and cause.kind.kind in ("DISCOUNT", "CATEGORY_PROMOTION")
        order_id = stage.uuid()
        stage.emit_user(
            "user_purchased", "backend", user,
            {
                "order_id": order_id, "user_id": user.id, "order_value": value,
                "order_category": CATEGORIES[category], "order_timestamp": stage.iso(stage.now),
                "payment_method": _payments.draw(rng), "promo_code_used": promoted,
                "promotional_discount": round(value * 0.1, 2) if promoted else 0.0,
                "is_repeat_purchase": user.orders > 0,
                "days_since_last_purchase": (stage.now - user.last_order) // DAY if user.orders else None,
            },
        )  # fmt: skip
        user.orders += 1
        user.last_order = stage.now
        if cause is not None:
            cause.caused_orders += 1
            cause.caused_cents += round(value * 100)
        self._attribute(user, order_id, value, cause)
        cost = round(value * MARGINS[category] * rng.uniform(0.95, 1.05), 2)
        stage.after(rng.uniform(200, 4_000), self._record_cost, user, order_id, cost)

    def _record_cost(self, user: User, order_id: str, cost: float) -> None:
        self._stage.emit_user("order_cost_recorded", "backend", user, {"order_id": order_id, "cogs": cost})

    def _attribute(self, user: User, order_id: str, value: float, cause: Campaign | None) -> None:
        """Last touch: the last clicked campaign, if the click is recent, whatever the true cause."""
        stage, plan = self._stage, self._stage.plan
        window = plan.rush_attribution if stage.rush else plan.calm_attribution
        if user.click is None or stage.now - user.click[2] > window:
            return
        campaign, creative, clicked = user.click
        user.click = None
        campaign.converted += 1
        incremental = campaign is cause
        score = min(1.0, max(0.0, stage.rng.gauss(0.68 if incremental else 0.36, 0.15)))
        stage.emit_user(
            "campaign_converted", "backend", user,
            {
                "campaign_id": campaign.id, "creative_id": creative, "order_id": order_id, "order_value": value,
                "conversion_delay_seconds": (stage.now - clicked) // 1000, "attribution_model": "last_touch",
                "is_incremental": score >= 0.5, "incrementality_score": round(score, 4),
            },
        )  # fmt: skip

    def leave(self, user: User) -> None:
        """The user stops; some say so."""
        if self._stage.rng.random() < 0.45:
            self.unsubscribe(user, "all_campaigns", "not_relevant")

    def unsubscribe(self, user: User, kind: str, reason: str) -> None:
        stage = self._stage
        if user.unsubscribed:
            return
        user.unsubscribed = kind == "all_campaigns"
        stage.emit_user(
            "user_unsubscribed", "mobile", user,
            {
                "user_id": user.id, "unsubscribe_type": kind, "unsubscribe_reason": reason,
                "previous_email_frequency": 2,
            },
        )  # fmt: skip
        if user.unsubscribed:
            stage.emit_user("consent_withdrawn", "mobile", user, WITHDRAWN)

    def resegment(self, user: User) -> None:
        """From now on the app knows another pattern of the user; events about it are the watcher's."""
        user.segment = user.segment_at(self._stage.now)
