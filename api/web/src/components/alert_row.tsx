/** One alert: severity, what happened, since when, the evidence, and the two things to do about it. */

import type { Alert } from "../api/types";
import { ago, moment, toSeconds } from "../format/time";
import { decimals, integer, known } from "../format/number";
import { words } from "../format/words";
import { useNow } from "../state/clock";

interface Props {
  readonly alert: Alert;
  readonly act: (action: "acknowledge" | "resolve") => void;
}

export function AlertRow({ alert, act }: Props) {
  const now = useNow(10_000);
  const raised = toSeconds(alert.raised_at);
  const open = alert.state === "open";
  return (
    <li
      class={open ? `alert-${alert.severity}` : "handled"}
      tabIndex={0}
      aria-keyshortcuts="a r"
      onKeyDown={(event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        if (event.key === "a" && open) act("acknowledge");
        else if (event.key === "r") act("resolve");
      }}
    >
      <div class="row-head">
        <span class={`badge ${open ? alert.severity : ""}`}>{words(alert.severity)}</span>
        <span class="row-title">{alert.title}</span>
        <span class="row-actions">
          {open && (
            <button type="button" class="button small" aria-label={`Acknowledge: ${alert.title}`} onClick={() => act("acknowledge")}>
              Acknowledge
            </button>
          )}
          <button type="button" class="button small" aria-label={`Resolve: ${alert.title}`} onClick={() => act("resolve")}>
            Resolve
          </button>
        </span>
      </div>
      <div class="row-meta">
        <span title={moment(raised)}>raised {ago(raised, now)}</span>
        {known(alert.value) && (
          <span>
            value <b>{plain(alert.value)}</b>
            {known(alert.threshold) && ` against ${plain(alert.threshold)}`}
          </span>
        )}
        {alert.subject && <span>{alert.subject}</span>}
        {!open && <span>acknowledged{alert.acknowledged_by ? ` by ${alert.acknowledged_by}` : ""}</span>}
        {safeLink(alert.link) && <a href={alert.link}>Details</a>}
      </div>
      <Evidence evidence={alert.evidence} />
    </li>
  );
}

function Evidence({ evidence }: { readonly evidence: unknown }) {
  const rows = evidenceRows(evidence);
  if (rows.length === 0) return null;
  return (
    <details class="more">
      <summary>Evidence</summary>
      <dl class="evidence">
        {rows.map(([name, text]) => [<dt key={`${name}-t`}>{words(name)}</dt>, <dd key={`${name}-d`}>{text}</dd>])}
      </dl>
    </details>
  );
}

/** Evidence is free-form JSON: an object becomes rows, anything else one row. */
export function evidenceRows(evidence: unknown): (readonly [string, string])[] {
  if (evidence === null || evidence === undefined || evidence === "") return [];
  if (typeof evidence === "string") {
    try {
      return evidenceRows(JSON.parse(evidence));
    } catch {
      return [["evidence", evidence]];
    }
  }
  if (typeof evidence !== "object" || Array.isArray(evidence)) return [["evidence", text(evidence)]];
  return Object.entries(evidence).map(([name, value]) => [name, text(value)] as const);
}

function text(value: unknown): string {
  if (typeof value === "number") return plain(value);
  if (value === null || value === undefined) return "–";
  return typeof value === "string" ? value : JSON.stringify(value);
}

function plain(value: number): string {
  return Number.isInteger(value) ? integer(value) : decimals(value, Math.abs(value) < 1 ? 3 : 2);
}

/** Links come from data: only pages of this server and http(s) addresses are followed. */
export function safeLink(link: string): boolean {
  return /^(https?:\/\/|\/(?!\/))/i.test(link);
}
