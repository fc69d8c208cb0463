/** Fills the store: reads what the live stream does not carry, at a pace for each, and folds the stream in. */

import { api, ApiError, type Api } from "../api/client";
import { openLive } from "../api/live";
import type { SseMessage } from "../api/sse";
import type { Alert, Anomaly, Hello, Metric, Pipeline, ServiceStatus } from "../api/types";
import { rangeInfo } from "../format/time";
import { now } from "./clock";
import { CARDS, coversRange, leaderboard, LEADERBOARD } from "./metrics";
import type { ResourceName } from "./model";
import { ratesFrom } from "./rates";
import type { Store } from "./store";

/** The event-rate chart always shows the last half hour by the minute. Seconds. */
export const RATE_SPAN = 1800;
const RATE_LAYERS = 7;

export interface Loader {
  readonly api: Api;
  refresh(): void;
  retryNow(): void;
  close(): void;
}

export function startLoader(key: string, store: Store, signedOut: (message: string) => void): Loader {
  const client = api(key);
  let closed = false;

  function failed(error: unknown): string {
    if (error instanceof ApiError && error.unauthorised && !closed) signedOut(error.message);
    return error instanceof Error ? error.message : String(error);
  }

  async function load<T>(name: ResourceName, read: () => Promise<T>): Promise<void> {
    const { range } = store.get();
    try {
      store.dispatch({ type: "loaded", name, range, value: await read() });
    } catch (error) {
      store.dispatch({ type: "failed", name, message: failed(error) });
    }
  }

  async function card(id: string, change: (seconds: number) => Promise<object>): Promise<void> {
    const { range } = store.get();
    try {
      store.dispatch({ type: "card", id, range, card: { ...(await change(rangeInfo(range).seconds)), error: null } });
    } catch (error) {
      store.dispatch({ type: "card", id, range, card: { error: failed(error) } });
    }
  }

  const current = (id: string): Promise<void> =>
    card(id, async (seconds) => {
      const metric = await client.metric(id, { start: `-${seconds}s`, interval: rangeInfo(store.get().range).interval });
      return { current: metric, series: metric.series };
    });
  const previous = (id: string): Promise<void> =>
    card(id, async (seconds) => ({ previous: await client.metric(id, { start: `-${2 * seconds}s`, end: `-${seconds}s` }) }));

  const jobs: readonly Job[] = [
    { every: 300, run: () => dictionary() },
    { every: 15, ranged: true, run: () => Promise.all(CARDS.map(current)) },
    { every: 120, ranged: true, run: () => Promise.all(CARDS.map(previous)) },
    { every: 5, run: () => load("rates", () => rates(client)) },
    { every: 5, ranged: true, run: () => load("pipeline", () => client.pipeline(`-${seconds()}s`)) },
    { every: 30, ranged: true, run: () => load("leaderboard", () => campaigns(client, seconds())) },
    { every: 20, run: () => load("alerts", client.alerts) },
    { every: 30, ranged: true, run: () => load("anomalies", () => client.anomalies(`-${seconds()}s`)) },
    { every: 60, run: () => load("churn", () => client.churn(8)) },
    { every: 60, run: () => load("evaluations", client.evaluations) },
  ];
  const seconds = (): number => rangeInfo(store.get().range).seconds;

  async function dictionary(): Promise<void> {
    try {
      store.dispatch({ type: "dictionary", metrics: await client.dictionary() });
    } catch (error) {
      failed(error);
    }
  }

  const schedule = startJobs(jobs);
  const dirty = new Set<string>();
  const flush = setInterval(() => {
    for (const id of dirty) void current(id);
    dirty.clear();
  }, 3000);
  const live = openLive(key, {
    phase: (phase, detail, retryAt) => {
      store.dispatch({ type: "phase", phase, detail, retryAt });
      if (phase === "refused") signedOut(detail);
    },
    alive: () => store.dispatch({ type: "alive", now: now() }),
    message: (message) => receive(store, message, dirty),
  });

  let range = store.get().range;
  const unwatch = store.watch(() => {
    if (store.get().range === range) return;
    range = store.get().range;
    schedule.runRanged();
  });

  return {
    api: client,
    refresh: schedule.runAll,
    retryNow: live.retryNow,
    close() {
      closed = true;
      unwatch();
      clearInterval(flush);
      schedule.stop();
      live.close();
    },
  };
}

/** One message of the stream into the store. A message that is not JSON is ignored: the next one replaces it. */
function receive(store: Store, message: SseMessage, dirty: Set<string>): void {
  let data: unknown;
  try {
    data = JSON.parse(message.data);
  } catch {
    return;
  }
  const { range } = store.get();
  if (message.event === "metric") receiveMetric(store, data as Metric, dirty);
  else if (message.event === "pipeline") store.dispatch({ type: "live-pipeline", pipeline: data as Pipeline, now: now() });
  else if (message.event === "alerts") {
    store.dispatch({ type: "loaded", name: "alerts", range, value: (data as { alerts: Alert[] }).alerts });
  } else if (message.event === "anomalies") {
    store.dispatch({ type: "loaded", name: "anomalies", range, value: (data as { anomalies: Anomaly[] }).anomalies });
  } else if (message.event === "status") store.dispatch({ type: "service", service: data as ServiceStatus });
  else if (message.event === "hello") store.dispatch({ type: "hello", tenant: (data as Hello).tenant });
}

/** A live value of another window than the card's says that the metric moved: the card is read again. */
function receiveMetric(store: Store, metric: Metric, dirty: Set<string>): void {
  const shown = (CARDS as readonly string[]).includes(metric.metric);
  if (shown && !coversRange(metric, rangeInfo(store.get().range).seconds)) dirty.add(metric.metric);
  store.dispatch({ type: "live-metric", metric });
}

async function rates(client: Api) {
  const query = { start: `-${RATE_SPAN + 60}s`, interval: "minute" };
  const [grouped, total] = await Promise.all([
    client.metric("events", { ...query, group_by: "event_type", limit: RATE_LAYERS }),
    client.metric("events", query),
  ]);
  return ratesFrom(grouped, total, 60, now(), RATE_LAYERS);
}

async function campaigns(client: Api, seconds: number) {
  const query = { start: `-${seconds}s`, group_by: "campaign_id", limit: 100 };
  return leaderboard(await Promise.all(LEADERBOARD.map((id) => client.metric(id, query))));
}

interface Job {
  /** Seconds between runs. */
  readonly every: number;
  /** Whether the answer depends on the chosen range. */
  readonly ranged?: boolean;
  run(): Promise<unknown>;
}

/** Runs each job at once and then at its pace; a job never overlaps itself, and a hidden page asks for nothing. */
function startJobs(jobs: readonly Job[]) {
  const due = jobs.map(() => 0);
  const busy = jobs.map(() => false);
  const run = (i: number): void => {
    const job = jobs[i]!;
    due[i] = now() + job.every;
    busy[i] = true;
    void job.run().finally(() => {
      busy[i] = false;
    });
  };
  const tick = (): void => {
    if (document.hidden) return;
    jobs.forEach((_, i) => {
      if (!busy[i] && now() >= due[i]!) run(i);
    });
  };
  queueMicrotask(tick);
  const timer = setInterval(tick, 500);
  return {
    runAll: () => jobs.forEach((_, i) => run(i)),
    runRanged: () => jobs.forEach((job, i) => job.ranged && run(i)),
    stop: () => clearInterval(timer),
  };
}
