/** One user at risk. Opened, the row shows every contribution to the score: to the right raises it, to the left lowers it. */

import { useEffect, useState } from "preact/hooks";
import type { Api } from "../api/client";
import type { AtRiskUser, UserChurn } from "../api/types";
import { decimals, share } from "../format/number";
import { ago, toSeconds } from "../format/time";
import { shortId, words } from "../format/words";
import { useNow } from "../state/clock";
import { Chevron } from "./icons";

export function ChurnUser({ user, api }: { readonly user: AtRiskUser; readonly api: Api }) {
  const [open, setOpen] = useState(false);
  return (
    <li>
      <button type="button" class="person" aria-expanded={open} onClick={() => setOpen(!open)}>
        <Chevron />
        <span class="who" title={user.userId}>
          {shortId(user.userId)}
        </span>
        <span class={`badge ${user.riskTier}`}>{words(user.riskTier)}</span>
        <span class="chance">{share(user.churnProbability)}</span>
      </button>
      {open ? <Why user={user} api={api} /> : <Factors user={user} />}
    </li>
  );
}

/** The two strongest reasons, as parts of all reasons. */
function Factors({ user }: { readonly user: AtRiskUser }) {
  return (
    <ul class="reasons">
      {user.topRiskFactors.slice(0, 2).map((factor) => (
        <li key={factor.factor}>
          <span class="name">{words(factor.factor)}</span>
          <span class="bar" aria-hidden="true">
            <i style={{ width: `${Math.min(100, Math.abs(factor.importance) * 100)}%` }} />
          </span>
          <span class="amount">{share(Math.abs(factor.importance))}</span>
        </li>
      ))}
    </ul>
  );
}

function Why({ user, api }: { readonly user: AtRiskUser; readonly api: Api }) {
  const [detail, setDetail] = useState<UserChurn | null>(null);
  const [fault, setFault] = useState("");
  const now = useNow(10_000);
  useEffect(() => {
    let gone = false;
    api.userChurn(user.userId).then(
      (value) => !gone && setDetail(value),
      (error: unknown) => !gone && setFault(error instanceof Error ? error.message : String(error)),
    );
    return () => {
      gone = true;
    };
  }, [user.userId, api]);
  return (
    <>
      {detail ? <Contributions detail={detail} /> : <Factors user={user} />}
      <p class="advice">
        {fault}
        {user.lastActivity && `Last seen ${ago(toSeconds(user.lastActivity), now)}. `}
        {user.recommendedAction && `Suggested: ${words(user.recommendedAction)}`}
      </p>
    </>
  );
}

function Contributions({ detail }: { readonly detail: UserChurn }) {
  const sorted = [...detail.contributions].sort((a, b) => Math.abs(b.contribution) - Math.abs(a.contribution)).slice(0, 8);
  const top = Math.max(1e-9, ...sorted.map((item) => Math.abs(item.contribution)));
  return (
    <ul class="reasons" aria-label="Contributions to the score, in log-odds">
      {sorted.map((item) => (
        <li key={item.feature}>
          <span class="name" title={item.value === null ? words(item.feature) : `${words(item.feature)}: ${decimals(item.value, 2)}`}>
            {words(item.feature)}
          </span>
          <span class="both" aria-hidden="true">
            <i class={item.contribution > 0 ? "raises" : "lowers"} style={{ width: `${(Math.abs(item.contribution) / top) * 50}%` }} />
          </span>
          <span class="amount">
            {item.contribution > 0 ? "+" : "−"}
            {decimals(Math.abs(item.contribution), 2)}
          </span>
        </li>
      ))}
    </ul>
  );
}
