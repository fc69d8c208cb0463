"""What the marketers and their machinery do: campaigns, deliveries and their effects, spend, budgets."""

from __future__ import annotations

from deploy.simulator.chance import Weighted, held_out
from deploy.simulator.profiles import DAY, HOUR, MARKETERS, CampaignKind
from deploy.simulator.shop import Shop
from deploy.simulator.stage import Event, Stage
from deploy.simulator.world import NEVER, Campaign, User

SYSTEM_USER = "system-ads"
"""Who spend is recorded by: the advertising ledger is no user of the app."""

_VIEWED = ("push", "email", "sms")


class Marketing:
    """Campaigns act on users here, and only here: a click or a view may cause a purchase (`lift`, `view_lift`)."""

    def __init__(self, stage: Stage, shop: Shop, campaigns: list[Campaign]) -> None:
        self._stage, self._shop, self.campaigns = stage, shop, campaigns
        self._channels: dict[int, Weighted[str]] = {}
        for campaign in campaigns:
            stage.at(campaign.created, self._create, campaign)
            stage.at(campaign.launched, self._launch, campaign)
            if campaign.paused != NEVER:
                stage.at(campaign.paused, self._pause, campaign)

    def deliver(self, user: User, campaign: Campaign) -> None:
        """Send one message, or, for the tenth of users held out, record that none was sent."""
        stage, rng, kind = self._stage, self._stage.rng, campaign.kind
        if user.unsubscribed:
            return
        holdout = held_out(campaign.id, user.id)
        (campaign.holdout if holdout else campaign.treated).add(user.id)
        channel = self._channel(kind)
        creative, quality = campaign.creatives[rng.randrange(len(campaign.creatives))]
        stage.emit_user(
            "campaign_delivered", "backend", user,
            {
                "campaign_id": campaign.id, "campaign_type": kind.kind, "creative_id": creative,
                "segment_id": campaign.segment_id, "delivery_channel": channel,
                "scheduled_time": stage.iso(stage.now - rng.randrange(200, 5_000)), "is_holdout": holdout,
                "allocation_method": rng.choice(("ai_optimized", "ai_optimized", "random", "manual")),
            },
        )  # fmt: skip
        if holdout:
            return
        campaign.delivered += 1
        campaign.unrecorded_cents += kind.cost * 100
        if channel in _VIEWED:
            stage.after(rng.uniform(100, 900), self._sent, user, campaign, creative, channel)
        if rng.random() < kind.open_rate * quality * user.pattern.response * min(1.0, user.activity(stage.now)):
            wait = rng.expovariate(1 / (25_000 if stage.rush else 2 * HOUR))
            stage.after(1_500 + wait, self._open, user, campaign, creative, quality, channel)

    def _channel(self, kind: CampaignKind) -> str:
        weighted = self._channels.get(id(kind))
        if weighted is None:
            weighted = Weighted([name for name, _ in kind.channels], [share for _, share in kind.channels])
            self._channels[id(kind)] = weighted
        return weighted.draw(self._stage.rng)

    def _sent(self, user: User, campaign: Campaign, creative: str, channel: str) -> None:
        self._message("message_sent", user, campaign, creative, channel)

    def _message(self, event_type: str, user: User, campaign: Campaign, creative: str, channel: str) -> None:
        properties = {"campaign_id": campaign.id, "creative_id": creative, "delivery_channel": channel}
        self._stage.emit_user(event_type, "backend", user, properties)

    def _open(self, user: User, campaign: Campaign, creative: str, quality: float, channel: str) -> None:
        stage, rng, kind = self._stage, self._stage.rng, campaign.kind
        if channel in _VIEWED:
            self._message("message_opened", user, campaign, creative, channel)
        looked = rng.randrange(1, 25)
        self._view(user, campaign, creative, "opened", looked)
        response = quality * user.pattern.response
        if rng.random() < kind.click_rate * response:
            stage.after(looked * 1000, self._click, user, campaign, creative, looked)
        elif rng.random() < kind.view_lift * response:
            wait = rng.uniform(60_000, 240_000) if stage.rush else rng.uniform(HOUR, 30 * HOUR)
            stage.after(wait, self._shop.buy, user, campaign)

    def _view(self, user: User, campaign: Campaign, creative: str, view_type: str, seconds: int) -> None:
        stage = self._stage
        stage.emit_user(
            "campaign_viewed", "mobile", user,
            {
                "campaign_id": campaign.id, "creative_id": creative, "view_duration_seconds": seconds,
                "view_type": view_type, "viewed_at": stage.iso(stage.now),
                "impression_position": stage.rng.randrange(1, 4),
            },
        )  # fmt: skip

    def _click(self, user: User, campaign: Campaign, creative: str, seconds: int) -> None:
        stage, rng = self._stage, self._stage.rng
        self._view(user, campaign, creative, "clicked_cta", seconds)
        self.click(user, campaign, creative, seconds)
        user.click = (campaign, creative, stage.now)
        if rng.random() < campaign.kind.lift * user.pattern.response:
            wait = rng.uniform(20_000, 120_000) if stage.rush else rng.uniform(60_000, 3 * HOUR)
            stage.after(wait, self._shop.buy, user, campaign)

    def click(self, user: User, campaign: Campaign, creative: str, seconds: int) -> None:
        stage = self._stage
        stage.emit_user(
            "campaign_clicked", "mobile", user,
            {
                "campaign_id": campaign.id, "creative_id": creative,
                "click_type": stage.rng.choice(("cta", "cta", "headline", "image", "deep_link")),
                "destination_url": f"app://offers/{campaign.id}", "time_to_click_seconds": seconds,
            },
        )  # fmt: skip

    def abandon(self, user: User, campaign: Campaign) -> None:
        properties = {"campaign_id": campaign.id, "reason": "expired", "days_to_abandon": 7}
        self._stage.emit_user("campaign_abandoned", "backend", user, properties)

    def record_spend(self, campaign: Campaign) -> None:
        """Book what the campaign has cost since the last time, in whole cents; nothing when it cost nothing."""
        cents = int(campaign.unrecorded_cents)
        if cents == 0:
            return
        campaign.unrecorded_cents -= cents
        campaign.spent_cents += cents
        properties = {"campaign_id": campaign.id, "amount": cents / 100}
        self._stage.emit("campaign_spend_recorded", "backend", SYSTEM_USER, properties)

    def _portal(self, event_type: str, properties: Event) -> str:
        """An event of the admin portal by a marketer, whose id is returned and set as `marketer_id`."""
        marketer = self._stage.rng.choice(MARKETERS)[0]
        context = {"app_version": "portal-2.3.0", "platform": "Web", "region": "us-east"}
        if event_type != "creative_variant_tested":
            properties["marketer_id"] = marketer
        self._stage.emit(event_type, "admin_portal", marketer, properties, context=context, session=self._stage.uuid())
        return marketer

    def _create(self, campaign: Campaign) -> None:
        self._portal(
            "campaign_created",
            {
                "campaign_id": campaign.id, "campaign_type": campaign.kind.kind, "campaign_name": campaign.kind.title,
                "target_segment_id": campaign.segment_id, "initial_budget": campaign.budget_cents * 0.9 / 100,
                "template_used": None, "time_to_completion_minutes": self._stage.rng.randrange(8, 55),
            },
        )  # fmt: skip

    def _launch(self, campaign: Campaign) -> None:
        stage = self._stage
        self._portal(
            "campaign_launched",
            {
                "campaign_id": campaign.id, "actual_audience_size": stage.rng.randrange(200, 1_500),
                "scheduled_delivery_time": stage.iso(stage.now + HOUR),
                "budget_approved": campaign.budget_cents / 100, "ai_recommendation_applied": stage.rng.random() < 0.4,
                "ai_recommendation_score": round(stage.rng.uniform(0.5, 0.95), 4),
            },
        )  # fmt: skip

    def _pause(self, campaign: Campaign) -> None:
        hours = (self._stage.now - campaign.launched) // HOUR
        snapshot = {"delivered": campaign.delivered, "conversions": campaign.converted}
        self._portal(
            "campaign_paused",
            {
                "campaign_id": campaign.id, "pause_reason": "low_performance", "time_to_pause_hours": hours,
                "pause_metrics_snapshot": snapshot,
            },
        )  # fmt: skip

    def reallocate(self, cents: int) -> None:
        """Move money from the campaign with the most budget left to the one that has used the most of its own."""
        running = [campaign for campaign in self.campaigns if campaign.launched + DAY <= self._stage.now]
        if len(running) < 2:
            return
        source = max(running, key=lambda campaign: campaign.budget_cents - campaign.spent_cents)
        target = max(
            (campaign for campaign in running if campaign is not source and campaign.paused == NEVER),
            key=lambda campaign: campaign.spent_cents / campaign.budget_cents,
        )
        cents = min(cents, max(0, source.budget_cents - source.spent_cents) // 2)
        if cents == 0:
            return
        source.budget_cents -= cents
        target.budget_cents += cents
        self._portal(
            "budget_reallocated",
            {
                "reallocation_id": self._stage.uuid(), "from_campaign_id": source.id, "to_campaign_id": target.id,
                "amount": cents / 100, "reallocation_reason": "performance", "ai_recommendation_id": None,
            },
        )  # fmt: skip

    def look_at_dashboard(self) -> None:
        stage = self._stage
        marketer, role = stage.rng.choice(MARKETERS)
        properties: Event = {
            "user_id": marketer, "user_role": role,
            "dashboard_section": stage.rng.choice(("kpi", "campaigns", "segments", "funnel", "roi", "health")),
            "time_spent_seconds": stage.rng.randrange(10, 900), "filters_applied": {"range": "7d"},
            "export_requested": stage.rng.random() < 0.08,
        }  # fmt: skip
        context = {"app_version": "portal-2.3.0", "platform": "Web", "region": "us-east"}
        stage.emit("dashboard_accessed", "admin_portal", marketer, properties, context=context, session=stage.uuid())

    def test_creatives(self, campaign: Campaign) -> None:
        stage = self._stage
        self._portal(
            "creative_variant_tested",
            {
                "test_id": stage.uuid(), "campaign_id": campaign.id,
                "variant_a_creative_id": campaign.creatives[0][0], "variant_b_creative_id": campaign.creatives[1][0],
                "split_percentage": 50, "test_duration_days": 14, "primary_metric": "click_rate",
                "statistical_significance_threshold": 0.95,
            },
        )  # fmt: skip
