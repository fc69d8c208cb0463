/** One alert: severity, what happened, since when, the evidence, and the two things to do about it. */

import { useEffect, useRef } from "preact/hooks";
import type { Alert } from "../api/types";
import { known } from "../format/number";
import { ago, moment, toSeconds } from "../format/time";
import { shortIds, words } from "../format/words";
import { useNow } from "../state/clock";
import { Evidence, measured, plain } from "./evidence";

interface Props {
  readonly alert: Alert;
  /** The address of the page names this alert: it takes the focus and shows its evidence. */
  readonly linked: boolean;
  readonly act: (action: "acknowledge" | "resolve") => void;
}

export function AlertRow({ alert, linked, act }: Props) {
  const open = alert.state === "open";
  const row = useRef<HTMLLIElement>(null);
  useEffect(() => {
    if (linked) row.current?.focus();
  }, [linked]);
  return (
    <li
      ref={row}
      class={open ? `alert-${alert.severity}` : "handled"}
      tabIndex={0}
      aria-keyshortcuts="a r"
      onKeyDown={(event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        if (event.key === "a" && open) act("acknowledge");
        else if (event.key === "r" && alert.state !== "resolved") act("resolve");
      }}
    >
      <div class="row-head">
        <span class={`badge ${open ? alert.severity : ""}`}>{words(alert.severity)}</span>
        <span class="row-title" title={alert.title}>
          {shortIds(alert.title)}
        </span>
        <Actions alert={alert} act={act} />
      </div>
      <Meta alert={alert} />
      <Evidence evidence={alert.evidence} open={linked} />
    </li>
  );
}

function Actions({ alert, act }: Pick<Props, "alert" | "act">) {
  if (alert.state === "resolved") return null;
  return (
    <span class="row-actions">
      {alert.state === "open" && (
        <button type="button" class="button small" aria-label={`Acknowledge: ${alert.title}`} onClick={() => act("acknowledge")}>
          Acknowledge
        </button>
      )}
      <button type="button" class="button small" aria-label={`Resolve: ${alert.title}`} onClick={() => act("resolve")}>
        Resolve
      </button>
    </span>
  );
}

function Meta({ alert }: Pick<Props, "alert">) {
  const now = useNow(10_000);
  const raised = toSeconds(alert.raised_at);
  return (
    <div class="row-meta">
      <span title={moment(raised)}>raised {ago(raised, now)}</span>
      <Reading alert={alert} />
      {alert.subject && <span title={alert.subject}>{shortIds(alert.subject).replace(":", ": ")}</span>}
      {alert.state === "acknowledged" && <span>acknowledged{alert.acknowledged_by ? ` by ${alert.acknowledged_by}` : ""}</span>}
      {alert.state === "resolved" && <span>resolved {ago(toSeconds(alert.resolved_at), now)}</span>}
      {safeLink(alert.link) && !alert.link.endsWith(alert.alert_id) && <a href={alert.link}>Details</a>}
    </div>
  );
}

/** What was measured against what: of an anomaly what was expected, of a rule its threshold. */
function Reading({ alert }: Pick<Props, "alert">) {
  const anomaly = measured(alert.evidence);
  if (anomaly) {
    return (
      <span>
        expected <b>{plain(anomaly.expected)}</b>, got <b>{plain(anomaly.actual)}</b>
      </span>
    );
  }
  if (!known(alert.value)) return null;
  return (
    <span>
      value <b>{plain(alert.value)}</b>
      {known(alert.threshold) && ` against ${plain(alert.threshold)}`}
    </span>
  );
}

/** Links come from data: only pages of this server and http(s) addresses are followed. */
export function safeLink(link: string): boolean {
  return /^(https?:\/\/|\/(?!\/))/i.test(link);
}
