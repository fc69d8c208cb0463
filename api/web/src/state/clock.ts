/** The reader's clock, ticking once a second while the page is visible. Unix seconds. */

import { useEffect, useState } from "preact/hooks";

export function now(): number {
  return Date.now() / 1000;
}

export function useNow(everyMs = 1000): number {
  const [moment, setMoment] = useState(now());
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) setMoment(now());
    }, everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return moment;
}
