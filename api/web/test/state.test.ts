import assert from "node:assert/strict";
import { test } from "node:test";
import type { Alert, Metric, MetricDefinition, Pipeline } from "../src/api/types";
import { safeLink } from "../src/components/alert_row";
import { evidenceRows, measured } from "../src/components/evidence";
import { targetInFragment } from "../src/state/address";
import { whatHappened } from "../src/components/anomalies";
import { healthyText, standing } from "../src/components/kpi_words";
import { cardIds, columnIds, coversRange, leaderboard, sortRows, sparkPoints, trend } from "../src/state/metrics";
import { initialState, reduce } from "../src/state/model";
import { assignColours, OTHER, ratesFrom, trail } from "../src/state/rates";
import { keyFromFragment } from "../src/state/session";

const T0 = Date.UTC(2026, 10, 21, 9) / 1000;
const iso = (at: number): string => new Date(at * 1000).toISOString();

function metric(change: Partial<Metric> = {}): Metric {
  const base = { metric: "roas", unit: "ratio", value: 3, numerator: 3, denominator: 1, completeness: 100, incomplete: false } as const;
  return { ...base, as_of: iso(T0), start: iso(T0 - 86_400), end: iso(T0), status: "healthy", ...change };
}

function definition(change: Partial<MetricDefinition> = {}): MetricDefinition {
  const words = { name: "n", definition: "d", formula: "f", owner: "o", refresh: "1 min", numerator: "n", denominator: "d", window: "24h" };
  return { id: "roas", unit: "ratio", healthy: { min: 2.5, max: 5 }, target: null, dimensions: [], ...words, ...change };
}

test("a trend is relative, but in percentage points for percent metrics", () => {
  assert.deepEqual(trend(110, 100, definition(), "ratio"), { direction: "up", amount: 10, unit: "%", verdict: "good" });
  const points = trend(5, 4, definition({ id: "ctr" }), "percent");
  assert.deepEqual([points?.amount, points?.unit], [1, "pp"]);
});

test("a trend against nothing or zero is not shown", () => {
  assert.equal(trend(1, null, undefined, "ratio"), null);
  assert.equal(trend(null, 1, undefined, "ratio"), null);
  assert.equal(trend(1, 0, undefined, "count"), null);
});

test("a rising cost is bad and a rising return is good", () => {
  assert.equal(trend(22, 20, definition({ id: "cac", healthy: { min: null, max: 20 } }), "currency")?.verdict, "bad");
  assert.equal(trend(4, 3, definition(), "ratio")?.verdict, "good");
  assert.equal(trend(80, 70, definition({ id: "budget_utilization", unit: "percent" }), "percent")?.verdict, "plain");
});

test("leaving the healthy range on its better side is no fault", () => {
  assert.equal(standing("high", definition())?.tone, "good");
  assert.equal(standing("low", definition())?.tone, "bad");
  assert.equal(standing("high", definition({ id: "cac" }))?.tone, "bad");
  assert.equal(standing(null, definition()), null);
});

test("healthy ranges are written without needless zeros", () => {
  assert.equal(healthyText(definition()), "healthy 2.5× – 5×");
  assert.equal(healthyText(definition({ unit: "currency", healthy: { min: null, max: 20 } })), "healthy under $20");
  assert.equal(healthyText(definition({ unit: "percent", healthy: { min: 75, max: 105 } })), "healthy 75% – 105%");
  assert.equal(healthyText(definition({ healthy: null, target: 3.5 })), "target 3.5×");
  assert.equal(healthyText(definition({ healthy: null })), "");
});

test("a live value stands in a card only when it covers the card's range", () => {
  assert.ok(coversRange(metric(), 86_400));
  assert.ok(!coversRange(metric(), 3600));
  const day = reduce(initialState("24h"), { type: "live-metric", metric: metric() });
  assert.equal(day.cards["roas"]?.current?.value, 3);
  const hour = reduce(initialState("1h"), { type: "live-metric", metric: metric() });
  assert.equal(hour.cards["roas"], undefined);
});

test("an answer for a range that is no longer chosen is dropped", () => {
  const state = reduce(initialState("24h"), { type: "range", range: "1h" });
  const late = reduce(state, { type: "card", id: "roas", range: "24h", card: { current: metric() } });
  assert.equal(late, state);
  assert.equal(reduce(state, { type: "loaded", name: "pipeline", range: "24h", value: {} }), state);
});

test("a failed read keeps the last good value", () => {
  const loaded = reduce(initialState("24h"), { type: "loaded", name: "alerts", range: "24h", value: [] });
  const failed = reduce(loaded, { type: "failed", name: "alerts", message: "away" });
  assert.deepEqual(failed.alerts, { value: [], error: "away" });
});

test("the live ledger is of 24 hours: other ranges take its throughput only", () => {
  const pipeline = { events_per_second: 412 } as Pipeline;
  const hour = reduce(initialState("1h"), { type: "live-pipeline", pipeline, now: T0 });
  assert.equal(hour.pipeline.value, null);
  assert.deepEqual(hour.throughput, [{ at: T0, value: 412 }]);
  assert.equal(reduce(initialState("24h"), { type: "live-pipeline", pipeline, now: T0 }).pipeline.value, pipeline);
});

test("a resolved alert leaves the list, an acknowledged one stays", () => {
  const alerts = [{ alert_id: "a", state: "open" }, { alert_id: "b", state: "open" }] as Alert[];
  const start = reduce(initialState("24h"), { type: "loaded", name: "alerts", range: "24h", value: alerts });
  const acknowledged = reduce(start, { type: "alert-state", id: "a", state: "acknowledged" });
  assert.deepEqual(acknowledged.alerts.value?.map((alert) => alert.state), ["acknowledged", "open"]);
  const resolved = reduce(acknowledged, { type: "alert-state", id: "b", state: "resolved" });
  assert.deepEqual(resolved.alerts.value?.map((alert) => alert.alert_id), ["a"]);
});

test("a campaign unknown to one metric has no value there, and unknowns sort last both ways", () => {
  const rows = leaderboard([
    metric({ metric: "roas", groups: [group("a", 2), group("b", 4), group("", 9)] }),
    metric({ metric: "cac", groups: [group("b", 12), group("c", null)] }),
  ]);
  assert.deepEqual(sortRows(rows, "roas", true).map((row) => row.group), ["b", "a", "c", ""]);
  assert.deepEqual(sortRows(rows, "roas", false).map((row) => row.group), ["a", "b", "c", ""]);
  assert.equal(rows.find((row) => row.group === "a")?.values["cac"], undefined);
});

function group(name: string, value: number | null) {
  return { group: name, value, numerator: 1, denominator: 1 };
}

test("rates: the filling bucket is divided by the time it has had, gaps are zero, the rest is other", () => {
  const points = (counts: Record<number, number>) => Object.entries(counts).map(([at, value]) => ({ start: iso(T0 + Number(at)), value }));
  const grouped = metric({ groups: [{ ...group("slow", 1), series: points({ 0: 60 }) }, { ...group("fast", 1), series: points({ 0: 600, 120: 150 }) }] });
  const total = metric({ series: points({ 0: 720, 120: 150 }) });
  const rates = ratesFrom(grouped, total, 60, T0 + 150, 7);
  assert.deepEqual(rates.at, [T0, T0 + 60, T0 + 120]);
  assert.deepEqual(rates.layers, [
    { name: "fast", values: [10, 0, 5] },
    { name: "slow", values: [1, 0, 0] },
    { name: OTHER, values: [1, 0, 0] },
  ]);
});

test("rates: a bucket that has only begun is left out", () => {
  const grouped = metric({ groups: [{ ...group("a", 1), series: [{ start: iso(T0), value: 6 }, { start: iso(T0 + 60), value: 1 }] }] });
  assert.deepEqual(ratesFrom(grouped, metric(), 60, T0 + 63, 7).at, [T0]);
});

test("the trail is bounded and never goes back in time", () => {
  let history: { at: number; value: number }[] = [];
  for (let i = 0; i < 10; i += 1) history = trail(history, i, i, 4);
  assert.deepEqual(history.map((item) => item.at), [6, 7, 8, 9]);
  assert.deepEqual(trail(history, 9, 42, 4).at(-1), { at: 9, value: 42 });
});

test("a count's filling bucket is not drawn as a fall", () => {
  const series = [{ start: iso(T0 - 3600), value: 50 }, { start: iso(T0), value: 1 }];
  const card = { current: metric({ end: iso(T0 + 60) }), previous: null, series, error: null };
  assert.equal(sparkPoints(card, "count", "24h").length, 1);
  assert.equal(sparkPoints(card, "ratio", "24h").length, 2);
});

test("evidence of any shape becomes rows", () => {
  assert.deepEqual(evidenceRows({ value: 1.9, note: "low", list: [1] }), [["value", "1.90"], ["note", "low"], ["list", "[1]"]]);
  assert.deepEqual(evidenceRows('{"a":1}'), [["a", "1"]]);
  assert.deepEqual(evidenceRows("plain words"), [["evidence", "plain words"]]);
  assert.deepEqual(evidenceRows(null), []);
});

test("evidence opens one level, tells moments from numbers, and knows an anomaly", () => {
  const evidence = { expected: 2, measured_at: T0, details: { actual: 21, bucket: T0 } };
  const rows = new Map(evidenceRows(evidence));
  assert.equal(rows.get("actual"), "21");
  assert.match(rows.get("measured_at") ?? "", /21 Nov 2026/);
  assert.deepEqual(measured(evidence), { expected: 2, actual: 21 });
  assert.equal(measured({ value: 1, threshold: 2 }), null);
});

test("an address names an alert or a campaign", () => {
  assert.deepEqual(targetInFragment("#/alerts/d96d0da2-afcb"), { kind: "alerts", id: "d96d0da2-afcb" });
  assert.deepEqual(targetInFragment("#/campaigns/a%20b"), { kind: "campaigns", id: "a b" });
  for (const other of ["", "#key=x", "#/alerts/", "#/alerts/a/b", "#/alerts/%zz", "#/users/1"]) assert.equal(targetInFragment(other), null);
});

test("links from data cannot run scripts or leave the scheme", () => {
  assert.ok(safeLink("/alerts/1") && safeLink("https://example.org/x"));
  for (const bad of ["javascript:alert(1)", "//evil.example", "data:text/html,x", ""]) assert.ok(!safeLink(bad), bad);
});

test("an anomaly is told in words", () => {
  assert.equal(whatHappened({ type: "drop", deviation_percent: -91.7, actual: 1 }), "down 92%");
  assert.equal(whatHappened({ type: "zero", deviation_percent: -100, actual: 0 }), "fell to zero");
  assert.equal(whatHappened({ type: "spike", deviation_percent: null, actual: 5 }), "spike");
});

test("the key is read from the fragment", () => {
  assert.equal(keyFromFragment("#key=dev-secret-key"), "dev-secret-key");
  assert.equal(keyFromFragment("#a=1&key=x%20y"), "x y");
  assert.equal(keyFromFragment("#key="), null);
  assert.equal(keyFromFragment(""), null);
});

test("the cards and columns are those that the taxonomy of the key has", () => {
  assert.equal(cardIds(new Map()).length, 8);
  const some = new Map(["cpc", "events", "ctr", "roas"].map((id) => [id, definition({ id, dimensions: id === "roas" ? ["campaign_id"] : [] })]));
  assert.deepEqual(cardIds(some), ["roas", "ctr", "cpc"]);
  assert.deepEqual(columnIds(some), ["roas"]);
});

test("event types keep their colours and never share one", () => {
  const first = assignColours(new Map(), ["a", "b", "c"], 7);
  assert.deepEqual([...first], [["a", 0], ["b", 1], ["c", 2]]);
  assert.deepEqual(new Map(assignColours(first, ["d", "c", "a"], 7)), new Map([["c", 2], ["a", 0], ["d", 1]]));
});
