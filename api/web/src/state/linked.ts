/** The alert that the page's address names: `/#/alerts/ID`, as notifications link to it. */

import { useEffect, useState } from "preact/hooks";
import type { Api } from "../api/client";
import type { Alert } from "../api/types";

export function alertInFragment(fragment: string): string | null {
  const found = /^#\/alerts\/([^/?&#]+)$/.exec(fragment)?.[1];
  if (found === undefined) return null;
  try {
    return decodeURIComponent(found);
  } catch {
    return null;
  }
}

export interface Linked {
  readonly id: string | null;
  /** The alert itself when the list does not have it: resolved, or older than the list goes. */
  readonly alert: Alert | null;
  readonly fault: string;
}

const NONE: Linked = { id: null, alert: null, fault: "" };

/** Follows the address. `list` is null until it was read. */
export function useLinkedAlert(api: Api, list: readonly Alert[] | null): Linked {
  const [linked, setLinked] = useState<Linked>(() => ({ ...NONE, id: alertInFragment(location.hash) }));
  useEffect(() => {
    const follow = (): void => setLinked({ ...NONE, id: alertInFragment(location.hash) });
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  const { id } = linked;
  const absent = id !== null && list !== null && !list.some((alert) => alert.alert_id === id);
  useEffect(() => {
    if (!absent || id === null) return;
    let gone = false;
    const show = (change: Partial<Linked>): void => {
      if (!gone) setLinked((now) => (now.id === id ? { ...now, ...change } : now));
    };
    api.alert(id).then(
      (alert) => show({ alert }),
      (error: unknown) => show({ fault: error instanceof Error ? error.message : String(error) }),
    );
    return () => {
      gone = true;
    };
  }, [api, id, absent]);
  return linked;
}
