"""The simulated business as one stream of events: days at an easy pace, with rushes at the rate of the live stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deploy.simulator.chance import Weighted, poisson
from deploy.simulator.marketing import Marketing
from deploy.simulator.profiles import DAY, FOREVER, HOUR, SEND_HOURS, SHOP_HOURS, Plan
from deploy.simulator.shop import Shop
from deploy.simulator.stage import Event, Stage
from deploy.simulator.world import Campaign, Population, User, build_campaigns, segment_ids

VISITS = 0.30
DELIVERIES = 0.055
SIGNUPS = 0.0015
"""How often each begins, as a share of the live rate; what follows from them makes the rest of the rate."""

_send_hours = Weighted(range(24), SEND_HOURS)


class Business:
    """Plays the whole business for one `Plan`.

    `run(until)` yields (time in ms, event) in time order and can be called again to go on: history and live are one
    stream. Deterministic: plan and calls decide every byte.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._stage = Stage(plan)
        self.segments = segment_ids(plan.seed)
        self.population = Population(plan)
        self.campaigns: list[Campaign] = build_campaigns(plan, self.segments)
        self._stage.now = min(user.signup for user in self.population.users)
        self._shop = Shop(self._stage)
        self._marketing = Marketing(self._stage, self._shop, self.campaigns)
        self._hours = Weighted(range(24), SHOP_HOURS)
        self._plan_people()
        if plan.days:
            self._stage.at(plan.start, self._day)
        for begin, end in plan.rushes:
            self._rush(begin, end)

    def run(self, until: int) -> Iterator[tuple[int, Event]]:
        """All events up to and including `until` (ms) that have not been yielded yet."""
        return self._stage.run(until)

    def restart(self, plan: Plan) -> None:
        """Drop what was planned and begin a live stream at `plan.end` (ms) with chance, and so ids, of its own."""
        self.plan = plan
        self.population.prefix = f"user-{plan.end:x}"
        self._stage.restart(plan, str(plan.end))
        self._rush(plan.end, FOREVER)

    def summary(self, now: int) -> dict[str, Any]:
        """What only the simulator knows at `now` (ms): true effects by campaign and who has left."""
        return {
            "campaigns": {campaign.id: _truth_of(campaign) for campaign in self.campaigns},
            "segments": self.segments,
            "churners": {user.id: user.churn / 1000 for user in self.population.churners(now)},
            "users": len(self.population.users),
        }

    def _plan_people(self) -> None:
        for user in self.population.users:
            self._stage.at(user.signup, self._shop.sign_up, user)
            if user.churn < self.plan.end:
                self._stage.at(user.churn, self._shop.leave, user)

    def _present(self) -> list[User]:
        return [user for user in self.population.users if user.signup < self._stage.now]

    def _day(self) -> None:
        """Plan one day of history, at its midnight."""
        stage, midnight = self._stage, self._stage.now
        if midnight >= self.plan.end:
            return
        weekend = (midnight // DAY + 3) % 7 >= 5
        present = self._present()
        for user in present:
            self._plan_visits(user, weekend)
            if user.segment != user.segment_at(midnight):
                stage.after(2 * HOUR + stage.rng.randrange(HOUR), self._shop.resegment, user)
        for campaign in self.campaigns:
            if campaign.live_at(midnight + HOUR):
                self._plan_deliveries(campaign, present)
            stage.after(23 * HOUR + stage.rng.randrange(HOUR), self._marketing.record_spend, campaign)
        self._plan_office(midnight)
        stage.at(midnight + DAY, self._day)

    def _plan_visits(self, user: User, weekend: bool) -> None:
        stage, pattern = self._stage, user.pattern
        factor = pattern.weekend if weekend else 1.0
        even = 7 / (5 + 2 * pattern.weekend)
        visits = poisson(stage.rng, pattern.sessions / 7 * even * factor * user.activity(stage.now))
        for _ in range(visits):
            moment = self._hours.draw(stage.rng) * HOUR + stage.rng.randrange(HOUR)
            if stage.now + moment < self.plan.end:
                stage.after(moment, self._shop.visit, user)

    def _plan_deliveries(self, campaign: Campaign, present: list[User]) -> None:
        stage, chance = self._stage, campaign.kind.weekly / 7
        for user in present:
            if user.unsubscribed or user.segment not in campaign.kind.audience or stage.rng.random() >= chance:
                continue
            moment = _send_hours.draw(stage.rng) * HOUR + stage.rng.randrange(HOUR)
            if stage.now + moment < self.plan.end:
                stage.after(moment, self._marketing.deliver, user, campaign)
                if stage.rng.random() < 0.08:
                    stage.after(moment + 7 * DAY, self._marketing.abandon, user, campaign)

    def _plan_office(self, midnight: int) -> None:
        stage, day = self._stage, (midnight - self.plan.start) // DAY
        for _ in range(6):
            stage.after(8 * HOUR + stage.rng.randrange(9 * HOUR), self._marketing.look_at_dashboard)
        if day % 9 == 8:
            stage.after(11 * HOUR, self._marketing.reallocate, 2_000)
        if day % 12 == 6:
            campaign = self.campaigns[day // 12 % len(self.campaigns)]
            if campaign.live_at(midnight):
                stage.after(14 * HOUR, self._marketing.test_creatives, campaign)

    def _rush(self, begin: int, end: int) -> None:
        self._stage.at(begin, self._second, end)
        self._stage.at(begin, self._minute, end)

    def _second(self, end: int) -> None:
        """One second of a rush: visits, deliveries and sign-ups that begin in it."""
        stage, rng = self._stage, self._stage.rng
        rate = self.plan.rate_at(stage.now)
        users = self.population.users
        for _ in range(poisson(rng, rate * VISITS)):
            user = self._somebody(users)
            stage.after(rng.uniform(0, 1000), self._shop.visit, user)
        for _ in range(poisson(rng, rate * DELIVERIES)):
            user = self._somebody(users)
            fitting = [one for one in self.campaigns if one.live_at(stage.now) and user.segment in one.kind.audience]
            if fitting:
                stage.after(rng.uniform(0, 1000), self._marketing.deliver, user, rng.choice(fitting))
        for _ in range(poisson(rng, rate * SIGNUPS)):
            newcomer = self.population.join(stage.now)
            self._shop.sign_up(newcomer)
        self._misbehave()
        if stage.now + 1000 < end:
            stage.after(1000, self._second, end)

    def _somebody(self, users: list[User]) -> User:
        """A user who is here: signed up, not gone, and drawn more often the more often the pattern visits."""
        rng, now = self._stage.rng, self._stage.now
        while True:
            user = users[int(rng.random() * len(users))]
            if user.signup < now < user.churn and rng.random() * 4.0 < user.pattern.sessions:
                return user

    def _misbehave(self) -> None:
        """The planned anomaly: a bot clicks on one campaign, again and again."""
        plan, stage = self.plan, self._stage
        since = stage.now - plan.end - plan.anomaly_after
        if 0 <= since < plan.anomaly_for:
            campaign = self.campaigns[0]
            for _ in range(poisson(stage.rng, plan.rate * plan.anomaly_rate)):
                user = self._somebody(self.population.users)
                moment = stage.rng.uniform(0, 1000)
                stage.after(moment, self._marketing.click, user, campaign, campaign.creatives[0][0], 0)

    def _minute(self, end: int) -> None:
        """Once a minute of a rush: spend is booked, and somebody may look at the dashboard."""
        stage = self._stage
        for campaign in self.campaigns:
            self._marketing.record_spend(campaign)
        if stage.rng.random() < 0.2:
            self._marketing.look_at_dashboard()
        if stage.now + 60_000 < end:
            stage.after(60_000, self._minute, end)


def _truth_of(campaign: Campaign) -> dict[str, Any]:
    return {
        "name": campaign.kind.title,
        "type": campaign.kind.kind,
        "launched": campaign.launched / 1000,
        "budget": campaign.budget_cents / 100,
        "spend": campaign.spent_cents / 100,
        "delivered": campaign.delivered,
        "treated_users": len(campaign.treated),
        "holdout_users": len(campaign.holdout),
        "converted": campaign.converted,
        "true_incremental_orders": campaign.caused_orders,
        "true_incremental_revenue": campaign.caused_cents / 100,
        "true_click_lift": campaign.kind.lift,
        "true_view_lift": campaign.kind.view_lift,
    }
