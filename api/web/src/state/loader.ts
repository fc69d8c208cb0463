/** Keeps the store filled: checks the key, follows the live stream, and reads what the stream does not carry. */

import { api, ApiError, type Api } from "../api/client";
import { openLive, type LiveStream } from "../api/live";
import { now } from "./clock";
import { startJobs, type Job, type Schedule } from "./jobs";
import { reader, type Reader } from "./reader";
import { receive } from "./receive";
import type { Store } from "./store";

/** Milliseconds. */
const RETRY_DICTIONARY = 3000;

export interface Loader {
  readonly api: Api;
  retryNow(): void;
  close(): void;
}

export function startLoader(key: string, store: Store, signedOut: (message: string) => void): Loader {
  const client = api(key);
  const stops: (() => void)[] = [];
  let closed = false;
  let stream: LiveStream | null = null;

  function message(error: unknown): string {
    if (error instanceof ApiError && error.unauthorised && !closed) signedOut(error.message);
    return error instanceof Error ? error.message : String(error);
  }

  const read = reader(client, store, message);
  const stopDictionary = readDictionary(client, store, message, () => {
    if (closed) return;
    const stale = new Set<string>();
    stream = follow(key, store, stale, signedOut);
    const schedule = startJobs(jobs(read, stale));
    stops.push(stream.close, schedule.stop, onRange(store, schedule));
  });
  stops.push(stopDictionary);

  return {
    api: client,
    retryNow: () => stream?.retryNow(),
    close() {
      closed = true;
      for (const stop of stops) stop();
    },
  };
}

/** In the order in which a page that opens asks. `stale` holds what the stream marked as moved; it is read again and emptied. */
function jobs(read: Reader, stale: Set<string>): Job[] {
  const refresh = (): Promise<unknown> => {
    const moved = [...stale];
    stale.clear();
    const cards = read.values(moved.filter((what) => what !== "anomalies"));
    return Promise.all([cards, moved.includes("anomalies") ? read.anomalies() : undefined]);
  };
  return [
    { every: 5, ranged: true, run: read.pipeline },
    { every: 20, run: read.alerts },
    { every: 30, ranged: true, run: read.cards },
    { every: 5, run: read.rates },
    { every: 30, ranged: true, run: read.anomalies },
    { every: 60, run: read.churn },
    { every: 60, ranged: true, run: read.campaigns },
    { every: 300, run: read.evaluations },
    { every: 120, run: read.kpis },
    { every: 120, run: read.funnel },
    { every: 120, run: read.segments },
    { every: 300, run: read.heatmap },
    { every: 300, run: read.cohorts },
    { every: 60, run: read.corrections },
    { every: 300, run: read.attribution },
    { every: 300, ranged: true, run: read.previous },
    { every: 3, run: refresh },
  ];
}

/**
 * The dictionary is read before anything else, so that a wrong key costs one request. When it fails for another reason
 * the rest starts all the same, and the dictionary is tried again until it is there.
 */
function readDictionary(client: Api, store: Store, message: (error: unknown) => string, start: () => void): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let started = false;
  async function attempt(): Promise<void> {
    let refused = false;
    try {
      store.dispatch({ type: "dictionary", metrics: await client.dictionary() });
    } catch (error) {
      message(error);
      refused = error instanceof ApiError && error.unauthorised;
      if (!refused) timer = setTimeout(() => void attempt(), RETRY_DICTIONARY);
    }
    if (!started && !refused) {
      started = true;
      start();
    }
  }
  void attempt();
  return () => clearTimeout(timer);
}

function follow(key: string, store: Store, stale: Set<string>, signedOut: (message: string) => void): LiveStream {
  return openLive(key, {
    phase: (phase, detail, retryAt) => {
      store.dispatch({ type: "phase", phase, detail, retryAt });
      if (phase === "refused") signedOut(detail);
    },
    alive: () => store.dispatch({ type: "alive", now: now() }),
    message: (received) => receive(store, received, (what) => stale.add(what)),
  });
}

function onRange(store: Store, schedule: Schedule): () => void {
  let { range } = store.get();
  return store.watch(() => {
    if (store.get().range === range) return;
    range = store.get().range;
    schedule.runRanged();
  });
}
