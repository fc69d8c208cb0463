/** What on-call has to look at: open and acknowledged alerts, with their evidence and what can be done. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Api } from "../api/client";
import type { Alert, Severity } from "../api/types";
import { plural } from "../format/words";
import { useLinkedAlert } from "../state/linked";
import { useSelect, useStore } from "../state/store";
import { AlertRow } from "./alert_row";
import { Empty, Loading, Panel, Unread } from "./panel";

const WEIGHT: Readonly<Record<Severity, number>> = { critical: 0, warning: 1, info: 2 };

export function Alerts({ api }: { readonly api: Api }) {
  const alerts = useSelect((state) => state.alerts);
  const store = useStore();
  const [fault, setFault] = useState<string | null>(null);
  const [actions, setActions] = useState(0);
  const linked = useLinkedAlert(api, alerts.value, actions);
  const list = withLinked([...(alerts.value ?? [])].filter((alert) => alert.state !== "resolved").sort(byUrgency), linked.alert);
  const open = list.filter((alert) => alert.state === "open").length;

  async function act(alert: Alert, action: "acknowledge" | "resolve"): Promise<void> {
    const next = action === "acknowledge" ? "acknowledged" : "resolved";
    store.dispatch({ type: "alert-state", id: alert.alert_id, state: next });
    try {
      await api.act(alert.alert_id, action);
      setFault(null);
    } catch (error) {
      store.dispatch({ type: "alert-state", id: alert.alert_id, state: alert.state });
      setFault(`“${alert.title}” could not be ${next}: ${error instanceof Error ? error.message : String(error)}`);
    } finally {
      setActions((count) => count + 1);
    }
  }

  return (
    <Panel
      id="alerts"
      title="Alerts"
      span={6}
      error={fault ?? (linked.fault || null) ?? (alerts.value && alerts.error)}
      about={alerts.value && (open > 0 ? `${open} open` : "none open")}
      aside={
        list.length > 0 && (
          <span class="quiet keys">
            <kbd>A</kbd> acknowledge <kbd>R</kbd> resolve
          </span>
        )
      }
    >
      <Announcer alerts={alerts.value} />
      {list.length > 0 ? (
        <ul class="rows">
          {list.map((alert) => (
            <AlertRow key={alert.alert_id} alert={alert} linked={alert.alert_id === linked.id} act={(action) => void act(alert, action)} />
          ))}
        </ul>
      ) : alerts.value ? (
        <Empty title="All quiet" good>
          No alert is open. Rules are checked with every event.
        </Empty>
      ) : alerts.error ? (
        <Unread what="alerts" why={alerts.error} />
      ) : (
        <Loading what="alerts" />
      )}
    </Panel>
  );
}

/** A linked alert that the list does not have stands on top of it. */
function withLinked(list: Alert[], linked: Alert | null): Alert[] {
  return linked && !list.some((alert) => alert.alert_id === linked.alert_id) ? [linked, ...list] : list;
}

function byUrgency(a: Alert, b: Alert): number {
  if (a.state !== b.state) return a.state === "open" ? -1 : 1;
  return WEIGHT[a.severity] - WEIGHT[b.severity] || (a.raised_at < b.raised_at ? 1 : -1);
}

/** Tells screen readers about alerts that were not there before, once each and politely. */
function Announcer({ alerts }: { readonly alerts: readonly Alert[] | null }) {
  const seen = useRef<Set<string> | null>(null);
  const [text, setText] = useState("");
  useEffect(() => {
    if (!alerts) return;
    const before = seen.current;
    seen.current = new Set(alerts.map((alert) => alert.alert_id));
    if (!before) return;
    const fresh = alerts.filter((alert) => alert.state === "open" && !before.has(alert.alert_id));
    if (fresh.length > 0) setText(`${fresh.length} new ${plural(fresh.length, "alert")}: ${fresh.map((alert) => `${alert.severity}, ${alert.title}`).join("; ")}`);
  }, [alerts]);
  return (
    <div class="hidden-text" aria-live="polite">
      {text}
    </div>
  );
}
