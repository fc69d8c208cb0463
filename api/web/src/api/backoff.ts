/** Exponential back-off with full jitter: between half and all of base · 2^attempt, never above the cap. Milliseconds. */
export function backoffDelay(attempt: number, chance: number, base = 500, cap = 20_000): number {
  const ceiling = Math.min(cap, base * 2 ** Math.min(attempt, 16));
  return Math.round(ceiling * (0.5 + 0.5 * chance));
}
