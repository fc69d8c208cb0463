/** Numbers of past days that moved since they were counted, because events came late or were taken out. */

import type { Correction } from "../api/insights";
import { integer } from "../format/number";
import { ago, toSeconds } from "../format/time";
import { plural, words } from "../format/words";
import { useNow } from "../state/clock";
import { useSelect } from "../state/store";
import { Empty, Loading, Panel, Unread } from "./panel";

const MOST_ROWS = 6;

export function Corrections() {
  const corrections = useSelect((state) => state.corrections);
  const found = corrections.value;
  return (
    <Panel id="corrections" title="Corrected days" about="last 7 days" span={4} error={found && corrections.error}>
      {found ? (
        found.length > 0 ? <List found={found} /> : <Empty title="No past day has moved" good />
      ) : corrections.error ? (
        <Unread what="corrections" why={corrections.error} />
      ) : (
        <Loading what="corrections" />
      )}
    </Panel>
  );
}

/** What is shown: of the whole day, not again of each campaign. */
export function ofWholeDays(found: readonly Correction[]): Correction[] {
  return found.filter((one) => one.dimension === null);
}

/** What is counted, where its id is no word for it. */
const COUNTED: Readonly<Record<string, string>> = { all: "events", newcomers: "new customers", active: "signs of life" };

/** "+3 clicked": by how much, in the word of what is counted. */
export function told(one: Correction): string {
  const by = one.events.change;
  return `${by > 0 ? "+" : by < 0 ? "−" : "±"}${integer(Math.abs(by))} ${COUNTED[one.counted] ?? words(one.counted).toLowerCase()}`;
}

function List({ found }: { readonly found: readonly Correction[] }) {
  const now = useNow();
  const days = ofWholeDays(found);
  return (
    <ul class="moved">
      {days.slice(0, MOST_ROWS).map((one) => (
        <li key={`${one.found_at}-${one.day}-${one.counted}`}>
          <div>
            <strong>{one.day}</strong>
            <span>{told(one)}</span>
          </div>
          <span class="quiet">
            {integer(one.events.before)} → {integer(one.events.after)}
            {one.metrics.length > 0 && `; moves ${one.metrics.slice(0, 3).map(short).join(", ")}${one.metrics.length > 3 ? " …" : ""}`}; {ago(toSeconds(one.found_at), now)}
          </span>
        </li>
      ))}
      {days.length > MOST_ROWS && (
        <li class="quiet">
          and {days.length - MOST_ROWS} more {plural(days.length - MOST_ROWS, "number")}
        </li>
      )}
    </ul>
  );
}

/** Names of metrics are short words or abbreviations. */
function short(id: string): string {
  return id.length <= 4 ? id.toUpperCase() : words(id).toLowerCase();
}
