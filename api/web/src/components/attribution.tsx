/** What each channel is credited with, by several models side by side. */

import type { Attributed, Attribution as Found } from "../api/insights";
import { decimals, integer, known, metricValue, NOTHING } from "../format/number";
import { words } from "../format/words";
import { CREDITED_BY } from "../state/reader";
import { useSelect } from "../state/store";
import { Empty, Loading, Panel, Unread } from "./panel";

/** The models that are shown, with what each credits, for whoever does not know its name. */
export const MODELS: Readonly<Record<(typeof CREDITED_BY)[number], readonly [string, string]>> = {
  last: ["Last touch", "All of an order to the last touch before it"],
  first: ["First touch", "All of an order to the first touch"],
  linear: ["Linear", "Shared equally by all touches"],
  markov: ["Markov", "By how many orders would be missing without the channel"],
};
const MOST_ROWS = 8;

export function Attribution() {
  const attribution = useSelect((state) => state.attribution);
  const found = attribution.value;
  return (
    <Panel id="attribution" title="Attribution" about={found ? `revenue of the last 30 days by ${found.by}, touched within ${decimals(found.lookback_days, 0)} days before the order` : undefined} span={8} error={found && attribution.error}>
      {found ? (
        credited(found).length > 0 ? <Table found={found} /> : <Empty title="No order has a touch before it">Credit needs orders of users who were reached or clicked before.</Empty>
      ) : attribution.error ? (
        <Unread what="attribution" why={attribution.error} />
      ) : (
        <Loading what="attribution" />
      )}
    </Panel>
  );
}

/** The groups that any model credits with anything, most by last touch first. */
export function credited(found: Found): Attributed[] {
  const any = found.groups.filter((one) => Object.values(one.models).some((credit) => credit.revenue > 0));
  return any.sort((a, b) => revenue(b, "last") - revenue(a, "last") || a.group.localeCompare(b.group));
}

function revenue(one: Attributed, model: (typeof CREDITED_BY)[number]): number {
  return one.models[model]?.revenue ?? 0;
}

function Table({ found }: { readonly found: Found }) {
  const groups = credited(found);
  const most = Math.max(1, ...groups.flatMap((one) => CREDITED_BY.map((model) => revenue(one, model))));
  const left = found.unattributed.revenue;
  return (
    <>
      <div class="scroll" role="region" aria-label="Attribution table" tabIndex={0}>
        <table class="heat-table">
          <thead>
            <tr>
              <th scope="col">{words(found.by)}</th>
              <th scope="col" title="Orders with a touch of it before">
                Orders touched
              </th>
              {CREDITED_BY.map((model) => (
                <th scope="col" key={model} title={MODELS[model][1]}>
                  {MODELS[model][0]}
                </th>
              ))}
              <th scope="col" title="How far the models are apart, in percent of their mean">
                Spread
              </th>
              <th scope="col" title="What the last touch brought beyond its cost, by its cost">
                ROI
              </th>
            </tr>
          </thead>
          <tbody>
            {groups.slice(0, MOST_ROWS).map((one) => (
              <tr key={one.group}>
                <td>{one.group === "" ? "Without one" : words(one.group)}</td>
                <td>{integer(one.conversions_touched)}</td>
                {CREDITED_BY.map((model) => (
                  <td key={model}>
                    <span class="heat" style={{ "--share": revenue(one, model) / most }}>
                      {metricValue(revenue(one, model), "currency")}
                    </span>
                  </td>
                ))}
                <td>{known(one.spread_percent) ? `${decimals(one.spread_percent, 0)}%` : NOTHING}</td>
                <td>{roi(one.models.last?.roi ?? null)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {left > 0 && <p class="said">{metricValue(left, "currency")} of orders had no touch before them and is credited to nobody.</p>}
    </>
  );
}

/** A share as percent with its sign: 0.5 is half of the cost gained. */
export function roi(value: number | null): string {
  if (!known(value)) return NOTHING;
  return `${value > 0 ? "+" : value < 0 ? "−" : ""}${decimals(Math.abs(value) * 100, 0)}%`;
}
