/** Who is likely to leave, how many, and why. */

import type { Api } from "../api/client";
import type { ChurnRisk } from "../api/types";
import { integer, money } from "../format/number";
import { useSelect } from "../state/store";
import { ChurnUser } from "./churn_user";
import { Empty, Loading, Panel, Unread } from "./panel";

export function Churn({ api }: { readonly api: Api }) {
  const churn = useSelect((state) => state.churn);
  const value = churn.value;
  return (
    <Panel
      id="churn"
      title="Churn risk"
      about={value && value.summary.totalAtRisk > 0 ? `${integer(value.summary.totalAtRisk)} users at risk` : undefined}
      span={4}
      error={churn.value && churn.error}
    >
      {value ? <Risk value={value} api={api} /> : churn.error ? <Unread what="churn scores" why={churn.error} /> : <Loading what="churn scores" />}
    </Panel>
  );
}

function Risk({ value, api }: { readonly value: ChurnRisk; readonly api: Api }) {
  const { summary, atRiskUsers } = value;
  if (summary.totalAtRisk === 0 && atRiskUsers.length === 0) {
    return value.modelVersion ? (
      <Empty title="Nobody is at risk" good>
        The model scored your users and found no one over its threshold.
      </Empty>
    ) : (
      <Empty title="No scores yet">Users are scored once a day, when there is history to learn from.</Empty>
    );
  }
  const tiers = [
    { name: "critical", n: summary.criticalRisk },
    { name: "high", n: summary.highRisk },
    { name: "medium", n: summary.mediumRisk },
  ];
  return (
    <>
      <div class="tiers" aria-hidden="true">
        {tiers.filter((tier) => tier.n > 0).map((tier) => (
          <i key={tier.name} class={`tier-${tier.name}`} style={{ flexGrow: tier.n }} />
        ))}
      </div>
      <p class="tier-legend">
        {tiers.map((tier) => (
          <span key={tier.name}>
            <i class={`swatch tier-${tier.name}`} /> <b>{integer(tier.n)}</b> {tier.name}
          </span>
        ))}
        {summary.potentialRevenueAtRisk !== null && (
          <span class="push">
            <b>{money(summary.potentialRevenueAtRisk)}</b> at risk
          </span>
        )}
      </p>
      <ul class="rows">
        {atRiskUsers.map((user) => (
          <ChurnUser key={user.userId} user={user} api={api} />
        ))}
      </ul>
    </>
  );
}
