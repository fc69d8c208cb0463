/** How many users come how far from a delivered message to an order. */

import type { Funnel as Walk } from "../api/insights";
import { decimals, integer, known, NOTHING, seconds } from "../format/number";
import { useSelect } from "../state/store";
import { Empty, Loading, Panel, Unread } from "./panel";

export function Funnel() {
  const funnel = useSelect((state) => state.funnel);
  const found = funnel.value;
  const about = found ? `${found.name.toLowerCase()}, entered in the last 30 days, within ${seconds(found.window_hours * 3600)}` : undefined;
  return (
    <Panel id="funnel" title="Funnel" about={about} span={6} error={found && funnel.error}>
      {found ? (
        (found.funnel[0]?.users ?? 0) > 0 ? <Steps walk={found} /> : <Empty title="Nobody entered the funnel">It begins with a delivered message.</Empty>
      ) : funnel.error ? (
        <Unread what="funnel" why={funnel.error} />
      ) : (
        <Loading what="the funnel" />
      )}
    </Panel>
  );
}

function Steps({ walk }: { readonly walk: Walk }) {
  return (
    <ol class="funnel">
      {walk.funnel.map((step, i) => (
        <li key={step.step}>
          <div class="funnel-head">
            <span>{step.step}</span>
            <span class="quiet">{i === 0 ? "" : `${percent(step.conversionRate)} of those before`}</span>
            <strong>{integer(step.users)}</strong>
          </div>
          <span class="bar" aria-hidden="true">
            <i style={{ width: `${step.rateFromFirst ?? 0}%` }} />
          </span>
          <span class="quiet">{known(step.medianTimeToNextStep) ? `half of those who go on do so within ${seconds(step.medianTimeToNextStep * 3600)}` : ""}</span>
        </li>
      ))}
    </ol>
  );
}

/** Small shares keep two digits: a tenth of a percent of many is many. */
export function percent(value: number | null): string {
  if (!known(value)) return NOTHING;
  return `${decimals(value, value > 0 && value < 10 ? 2 : 1)}%`;
}
