/** What the page knows of the metrics: which cards it shows, and the arithmetic between a value and its neighbours. */

import type { Metric, MetricDefinition, MetricUnit } from "../api/types";
import { known } from "../format/number";
import { rangeInfo, toSeconds, type Range } from "../format/time";
import type { Card } from "./model";
import type { Point } from "../charts/scale";

/** The KPI cards that are wanted, in their order. */
const CARDS = [
  "roas",
  "ctr",
  "conversion_rate",
  "cac",
  "aov",
  "engagement_rate",
  "impressions",
  "budget_utilization",
] as const;

const MOST_CARDS = 8;

/** The columns that are wanted in the table of campaigns. */
const COLUMNS = ["impressions", "ctr", "conversion_rate", "roas", "cac", "revenue"] as const;

type Dictionary = ReadonlyMap<string, MetricDefinition>;

/** The cards to show: the wanted ones that this taxonomy has, filled up with others of its dictionary. */
export function cardIds(dictionary: Dictionary): string[] {
  if (dictionary.size === 0) return [...CARDS];
  const wanted = CARDS.filter((id) => dictionary.has(id));
  const others = [...dictionary.keys()].filter((id) => id !== "events" && !wanted.some((known) => known === id));
  return [...wanted, ...others].slice(0, MOST_CARDS);
}

/** The columns to show: the wanted metrics that can be split by campaign. */
export function columnIds(dictionary: Dictionary): string[] {
  return COLUMNS.filter((id) => dictionary.size === 0 || dictionary.get(id)?.dimensions.includes("campaign_id"));
}

/** Until the dictionary has arrived, these say what a card is about before the dictionary has arrived. */
const FALLBACK: Readonly<Record<string, readonly [string, MetricUnit]>> = {
  roas: ["Return on ad spend", "ratio"],
  ctr: ["Click-through rate", "percent"],
  conversion_rate: ["Conversion rate", "percent"],
  cac: ["Acquisition cost", "currency"],
  aov: ["Average order value", "currency"],
  engagement_rate: ["Engagement rate", "percent"],
  impressions: ["Impressions", "count"],
  budget_utilization: ["Budget utilisation", "percent"],
  revenue: ["Revenue", "currency"],
};

export function metricName(id: string, dictionary: Dictionary): string {
  return dictionary.get(id)?.name ?? FALLBACK[id]?.[0] ?? id;
}

export function metricUnit(id: string, dictionary: Dictionary): MetricUnit {
  return dictionary.get(id)?.unit ?? FALLBACK[id]?.[1] ?? "count";
}

export type Verdict = "good" | "bad" | "plain";

export interface Trend {
  readonly direction: "up" | "down" | "flat";
  /** Percentage points for percent metrics, per cent of the previous value for the others. */
  readonly amount: number;
  readonly unit: "pp" | "%";
  readonly verdict: Verdict;
}

/** The change against the previous period; null where either is unknown or a ratio to zero would be asked for. */
export function trend(now: number | null, before: number | null, definition: MetricDefinition | undefined, unit: MetricUnit): Trend | null {
  if (!known(now) || !known(before)) return null;
  if (unit !== "percent" && before === 0) return null;
  const amount = unit === "percent" ? now - before : ((now - before) / Math.abs(before)) * 100;
  const direction = Math.abs(amount) < 0.05 ? "flat" : amount > 0 ? "up" : "down";
  return { direction, amount, unit: unit === "percent" ? "pp" : "%", verdict: verdict(direction, definition) };
}

/** Whether more of a metric is better, read off its healthy range: only a lower bound means more is better. */
export function preference(definition: MetricDefinition | undefined): "more" | "less" | "neither" {
  const min = definition?.healthy?.min ?? null;
  const max = definition?.healthy?.max ?? null;
  if (definition?.id === "cac" || definition?.id === "cpc") return "less";
  if (definition?.id === "budget_utilization") return "neither";
  if (max !== null && (min === null || min === 0)) return "less";
  return min !== null ? "more" : "neither";
}

function verdict(direction: Trend["direction"], definition: MetricDefinition | undefined): Verdict {
  const wish = preference(definition);
  if (direction === "flat" || wish === "neither") return "plain";
  return (direction === "up") === (wish === "more") ? "good" : "bad";
}

/** A live value covers the window it was computed over; it may stand in a card only when that is the card's range. */
export function coversRange(metric: Metric, seconds: number): boolean {
  const start = toSeconds(metric.start);
  const end = toSeconds(metric.end);
  return start !== null && end !== null && Math.abs(end - start - seconds) <= Math.max(120, seconds * 0.02);
}

const WIDTH: Readonly<Record<string, number>> = { minute: 60, "5m": 300, hour: 3600, day: 86_400 };

/** The line under a card's value. A count's newest bucket is left out while it fills: it would read as a fall. */
export function sparkPoints(card: Card | undefined, unit: MetricUnit, range: Range): Point[] {
  const points = (card?.series ?? []).map((point) => ({ at: toSeconds(point.start) ?? 0, value: point.value }));
  const last = points.at(-1);
  const end = toSeconds(card?.current?.end);
  const width = WIDTH[rangeInfo(range).interval] ?? 0;
  const filling = unit === "count" && last !== undefined && end !== null && last.at + width > end + 1;
  return filling ? points.slice(0, -1) : points;
}

/** A leaderboard row: one campaign and its value of each metric. */
export interface Row {
  readonly group: string;
  readonly values: Readonly<Record<string, number | null>>;
}

/** Rows from one grouped answer a metric. A campaign that one metric does not know has null there, not 0. */
export function leaderboard(answers: readonly Metric[]): Row[] {
  const rows = new Map<string, Record<string, number | null>>();
  for (const answer of answers) {
    for (const group of answer.groups ?? []) {
      const values = rows.get(group.group) ?? {};
      values[answer.metric] = group.value;
      rows.set(group.group, values);
    }
  }
  return [...rows].map(([group, values]) => ({ group, values }));
}

/** Sorted by one metric; unknown values last in either direction, events without a campaign last of all. */
export function sortRows(rows: readonly Row[], by: string, descending: boolean): Row[] {
  const sign = descending ? -1 : 1;
  return [...rows].sort((a, b) => {
    if ((a.group === "") !== (b.group === "")) return a.group === "" ? 1 : -1;
    const left = a.values[by] ?? null;
    const right = b.values[by] ?? null;
    if (left === null || right === null) return left === right ? compare(a.group, b.group) : left === null ? 1 : -1;
    return left === right ? compare(a.group, b.group) : sign * (left - right);
  });
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
