/** The words under the ledger: when it was last checked, and what was wrong then. */

import type { Pipeline } from "../api/types";
import { integer } from "../format/number";
import { ago, toSeconds } from "../format/time";
import { plural } from "../format/words";

/** Seconds after which a check that is repeated every quarter of a minute is missed. */
const QUIET = 120;

export interface Audit {
  readonly at: number | null;
  readonly when: string;
  /** No check for so long that somebody should look. */
  readonly missed: boolean;
  /** Events and minutes that did not balance; null when all did. */
  readonly wrong: string | null;
}

export function audit(reconciliation: Pipeline["reconciliation"], now: number): Audit {
  const { checked_at, difference, minutes } = reconciliation;
  const at = toSeconds(checked_at);
  return {
    at,
    when: ago(at, now),
    missed: at === null || now - at > QUIET,
    wrong: difference > 0 ? `${integer(difference)} in ${integer(minutes)} ${plural(minutes, "minute")}` : null,
  };
}
