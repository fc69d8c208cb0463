/** What the page's address points at: `/#/alerts/ID` and `/#/campaigns/ID`, as notifications link to them. */

import { useEffect, useState } from "preact/hooks";

export interface Target {
  readonly kind: "alerts" | "campaigns";
  readonly id: string;
}

export function targetInFragment(fragment: string): Target | null {
  const found = /^#\/(alerts|campaigns)\/([^/?&#]+)$/.exec(fragment);
  if (!found) return null;
  try {
    return { kind: found[1] as Target["kind"], id: decodeURIComponent(found[2]!) };
  } catch {
    return null;
  }
}

/** The id that the address names among `kind`; null when it names none. Follows the address. */
export function useTarget(kind: Target["kind"]): string | null {
  const read = (): string | null => {
    const target = targetInFragment(location.hash);
    return target?.kind === kind ? target.id : null;
  };
  const [id, setId] = useState(read);
  useEffect(() => {
    const follow = (): void => setId(read());
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, [kind]);
  return id;
}
