/** The business in a month: KPIs beside the month before. */

import type { Kpis, KpiUnit } from "../api/insights";
import { decimals, known, metricValue, NOTHING } from "../format/number";
import { useSelect } from "../state/store";
import { Down, Up } from "./icons";
import { Empty, Loading, Panel, Unread } from "./panel";

/** What is shown, and which way is better: 1 more, -1 less, 0 neither. */
export const SHOWN: readonly (readonly [string, number])[] = [
  ["netRevenue", 1],
  ["mrr", 1],
  ["netRevenueRetention", 1],
  ["customers", 1],
  ["newCustomers", 1],
  ["churnRate", -1],
  ["avgRevenuePerUser", 1],
  ["cac", -1],
  ["ltv_cac_ratio", 1],
  ["mau", 1],
  ["stickiness", 1],
  ["engagementScore", 1],
];

export function KpiTable() {
  const kpis = useSelect((state) => state.kpis);
  return (
    <Panel id="kpis" title="Business" about="last 30 days, beside the 30 before" span={12} error={kpis.value && kpis.error}>
      {kpis.value ? (
        rows(kpis.value).length > 0 ? <Table kpis={kpis.value} /> : <Empty title="No KPI can be told from this taxonomy pack" />
      ) : kpis.error ? (
        <Unread what="KPIs" why={kpis.error} />
      ) : (
        <Loading what="KPIs" />
      )}
    </Panel>
  );
}

function rows(kpis: Kpis): (readonly [string, number])[] {
  return SHOWN.filter(([id]) => kpis.details[id] !== undefined);
}

function Table({ kpis }: { readonly kpis: Kpis }) {
  return (
    <dl class="kpis">
      {rows(kpis).map(([id, better]) => (
        <div key={id} title={kpis.definitions[id]?.definition}>
          <dt>{kpis.definitions[id]?.name ?? id}</dt>
          <dd>
            <strong>{kpiValue(kpis.kpis[id] ?? null, kpis.details[id]?.unit ?? "ratio")}</strong>
            <Change percent={kpis.comparison?.[id]?.changePercent ?? null} better={better} />
          </dd>
        </div>
      ))}
    </dl>
  );
}

export function kpiValue(value: number | null, unit: KpiUnit): string {
  if (!known(value)) return NOTHING;
  if (unit === "minutes") return `${decimals(value, 1)} min`;
  if (unit === "score") return `${decimals(value, 0)} of 100`;
  return metricValue(value, unit);
}

function Change({ percent, better }: { readonly percent: number | null; readonly better: number }) {
  if (!known(percent)) return null;
  const tone = Math.abs(percent) < 0.05 || better === 0 ? "quiet" : percent * better > 0 ? "good" : "bad";
  const Icon = percent < 0 ? Down : Up;
  return (
    <span class={tone}>
      <Icon /> {decimals(Math.abs(percent), 1)}%<i class="hidden-text"> {percent < 0 ? "less" : "more"} than before</i>
    </span>
  );
}
