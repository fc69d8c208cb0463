/** The secret key lives in sessionStorage: this tab only, gone when it closes. */

const KEY = "headrace.key";

/** The key of `#key=…`, as `headrace demo` prints it; null when the fragment holds none. */
export function keyFromFragment(fragment: string): string | null {
  const found = new URLSearchParams(fragment.replace(/^#/, "")).get("key");
  return found === null || found.trim() === "" ? null : found.trim();
}

/** The key to start with. One in the address is taken over and removed from the address and the history. */
export function takeKey(): string | null {
  const given = keyFromFragment(location.hash);
  if (given !== null) {
    history.replaceState(null, "", location.pathname + location.search);
    saveKey(given);
    return given;
  }
  return guarded(() => sessionStorage.getItem(KEY));
}

export function saveKey(key: string): void {
  guarded(() => sessionStorage.setItem(KEY, key));
}

export function forgetKey(): void {
  guarded(() => sessionStorage.removeItem(KEY));
}

/** Storage may be forbidden by the browser; the page works without it, until it is reloaded. */
export function guarded<T>(use: () => T): T | null {
  try {
    return use();
  } catch {
    return null;
  }
}
