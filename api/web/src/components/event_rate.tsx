/** How fast events arrive: this second, the last two minutes, and the last half hour by type. */

import { useRef } from "preact/hooks";
import { Sparkline } from "../charts/sparkline";
import { StackedArea } from "../charts/stacked_area";
import { known, rate } from "../format/number";
import { words } from "../format/words";
import { useNow } from "../state/clock";
import { RATE_SPAN } from "../state/reader";
import { assignColours, OTHER, type Rates } from "../state/rates";
import { useSelect } from "../state/store";
import { Empty, Loading, Panel, Unread } from "./panel";

const COLOURS = 7;

export function EventRate() {
  const rates = useSelect((state) => state.rates);
  return (
    <Panel id="rate" title="Event rate" about="by type, last 30 minutes" span={8} error={rates.value && rates.error}>
      <Throughput />
      {rates.value ? <Chart rates={rates.value} /> : rates.error ? <Unread what="event rates" why={rates.error} /> : <Loading what="event rates" />}
    </Panel>
  );
}

function Throughput() {
  const throughput = useSelect((state) => state.throughput);
  const now = useNow();
  const last = throughput.at(-1);
  return (
    <div class="now">
      <div>
        <strong>{last && known(last.value) ? rate(last.value) : "–"}</strong>
        <small>stored now</small>
      </div>
      <div class="trail">
        <Sparkline points={throughput} height={40} domain={[Math.max(now - 120, Math.min(throughput[0]?.at ?? now, now - 15)), now]} fromZero />
      </div>
    </div>
  );
}

function Chart({ rates }: { readonly rates: Rates }) {
  const now = useNow();
  const given = useRef<ReadonlyMap<string, number>>(new Map());
  given.current = assignColours(given.current, rates.layers.map((layer) => layer.name).filter((name) => name !== OTHER), COLOURS);
  const colour = (name: string): number => given.current.get(name) ?? COLOURS;
  const label = (name: string): string => (name === OTHER ? "Other types" : words(name));
  if (rates.layers.length === 0) {
    return (
      <Empty title="No events in the last 30 minutes">
        Send the first one to <code>POST /api/analytics/events</code> and it appears here within a second or two.
      </Empty>
    );
  }
  const full = rates.at.length > 1 ? rates.at.length - 2 : rates.at.length - 1;
  return (
    <>
      <StackedArea rates={rates} domain={[now - RATE_SPAN, now]} height={340} colour={colour} label={label} />
      <ul class="legend" aria-label="Events a second in the last full minute">
        {rates.layers.map((layer) => (
          <li key={layer.name}>
            <span class={`swatch k${colour(layer.name)}`} />
            <span class="name">{label(layer.name)}</span>
            <span class="amount">{rate(layer.values[full] ?? 0)}</span>
          </li>
        ))}
      </ul>
    </>
  );
}
