/** The page's whole state, and how each thing that happens changes it. Pure: no clock, no network. */

import type { Phase } from "../api/live";
import type { Alert, Anomaly, ChurnRisk, Metric, MetricDefinition, ModelEvaluation, Pipeline, ServiceStatus } from "../api/types";
import type { Attribution, Cohorts, Correction, Funnel, Heatmap, Kpis, Segments } from "../api/insights";
import { rangeInfo, type Range } from "../format/time";
import { coversRange, type Row } from "./metrics";
import { trail, type Rates } from "./rates";

/** Something read from the API: the last good value stays while a newer read fails. */
export interface Resource<T> {
  readonly value: T | null;
  readonly error: string | null;
}

export interface Card {
  readonly current: Metric | null;
  readonly previous: Metric | null;
  readonly series: Metric["series"];
  readonly error: string | null;
}

export interface Connection {
  readonly phase: Phase;
  readonly detail: string;
  readonly retryAt: number | null;
  /** When anything last arrived, unix seconds by the reader's clock. */
  readonly heardAt: number | null;
}

export interface State {
  readonly range: Range;
  readonly tenant: string;
  readonly connection: Connection;
  readonly service: ServiceStatus;
  readonly dictionary: ReadonlyMap<string, MetricDefinition>;
  readonly cards: Readonly<Record<string, Card>>;
  readonly pipeline: Resource<Pipeline>;
  readonly throughput: readonly { readonly at: number; readonly value: number }[];
  readonly rates: Resource<Rates>;
  readonly leaderboard: Resource<readonly Row[]>;
  readonly alerts: Resource<readonly Alert[]>;
  readonly anomalies: Resource<readonly Anomaly[]>;
  readonly churn: Resource<ChurnRisk>;
  readonly evaluations: Resource<readonly ModelEvaluation[]>;
  readonly kpis: Resource<Kpis>;
  readonly funnel: Resource<Funnel>;
  readonly cohorts: Resource<Cohorts>;
  readonly segments: Resource<Segments>;
  readonly heatmap: Resource<Heatmap>;
  readonly attribution: Resource<Attribution>;
  readonly corrections: Resource<readonly Correction[]>;
}

export type ResourceName =
  | "pipeline" | "rates" | "leaderboard" | "alerts" | "anomalies" | "churn" | "evaluations"
  | "kpis" | "funnel" | "cohorts" | "segments" | "heatmap" | "attribution" | "corrections";

export type Action =
  | { readonly type: "range"; readonly range: Range }
  | { readonly type: "phase"; readonly phase: Phase; readonly detail: string; readonly retryAt: number | null }
  | { readonly type: "alive"; readonly now: number }
  | { readonly type: "hello"; readonly tenant: string }
  | { readonly type: "service"; readonly service: ServiceStatus }
  | { readonly type: "dictionary"; readonly metrics: readonly MetricDefinition[] }
  | { readonly type: "card"; readonly id: string; readonly range: Range; readonly card: Partial<Card> }
  | { readonly type: "live-metric"; readonly metric: Metric }
  | { readonly type: "live-pipeline"; readonly pipeline: Pipeline; readonly now: number }
  | { readonly type: "loaded"; readonly name: ResourceName; readonly range: Range; readonly value: unknown }
  | { readonly type: "failed"; readonly name: ResourceName; readonly message: string }
  | { readonly type: "alert-state"; readonly id: string; readonly state: Alert["state"] };

const EMPTY: Resource<never> = { value: null, error: null };
const BLANK: Card = { current: null, previous: null, series: undefined, error: null };
const TRAIL = 120;

export function initialState(range: Range): State {
  return {
    range,
    tenant: "",
    connection: { phase: "connecting", detail: "", retryAt: null, heardAt: null },
    service: { status: "ok", detail: "" },
    dictionary: new Map(),
    cards: {},
    pipeline: EMPTY,
    throughput: [],
    rates: EMPTY,
    leaderboard: EMPTY,
    alerts: EMPTY,
    anomalies: EMPTY,
    churn: EMPTY,
    evaluations: EMPTY,
    kpis: EMPTY,
    funnel: EMPTY,
    cohorts: EMPTY,
    segments: EMPTY,
    heatmap: EMPTY,
    attribution: EMPTY,
    corrections: EMPTY,
  };
}

export function reduce(state: State, action: Action): State {
  switch (action.type) {
    case "range":
      return action.range === state.range ? state : forRange(state, action.range);
    case "phase": {
      const { phase, retryAt } = action;
      // While the next try is under way, the reason for it still holds.
      const detail = phase === "connecting" ? state.connection.detail : action.detail;
      return { ...state, connection: { ...state.connection, phase, detail, retryAt } };
    }
    case "alive":
      return { ...state, connection: { ...state.connection, heardAt: action.now } };
    case "hello":
      return { ...state, tenant: action.tenant };
    case "service":
      return { ...state, service: action.service };
    case "dictionary":
      return { ...state, dictionary: new Map(action.metrics.map((metric) => [metric.id, metric])) };
    case "card":
      return action.range === state.range ? withCard(state, action.id, action.card) : state;
    case "live-metric":
      return liveMetric(state, action.metric);
    case "live-pipeline":
      return livePipeline(state, action.pipeline, action.now);
    case "loaded":
      return action.range === state.range ? { ...state, [action.name]: { value: action.value, error: null } } : state;
    case "failed":
      return { ...state, [action.name]: { ...state[action.name], error: action.message } };
    case "alert-state":
      return alertState(state, action.id, action.state);
  }
}

/** Another range: what depends on it is unknown until it has been read; the rest stays. */
function forRange(state: State, range: Range): State {
  return { ...state, range, cards: {}, pipeline: EMPTY, leaderboard: EMPTY, anomalies: EMPTY };
}

function withCard(state: State, id: string, change: Partial<Card>): State {
  const card = { ...(state.cards[id] ?? BLANK), ...change };
  return { ...state, cards: { ...state.cards, [id]: card } };
}

function liveMetric(state: State, metric: Metric): State {
  if (!coversRange(metric, rangeInfo(state.range).seconds)) return state;
  return withCard(state, metric.metric, { current: metric, error: null });
}

/** Throughput is of this moment whatever the range; the ledger belongs to the range it was counted over. */
function livePipeline(state: State, pipeline: Pipeline, now: number): State {
  const speed = pipeline.events_per_second;
  const throughput = speed === null ? state.throughput : trail(state.throughput, now, speed, TRAIL);
  const fits = state.range === "24h";
  return { ...state, throughput, pipeline: fits ? { value: pipeline, error: null } : state.pipeline };
}

function alertState(state: State, id: string, next: Alert["state"]): State {
  if (!state.alerts.value) return state;
  const alerts = state.alerts.value
    .map((alert) => (alert.alert_id === id ? { ...alert, state: next } : alert))
    .filter((alert) => alert.state !== "resolved");
  return { ...state, alerts: { ...state.alerts, value: alerts } };
}
