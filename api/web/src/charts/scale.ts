/** Geometry of charts: pure functions from data to numbers and SVG path strings. */

export interface Point {
  readonly at: number;
  readonly value: number | null;
}

export type Scale = (value: number) => number;

export function linear(from: readonly [number, number], to: readonly [number, number]): Scale {
  const width = from[1] - from[0];
  if (width === 0) return () => (to[0] + to[1]) / 2;
  return (value) => to[0] + ((value - from[0]) / width) * (to[1] - to[0]);
}

/** The smallest "round" number (1, 2, 2.5 or 5 times a power of ten) that is at least `value`. */
export function niceCeil(value: number): number {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 2.5, 5, 10].find((candidate) => candidate * power >= value * (1 - 1e-9)) ?? 10;
  return step * power;
}

/** Evenly spaced round ticks from 0 to at least `max`. */
export function valueTicks(max: number, wanted = 4): number[] {
  const step = niceCeil(max / wanted);
  const ticks: number[] = [];
  for (let i = 0; i === 0 || (i - 1) * step < max - step * 1e-9; i += 1) ticks.push(round(i * step));
  return ticks;
}

export function extent(values: readonly (number | null)[]): [number, number] | null {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value === null || !Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return low <= high ? [low, high] : null;
}

/** A line through the known points; a null breaks it, because a gap is not a zero. A point alone becomes a dot. */
export function linePath(points: readonly Point[], x: Scale, y: Scale): string {
  let path = "";
  let pen = "M";
  for (const [i, point] of points.entries()) {
    if (point.value === null) {
      if (pen === "L" && (i < 2 || points[i - 2]?.value == null)) path += "h0";
      pen = "M";
      continue;
    }
    path += `${pen}${fixed(x(point.at))} ${fixed(y(point.value))}`;
    pen = "L";
  }
  return path;
}

/** At most about `most` of many points, evenly taken, the newest always among them. */
export function thin<T>(points: readonly T[], most: number): T[] {
  const step = Math.max(1, Math.ceil(points.length / most));
  return points.filter((_, i) => (points.length - 1 - i) % step === 0);
}

/** The closed area between an upper and a lower edge over the same moments. */
export function bandPath(at: readonly number[], upper: readonly number[], lower: readonly number[], x: Scale, y: Scale): string {
  if (at.length === 0) return "";
  const top = at.map((moment, i) => `${fixed(x(moment))} ${fixed(y(upper[i] ?? 0))}`);
  const bottom = at.map((moment, i) => `${fixed(x(moment))} ${fixed(y(lower[i] ?? 0))}`).reverse();
  return `M${top.join("L")}L${bottom.join("L")}Z`;
}

/** Stack layers on one another: for each layer its lower and upper edges. */
export function stack(layers: readonly (readonly number[])[]): { lower: number[]; upper: number[] }[] {
  let base: number[] = layers[0] ? layers[0].map(() => 0) : [];
  return layers.map((layer) => {
    const lower = base;
    const upper = layer.map((value, i) => (lower[i] ?? 0) + value);
    base = upper;
    return { lower, upper };
  });
}

/** Index of the moment nearest to `at` in an ascending list; -1 when empty. */
export function nearest(moments: readonly number[], at: number): number {
  let best = -1;
  let distance = Infinity;
  moments.forEach((moment, i) => {
    const here = Math.abs(moment - at);
    if (here < distance) {
      best = i;
      distance = here;
    }
  });
  return best;
}

function fixed(value: number): string {
  return (Math.round(value * 100) / 100).toString();
}

function round(value: number): number {
  return Number(value.toPrecision(12));
}
