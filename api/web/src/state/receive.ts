/** Messages of the live stream into the store. */

import type { SseMessage } from "../api/sse";
import type { Alert, Hello, Metric, Pipeline, ServiceStatus } from "../api/types";
import { rangeInfo } from "../format/time";
import { now } from "./clock";
import { cardIds, coversRange } from "./metrics";
import type { Store } from "./store";

/** What the stream says has changed but does not carry in the form that the page shows. */
export type Stale = (what: string) => void;

/** A message that is not JSON is ignored: the next one replaces it. */
export function receive(store: Store, message: SseMessage, stale: Stale): void {
  let data: unknown;
  try {
    data = JSON.parse(message.data);
  } catch {
    return;
  }
  switch (message.event) {
    case "hello":
      return store.dispatch({ type: "hello", tenant: (data as Hello).tenant });
    case "metric":
      return receiveMetric(store, data as Metric, stale);
    case "pipeline":
      return store.dispatch({ type: "live-pipeline", pipeline: data as Pipeline, now: now() });
    case "alerts": {
      const { alerts } = data as { alerts: Alert[] };
      return store.dispatch({ type: "loaded", name: "alerts", range: store.get().range, value: alerts });
    }
    case "anomalies":
      // The stream has the newest of all time; the list is of the chosen range.
      return stale("anomalies");
    case "status":
      return store.dispatch({ type: "service", service: data as ServiceStatus });
  }
}

/** A live value of another window than the card's says that the metric moved: the card is read again. */
function receiveMetric(store: Store, metric: Metric, stale: Stale): void {
  const { dictionary, range } = store.get();
  if (cardIds(dictionary).includes(metric.metric) && !coversRange(metric, rangeInfo(range).seconds)) stale(metric.metric);
  store.dispatch({ type: "live-metric", metric });
}
