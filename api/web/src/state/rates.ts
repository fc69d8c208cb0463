/** Event rates by type, from per-bucket counts. */

import type { Metric } from "../api/types";
import { toSeconds } from "../format/time";

export interface Rates {
  /** Start of each bucket, unix seconds, ascending. */
  readonly at: readonly number[];
  /** Bucket width, seconds. */
  readonly width: number;
  /** Events a second; the busiest type first, "other" last when it is there. */
  readonly layers: readonly { readonly name: string; readonly values: readonly number[] }[];
}

export const OTHER = "other";

/**
 * Rates from the `events` metric grouped by type and the same ungrouped. The bucket that is still filling is divided by
 * the time it has had, once that is long enough to say anything; before, it is left out.
 */
export function ratesFrom(grouped: Metric, total: Metric, width: number, now: number, keep: number): Rates {
  const moments = new Set<number>();
  const counts = (grouped.groups ?? []).map((group) => ({ name: group.group || "unknown", cells: cells(group.series) }));
  const all = cells(total.series);
  for (const at of all.keys()) moments.add(at);
  for (const layer of counts) for (const at of layer.cells.keys()) moments.add(at);
  const at = fill([...moments].sort((a, b) => a - b), width).filter((start) => now - start >= width * 0.15);

  const seconds = (start: number): number => Math.min(width, Math.max(1, now - start));
  const size = (layer: (typeof counts)[number]): number => at.reduce((sum, start) => sum + (layer.cells.get(start) ?? 0), 0);
  const ranked = counts.filter((layer) => size(layer) > 0).sort((a, b) => size(b) - size(a));
  const shown = ranked.slice(0, keep);
  const layers = shown.map((layer) => ({ name: layer.name, values: at.map((start) => (layer.cells.get(start) ?? 0) / seconds(start)) }));
  const rest = at.map((start) => {
    const known = shown.reduce((sum, layer) => sum + (layer.cells.get(start) ?? 0), 0);
    return Math.max(0, (all.get(start) ?? 0) - known) / seconds(start);
  });
  if (rest.some((value) => value > 0)) layers.push({ name: OTHER, values: rest });
  return { at, width, layers };
}

function cells(series: Metric["series"]): Map<number, number> {
  const found = new Map<number, number>();
  for (const point of series ?? []) {
    const at = toSeconds(point.start);
    if (at !== null) found.set(at, point.value ?? 0);
  }
  return found;
}

/** Buckets without events may be missing from the answer; they are zeros, because a count of nothing is known. */
function fill(moments: readonly number[], width: number): number[] {
  const first = moments[0];
  const last = moments.at(-1);
  if (first === undefined || last === undefined || (last - first) / width > 5000) return [...moments];
  const filled: number[] = [];
  for (let at = first; at <= last + width / 2; at += width) filled.push(Math.round(at));
  return filled;
}

/** A short history of a number, newest last, at most `size` long. Used for the live throughput trail. */
export function trail(
  history: readonly { at: number; value: number }[],
  at: number,
  value: number,
  size: number,
): { at: number; value: number }[] {
  const last = history.at(-1);
  const kept = last && at <= last.at ? history.slice(0, -1) : history;
  return [...kept, { at, value }].slice(-size);
}

/** A name keeps its colour while it is shown; a new one takes the first of `count` colours that no shown name has. */
export function assignColours(given: ReadonlyMap<string, number>, shown: readonly string[], count: number): Map<string, number> {
  const next = new Map<string, number>();
  for (const name of shown) {
    const colour = given.get(name);
    if (colour !== undefined) next.set(name, colour);
  }
  for (const name of shown) {
    if (next.has(name)) continue;
    const used = new Set(next.values());
    let free = 0;
    while (used.has(free) && free < count - 1) free += 1;
    next.set(name, free);
  }
  return next;
}
