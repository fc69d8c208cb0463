import assert from "node:assert/strict";
import { test } from "node:test";
import type { Attribution, Cohorts, Correction, HeatCell, Segment } from "../src/api/insights";
import { credited, roi } from "../src/components/attribution";
import { shownMonths } from "../src/components/cohorts";
import { ofWholeDays, told } from "../src/components/corrections";
import { percent } from "../src/components/funnel";
import { byDay } from "../src/components/heatmap";
import { kpiValue } from "../src/components/kpis";
import { segmentName } from "../src/components/segments";
import { initialState, reduce } from "../src/state/model";

test("a KPI is shown in its unit, and what cannot be told as a dash", () => {
  assert.equal(kpiValue(1234.5, "currency"), "$1,235");
  assert.equal(kpiValue(4.25, "minutes"), "4.3 min");
  assert.equal(kpiValue(57.6, "score"), "58 of 100");
  assert.equal(kpiValue(4.3, "ratio"), "4.30×");
  assert.equal(kpiValue(null, "count"), "–");
});

test("a small share of many keeps two digits", () => {
  assert.equal(percent(0.034), "0.03%");
  assert.equal(percent(42.17), "42.2%");
  assert.equal(percent(0), "0.0%");
  assert.equal(percent(null), "–");
});

test("months that no cohort has reached are not shown", () => {
  const retention = { month0: 100, month1: 0, month2: null };
  const found: Cohorts = {
    cohorts: [{ cohortId: "2026-10", cohortName: "October 2026", cohortSize: 3, retention }],
    averageRetention: { month0: 100, month1: 0, month2: null },
    insights: [],
  };
  assert.deepEqual(shownMonths(found), ["month0", "month1"], "a month that nobody came back in is one");
});

test("cells stand by day, in the order of the hours", () => {
  const cell = (day: string, hour: number): HeatCell => ({ day, hour, count: 0, per_hour: null, share_of_peak: null });
  const days = byDay([cell("monday", 1), cell("sunday", 0), cell("monday", 0)]);
  assert.deepEqual(days.map(([day, cells]) => [day, cells.map((one) => one.hour)]), [["monday", [0, 1]], ["sunday", [0]]]);
});

test("a pattern has its name in words, a custom segment the one it was given", () => {
  const base = { id: "x", users: 1, share: null, avg_ltv: null, avg_spend: null, ctr: null, conversion_rate: null } as const;
  const pattern: Segment = { ...base, name: "HIGH_SPENDER", kind: "pattern" };
  assert.equal(segmentName(pattern), "High spender");
  assert.equal(segmentName({ ...base, name: "VIPs_2026", kind: "custom" }), "VIPs_2026");
});

test("what does not depend on the range stays when the range changes", () => {
  const loaded = reduce(initialState("24h"), { type: "loaded", name: "kpis", range: "24h", value: { kpis: {} } });
  const changed = reduce(loaded, { type: "range", range: "7d" });
  assert.deepEqual(changed.kpis.value, { kpis: {} });
});

test("channels that a model credits with anything are shown, the last touch first", () => {
  const credit = (last: number, first: number) => ({
    last: { conversions: 1, revenue: last, roi: null },
    first: { conversions: 1, revenue: first, roi: null },
  });
  const group = (name: string, last: number, first: number) => ({ group: name, conversions_touched: 1, models: credit(last, first), spread_percent: null });
  const groups = [group("sms", 0, 0), group("push", 0, 7), group("email", 5, 0), group("in_app", 9, 1)];
  const found: Attribution = { by: "channel", lookback_days: 30, unattributed: { conversions: 0, revenue: 0 }, groups };
  assert.deepEqual(credited(found).map((one) => one.group), ["in_app", "email", "push"]);
});

test("a return says whether it is a gain", () => {
  assert.equal(roi(0.84), "+84%");
  assert.equal(roi(-0.32), "−32%");
  assert.equal(roi(0), "0%");
  assert.equal(roi(null), "–");
});

test("a day that moved is told once, in words", () => {
  const one: Correction = { found_at: "2026-11-21T09:00:00.000Z", day: "2026-11-20", counted: "message_opened", metrics: [], dimension: null, value: null, events: { before: 5, after: 3, change: -2 } };
  assert.equal(told(one), "−2 message opened");
  assert.equal(told({ ...one, events: { before: 5, after: 5, change: 0 } }), "±0 message opened");
  assert.deepEqual(ofWholeDays([one, { ...one, dimension: "campaign_id", value: "x" }]), [one]);
});
