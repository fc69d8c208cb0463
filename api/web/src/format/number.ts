/** Numbers as people read them. Every function takes null ("not known") and answers an en dash for it, never 0. */

export type Unit = "ratio" | "percent" | "currency" | "count" | "seconds" | "number";

export const NOTHING = "–";

const LOCALE = "en-US";
const formats = new Map<string, Intl.NumberFormat>();

function format(options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const key = JSON.stringify(options);
  let found = formats.get(key);
  if (!found) {
    found = new Intl.NumberFormat(LOCALE, options);
    formats.set(key, found);
  }
  return found;
}

/** 1234567 → "1,234,567". */
export function integer(value: number | null | undefined): string {
  return known(value) ? format({ maximumFractionDigits: 0 }).format(value) : NOTHING;
}

/** 1234567 → "1.23M"; under 10,000 exact, because a count that can be read should be. */
export function compact(value: number | null | undefined): string {
  if (!known(value)) return NOTHING;
  if (Math.abs(value) < 10_000) return format({ maximumFractionDigits: Number.isInteger(value) ? 0 : 1 }).format(value);
  return format({ notation: "compact", maximumSignificantDigits: 3 }).format(value);
}

/** A metric's value in its unit: ROAS "3.24×", CTR "3.8%", CAC "$14.20", impressions "384K". */
export function metricValue(value: number | null | undefined, unit: Unit, currency = "USD"): string {
  if (!known(value)) return NOTHING;
  switch (unit) {
    case "ratio":
      return `${format({ minimumFractionDigits: 2, maximumFractionDigits: 2 }).format(value)}×`;
    case "percent":
      return `${decimals(value, Math.abs(value) < 10 ? 2 : 1)}%`;
    case "currency":
      return money(value, currency);
    case "count":
      return compact(value);
    case "seconds":
      return seconds(value);
    case "number":
      return Number.isInteger(value) ? compact(value) : decimals(value, 2);
  }
}

/** Money: cents below 1,000, whole units up to 100,000, compact above. An unknown currency code is shown as it is. */
export function money(value: number | null | undefined, currency = "USD"): string {
  if (!known(value)) return NOTHING;
  const size = Math.abs(value);
  const digits: Intl.NumberFormatOptions =
    size < 1_000
      ? { minimumFractionDigits: 2, maximumFractionDigits: 2 }
      : size < 100_000
        ? { maximumFractionDigits: 0 }
        : { notation: "compact", minimumSignificantDigits: 3, maximumSignificantDigits: 3 };
  try {
    return format({ style: "currency", currency, ...digits }).format(value);
  } catch {
    return `${format(digits).format(value)} ${currency}`;
  }
}

/** A duration in seconds: 0.042 → "42 ms", 1.5 → "1.5 s", 90 → "1 m 30 s", 7200 → "2 h". */
export function seconds(value: number | null | undefined): string {
  if (!known(value)) return NOTHING;
  const size = Math.abs(value);
  if (size < 1) return `${Math.round(value * 1000)} ms`;
  if (size < 10) return `${decimals(value, 1)} s`;
  if (size < 60) return `${Math.round(value)} s`;
  if (size < 3600) return joinParts(value, 60, "m", "s");
  if (size < 86_400) return joinParts(value / 60, 60, "h", "m");
  return joinParts(value / 3600, 24, "d", "h");
}

/** Events a second: "0/s", "0.25/s", "12.4/s", "5,210/s". */
export function rate(value: number | null | undefined): string {
  if (!known(value)) return NOTHING;
  if (value === 0) return "0/s";
  return `${value < 1 ? decimals(value, 2) : value < 100 ? decimals(value, 1) : integer(value)}/s`;
}

/** A share from 0 to 1 as a percentage: 0.823 → "82%". Never rounded to 0 or 100: 0.0003 → "<0.1%", 0.9996 → "99.9%". */
export function share(value: number | null | undefined): string {
  if (!known(value)) return NOTHING;
  const percent = value * 100;
  if (percent > 0 && percent < 0.1) return "<0.1%";
  if (percent >= 99 && percent < 100) return `${decimals(Math.floor(percent * 10) / 10, 1)}%`;
  return `${decimals(percent, percent > 0 && percent < 1 ? 1 : 0)}%`;
}

export function decimals(value: number | null | undefined, digits: number): string {
  if (!known(value)) return NOTHING;
  return format({ minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

export function known(value: number | null | undefined): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

function joinParts(value: number, base: number, large: string, small: string): string {
  const total = Math.round(value);
  const rest = Math.abs(total % base);
  return rest === 0 ? `${total / base} ${large}` : `${Math.trunc(total / base)} ${large} ${rest} ${small}`;
}
