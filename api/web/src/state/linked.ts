/** The alert that the page's address names. */

import { useEffect, useState } from "preact/hooks";
import type { Api } from "../api/client";
import type { Alert } from "../api/types";
import { useTarget } from "./address";

export interface Linked {
  readonly id: string | null;
  /** The alert itself when the list does not have it: resolved, or older than the list goes. */
  readonly alert: Alert | null;
  readonly fault: string;
}

const NOTHING = { alert: null, fault: "" };

/** `list` is null until it was read; `actions` counts what was done to alerts here: each may have changed the one that is shown. */
export function useLinkedAlert(api: Api, list: readonly Alert[] | null, actions: number): Linked {
  const id = useTarget("alerts");
  const [found, setFound] = useState<Omit<Linked, "id">>(NOTHING);
  const absent = id !== null && list !== null && !list.some((alert) => alert.alert_id === id);
  useEffect(() => {
    const wanted = absent ? id : null;
    setFound((before) => (wanted !== null && before.alert?.alert_id === wanted ? before : NOTHING));
    if (wanted === null) return;
    let gone = false;
    api.alert(wanted).then(
      (alert) => gone || setFound({ alert, fault: "" }),
      (error: unknown) => gone || setFound({ alert: null, fault: error instanceof Error ? error.message : String(error) }),
    );
    return () => {
      gone = true;
    };
  }, [api, id, absent, actions]);
  return { id, ...found };
}
