/** Whether the numbers are live, and how old the last word from the server is. */

import { integer } from "../format/number";
import { ago } from "../format/time";
import { useNow } from "../state/clock";
import type { Connection } from "../state/model";
import { useSelect } from "../state/store";
import { Warning } from "./icons";

/** Heartbeats come every 15 s: without one for longer than this, the page is stale. Seconds. */
export const STALE_AFTER = 20;

/** An interruption shorter than this is not worth moving the page for. Seconds. */
const BLIP = 4;

export function isStale(connection: Connection, now: number): boolean {
  return connection.heardAt !== null && now - connection.heardAt > STALE_AFTER;
}

export function ConnectionState() {
  const connection = useSelect((state) => state.connection);
  const now = useNow();
  const live = connection.phase === "live";
  const stale = live && isStale(connection, now);
  const word = stale ? "Silent" : live ? "Live" : connection.phase === "connecting" ? "Connecting" : "Reconnecting";
  return (
    <div class="connection">
      <span class={`dot ${live && !stale ? "live" : "waiting"}`} />
      <b role="status">{word}</b>
      <span class={`age ${live && !stale ? "fresh-age" : ""}`}>{connection.heardAt === null ? "" : ago(connection.heardAt, now)}</span>
    </div>
  );
}

/** The strip under the header when something is wrong: what, since when, and what to do. */
export function TroubleBanner({ retry }: { readonly retry: () => void }) {
  const connection = useSelect((state) => state.connection);
  const service = useSelect((state) => state.service);
  const now = useNow();
  const silent = connection.heardAt === null || now - connection.heardAt > BLIP;
  if (connection.phase !== "live" && connection.detail !== "" && silent) {
    const wait = Math.max(0, Math.ceil((connection.retryAt ?? now) - now));
    return (
      <div class="banner" role="status">
        <Warning />
        <span>
          {connection.detail} {connection.heardAt !== null && `The numbers below are from ${ago(connection.heardAt, now)}. `}
          {wait > 0 ? `Next try in ${integer(wait)} s.` : "Trying now."}
        </span>
        <button type="button" class="button small push" onClick={retry}>
          Try now
        </button>
      </div>
    );
  }
  if (service.status === "degraded") {
    return (
      <div class="banner" role="status">
        <Warning />
        <span>{service.detail || "The warehouse is away."} Events are still being accepted; the numbers will catch up.</span>
      </div>
    );
  }
  return null;
}
