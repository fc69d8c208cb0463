/** Times are unix seconds inside the page; strings only at its edges. */

export type Range = "1h" | "24h" | "7d" | "30d";

export interface RangeInfo {
  readonly id: Range;
  readonly label: string;
  readonly seconds: number;
  /** Its start, and the start of the period before it, in the words of the API. */
  readonly start: string;
  readonly before: string;
  /** Bucket width of the small charts, in the words of the API. */
  readonly interval: string;
}

export const RANGES: readonly RangeInfo[] = [
  { id: "1h", label: "hour", seconds: 3600, start: "-1h", before: "-2h", interval: "5m" },
  { id: "24h", label: "24 hours", seconds: 86_400, start: "-24h", before: "-48h", interval: "hour" },
  { id: "7d", label: "7 days", seconds: 7 * 86_400, start: "-7d", before: "-14d", interval: "day" },
  { id: "30d", label: "30 days", seconds: 30 * 86_400, start: "-30d", before: "-60d", interval: "day" },
];

export function rangeInfo(range: Range): RangeInfo {
  return RANGES.find((item) => item.id === range) ?? RANGES[1]!;
}

/** An ISO string, unix seconds or unix milliseconds to unix seconds; null where it cannot be read. */
export function toSeconds(value: unknown): number | null {
  if (typeof value === "number" && Number.isFinite(value)) return value > 1e11 ? value / 1000 : value;
  if (typeof value === "string" && value !== "") {
    const text = /^\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?$/.test(value) ? `${value.replace(" ", "T")}Z` : value;
    const parsed = Date.parse(text);
    return Number.isNaN(parsed) ? null : parsed / 1000;
  }
  return null;
}

/** How long ago, in words a person would use. */
export function ago(then: number | null, now: number): string {
  if (then === null) return "never";
  const age = now - then;
  if (age < 2) return "just now";
  if (age < 60) return `${Math.floor(age)} s ago`;
  if (age < 3600) return `${Math.floor(age / 60)} min ago`;
  if (age < 86_400) return `${Math.floor(age / 3600)} h ago`;
  return `${Math.floor(age / 86_400)} d ago`;
}

/** The label of a point on a time axis whose whole width is `span` seconds. Local time of the reader. */
export function axisLabel(at: number, span: number): string {
  const date = new Date(at * 1000);
  if (span <= 600) return clock(date, true);
  if (span <= 2 * 86_400) return clock(date, false);
  return date.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
}

/** A full, unambiguous moment for tooltips: "21 Nov 2026, 14:03:22". */
export function moment(at: number | null): string {
  if (at === null) return "unknown";
  return new Date(at * 1000).toLocaleString("en-GB", {
    day: "numeric",
    month: "short",
    year: "numeric",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
  });
}

function clock(date: Date, withSeconds: boolean): string {
  return date.toLocaleTimeString("en-GB", {
    hour: "2-digit",
    minute: "2-digit",
    ...(withSeconds ? { second: "2-digit" } : {}),
  });
}

/** The first "nice" moments inside [start, end], about `wanted` of them, for axis ticks. Aligned to local days. */
export function timeTicks(start: number, end: number, wanted: number): number[] {
  const steps = [15, 30, 60, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 2 * 86_400, 7 * 86_400];
  const span = end - start;
  if (!(span > 0) || wanted < 1) return [];
  const step = steps.find((candidate) => span / candidate <= wanted) ?? 30 * 86_400;
  const offset = step >= 3600 ? new Date(start * 1000).getTimezoneOffset() * 60 : 0;
  const ticks: number[] = [];
  for (let at = Math.ceil((start - offset) / step) * step + offset; at <= end; at += step) ticks.push(at);
  return ticks;
}
