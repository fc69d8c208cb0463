/** Reads from the API into the store. A failed read leaves its message there and the last good value in place. */

import type { Api, Query } from "../api/client";
import type { Metric } from "../api/types";
import { rangeInfo, type RangeInfo } from "../format/time";
import { now } from "./clock";
import { cardIds, columnIds, leaderboard } from "./metrics";
import type { Card, ResourceName } from "./model";
import { ratesFrom } from "./rates";
import type { Store } from "./store";

/** The event-rate chart always shows the last half hour by the minute. Seconds. */
export const RATE_SPAN = 1800;
const RATE_LAYERS = 7;
const CHURN_USERS = 8;
const COHORT_MONTHS = 6;
/** Models of attribution that the page shows. */
export const CREDITED_BY = ["last", "first", "linear", "markov"] as const;

export interface Reader {
  /** Values and small charts of all cards. */
  cards(): Promise<unknown>;
  /** Values of some cards: what the stream said has moved. */
  values(ids: readonly string[]): Promise<unknown>;
  previous(): Promise<unknown>;
  rates(): Promise<void>;
  pipeline(): Promise<void>;
  campaigns(): Promise<void>;
  alerts(): Promise<void>;
  anomalies(): Promise<void>;
  churn(): Promise<void>;
  evaluations(): Promise<void>;
  kpis(): Promise<void>;
  funnel(): Promise<void>;
  cohorts(): Promise<void>;
  segments(): Promise<void>;
  heatmap(): Promise<void>;
  attribution(): Promise<void>;
  corrections(): Promise<void>;
}

export function reader(client: Api, store: Store, message: (error: unknown) => string): Reader {
  const range = (): RangeInfo => rangeInfo(store.get().range);
  const shown = (): string[] => cardIds(store.get().dictionary);
  const start = (): string => range().start;

  /** `ranged`: of the range that was chosen when it was asked for; what is not holds whatever is chosen meanwhile. */
  async function load<T>(name: ResourceName, read: () => Promise<T>, ranged = true): Promise<void> {
    const { range } = store.get();
    try {
      const value = await read();
      store.dispatch({ type: "loaded", name, range: ranged ? range : store.get().range, value });
    } catch (error) {
      store.dispatch({ type: "failed", name, message: message(error) });
    }
  }

  /** Values of some cards in one call. When that fails each is asked for by itself: one must not take the others along. */
  async function cards(ids: readonly string[], query: () => Query, shown: (metric: Metric) => Partial<Card>): Promise<void> {
    if (ids.length === 0) return;
    const { range } = store.get();
    const show = (id: string, metric: Metric): void => store.dispatch({ type: "card", id, range, card: { ...shown(metric), error: null } });
    const alone = async (id: string): Promise<void> => {
      try {
        show(id, await client.metric(id, query()));
      } catch (error) {
        store.dispatch({ type: "card", id, range, card: { error: message(error) } });
      }
    };
    try {
      (await client.metrics(ids, query())).forEach((metric, i) => show(ids[i]!, metric));
    } catch {
      await Promise.all(ids.map(alone));
    }
  }

  return {
    cards: () => cards(shown(), () => ({ start: start(), interval: range().interval }), (current) => ({ current, series: current.series })),
    values: (ids) => cards(ids, () => ({ start: start() }), (current) => ({ current })),
    previous: () => cards(shown(), () => ({ start: range().before, end: start() }), (previous) => ({ previous })),
    rates: () => load("rates", () => readRates(client)),
    pipeline: () => load("pipeline", () => client.pipeline(start())),
    campaigns: () => load("leaderboard", () => readCampaigns(client, columnIds(store.get().dictionary), start())),
    alerts: () => load("alerts", client.alerts),
    anomalies: () => load("anomalies", () => client.anomalies(start())),
    churn: () => load("churn", () => client.churn(CHURN_USERS), false),
    evaluations: () => load("evaluations", client.evaluations, false),
    kpis: () => load("kpis", client.kpis, false),
    funnel: () => load("funnel", client.funnel, false),
    cohorts: () => load("cohorts", () => client.cohorts(COHORT_MONTHS), false),
    segments: () => load("segments", client.segments, false),
    heatmap: () => load("heatmap", () => client.heatmap(zone()), false),
    attribution: () => load("attribution", () => client.attribution(CREDITED_BY), false),
    corrections: () => load("corrections", client.corrections, false),
  };
}

async function readRates(client: Api) {
  const query = { start: `-${RATE_SPAN + 60}s`, interval: "minute" };
  const [grouped, total] = await Promise.all([
    client.metric("events", { ...query, group_by: "event_type", limit: RATE_LAYERS }),
    client.metric("events", query),
  ]);
  return ratesFrom(grouped, total, 60, now(), RATE_LAYERS);
}

async function readCampaigns(client: Api, columns: readonly string[], start: string) {
  return columns.length === 0 ? [] : leaderboard(await client.metrics(columns, { start, group_by: "campaign_id", limit: 100 }));
}

/** The reader's own time zone, by its IANA name; UTC where the browser knows none. */
function zone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
}
