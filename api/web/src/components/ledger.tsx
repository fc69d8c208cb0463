/** Every event accounted for: received = accepted + rejected, accepted = stored + duplicates + in flight; and who checked. */

import type { Pipeline } from "../api/types";
import { integer, share } from "../format/number";
import { moment, rangeInfo, toSeconds } from "../format/time";
import { plural, words } from "../format/words";
import { useNow } from "../state/clock";
import { useSelect } from "../state/store";
import { Check, Warning } from "./icons";
import { audit } from "./ledger_words";
import { Loading, Panel, Unread } from "./panel";

export function Ledger() {
  const pipeline = useSelect((state) => state.pipeline);
  const range = useSelect((state) => state.range);
  return (
    <Panel id="ledger" title="Pipeline ledger" about={`last ${rangeInfo(range).label}`} span={4} error={pipeline.value && pipeline.error}>
      {pipeline.value ? <Book pipeline={pipeline.value} /> : pipeline.error ? <Unread what="counts" why={pipeline.error} /> : <Loading what="the ledger" />}
    </Panel>
  );
}

function Book({ pipeline }: { readonly pipeline: Pipeline }) {
  const { received, accepted, rejected, duplicates, stored, late } = pipeline;
  const reasons = Object.entries(rejected).sort((a, b) => b[1] - a[1]);
  const refused = reasons.reduce((sum, [, n]) => sum + n, 0);
  return (
    <>
      <Balance pipeline={pipeline} />
      <dl class="ledger">
        <Line name="Received" n={received} of={received} kind="total" />
        {pipeline.recovered > 0 && <Line name="of which recovered after a crash" n={pipeline.recovered} of={received} kind="sub" />}
        <Line name="Accepted" n={accepted} of={received} />
        <Line name="Rejected" n={refused} of={received} tone="bad" />
        {reasons.slice(0, 4).map(([reason, n]) => (
          <Line key={reason} name={words(reason)} n={n} of={received} kind="sub" />
        ))}
        {reasons.length > 4 && (
          <Line name={`${reasons.length - 4} other reasons`} n={reasons.slice(4).reduce((sum, [, n]) => sum + n, 0)} of={received} kind="sub" />
        )}
        <Line name="Stored" n={stored} of={received} kind="total" />
        <Line name="of which late" n={late} of={received} kind="sub" />
        <Line name="Duplicates dropped" n={duplicates} of={received} tone="warn" />
        {pipeline.conflicts > 0 && <Line name="Same id, another event" n={pipeline.conflicts} of={received} kind="sub" />}
        {pipeline.suppressed > 0 && <Line name="Suppressed" n={pipeline.suppressed} of={received} />}
        {pipeline.dead_letters > 0 && <Line name="Refused by the warehouse" n={pipeline.dead_letters} of={received} tone="bad" />}
        <Line name="In flight" n={pipeline.in_flight} of={received} />
      </dl>
      <Audit pipeline={pipeline} />
    </>
  );
}

function Balance({ pipeline }: { readonly pipeline: Pipeline }) {
  const { received, accepted } = pipeline.difference;
  const missing = Math.abs(received) + Math.abs(accepted);
  const until = toSeconds(pipeline.closed_until);
  if (missing === 0) {
    return (
      <div class={pipeline.received === 0 ? "balance unknown" : "balance"} title={`Closed minutes until ${moment(until)}`}>
        <strong>0</strong>
        <div>
          <b>difference</b>
          <small>{pipeline.received === 0 ? "Nothing received in this range" : "Every event is accounted for"}</small>
        </div>
        <Check />
      </div>
    );
  }
  return (
    <div class="balance off" role="status" title={`Closed minutes until ${moment(until)}`}>
      <strong>{integer(missing)}</strong>
      <div>
        <b>{plural(missing, "event")} not accounted for</b>
        <small>
          {integer(received)} between received and accepted, {integer(accepted)} between accepted and stored
        </small>
      </div>
      <Warning />
    </div>
  );
}

function Audit({ pipeline }: { readonly pipeline: Pipeline }) {
  const now = useNow(5_000);
  const { at, when, missed, wrong } = audit(pipeline.reconciliation, now);
  return (
    <dl class="facts audit">
      <dt>Minutes checked against the tables</dt>
      <dd class={missed ? "warn" : ""} title={moment(at)}>
        {when}
      </dd>
      {wrong && <dt>Found wrong by it</dt>}
      {wrong && <dd class="bad">{wrong}</dd>}
      {pipeline.abandoned > 0 && <dt>Not acknowledged, sent again</dt>}
      {pipeline.abandoned > 0 && <dd>{integer(pipeline.abandoned)}</dd>}
    </dl>
  );
}

interface LineProps {
  readonly name: string;
  readonly n: number;
  readonly of: number;
  readonly kind?: "total" | "sub";
  readonly tone?: "bad" | "warn";
}

function Line({ name, n, of, kind, tone }: LineProps) {
  const part = of > 0 ? n / of : null;
  return (
    <div class={kind ?? ""}>
      <dt title={name}>{name}</dt>
      <dd>{integer(n)}</dd>
      <dd class="part">{part === null ? "" : share(part)}</dd>
      {kind !== "sub" && (
        <div class={`bar ${tone ?? ""}`} aria-hidden="true">
          {n > 0 && <i style={{ width: `${Math.min(100, (part ?? 0) * 100)}%` }} />}
        </div>
      )}
    </div>
  );
}
