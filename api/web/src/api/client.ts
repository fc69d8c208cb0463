/** Reads and actions over the API. Every failure is an ApiError that says what to do, never a bare exception. */

import { limiter } from "./limit";
import type { Attribution, Cohorts, Correction, Funnel, Heatmap, Kpis, Segments } from "./insights";
import type { Alert, Anomaly, ChurnRisk, Metric, MetricDefinition, ModelEvaluation, Pipeline, UserChurn } from "./types";

export const BASE = "/api/v1/analytics";

/** Reads at a time. Browsers open six connections to a server, and the live stream and actions need theirs. */
const AT_ONCE = 4;

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }

  /** The key is missing, unknown or revoked: the person has to sign in again. */
  get unauthorised(): boolean {
    return this.status === 401;
  }
}

export type Query = Readonly<Record<string, string | number | undefined>>;

export interface Api {
  readonly key: string;
  dictionary(): Promise<readonly MetricDefinition[]>;
  metric(id: string, query: Query): Promise<Metric>;
  /** Several about the same, in their order: what they have in common is read once. */
  metrics(ids: readonly string[], query: Query): Promise<readonly Metric[]>;
  pipeline(start: string): Promise<Pipeline>;
  alerts(): Promise<readonly Alert[]>;
  alert(id: string): Promise<Alert>;
  anomalies(start: string): Promise<readonly Anomaly[]>;
  churn(limit: number): Promise<ChurnRisk>;
  userChurn(userId: string): Promise<UserChurn>;
  evaluations(): Promise<readonly ModelEvaluation[]>;
  /** Of the last 30 days, beside those before. */
  kpis(): Promise<Kpis>;
  /** The first that the taxonomy pack declares, of the last 30 days. */
  funnel(): Promise<Funnel>;
  cohorts(months: number): Promise<Cohorts>;
  segments(): Promise<Segments>;
  heatmap(timezone: string): Promise<Heatmap>;
  /** Of the last 30 days, by channel. */
  attribution(models: readonly string[]): Promise<Attribution>;
  /** Of the last 7 days, newest first. */
  corrections(): Promise<readonly Correction[]>;
  act(alertId: string, action: "acknowledge" | "resolve"): Promise<void>;
}

export function api(key: string, fetcher: typeof fetch = (input, init) => fetch(input, init)): Api {
  const limited = limiter(AT_ONCE);
  const get = <T>(path: string, query: Query = {}): Promise<T> => limited(() => request<T>(fetcher, key, "GET", path + queryString(query)));
  return {
    key,
    dictionary: async () => (await get<{ metrics: MetricDefinition[] }>("/metrics")).metrics,
    metric: (id, query) => get(`/metrics/${encodeURIComponent(id)}`, query),
    metrics: async (ids, query) => (await get<{ metrics: Metric[] }>("/query", { metrics: ids.join(","), ...query })).metrics,
    pipeline: (start) => get("/pipeline", { start }),
    alerts: async () => (await get<{ alerts: Alert[] }>("/alerts", { state: "open,acknowledged", limit: 50 })).alerts,
    alert: (id) => get(`/alerts/${encodeURIComponent(id)}`),
    anomalies: async (start) => (await get<{ anomalies: Anomaly[] }>("/anomalies", { start, limit: 20 })).anomalies,
    churn: (limit) => get("/churn-risk", { limit }),
    userChurn: (userId) => get(`/users/${encodeURIComponent(userId)}/churn_risk`),
    evaluations: async () => (await get<{ models: ModelEvaluation[] }>("/evaluations")).models,
    kpis: () => get("/kpis", { compare: "previous_period" }),
    funnel: () => get("/funnel"),
    cohorts: (months) => get("/cohorts", { months }),
    segments: () => get("/segments"),
    heatmap: (timezone) => get("/heatmap", { timezone }),
    attribution: (models) => get("/attribution", { model: models.join(","), limit: 1 }),
    corrections: async () => (await get<{ corrections: Correction[] }>("/corrections", { limit: 200 })).corrections,
    act: async (alertId, action) => {
      await request(fetcher, key, "POST", `/alerts/${encodeURIComponent(alertId)}/${action}`);
    },
  };
}

export function queryString(query: Query): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value));
  const text = search.toString();
  return text === "" ? "" : `?${text}`;
}

/** The readable part of an error answer: problem+json's detail or title, else the status. */
export function problemMessage(status: number, body: string): string {
  try {
    const problem = JSON.parse(body) as { detail?: unknown; title?: unknown };
    for (const text of [problem.detail, problem.title]) if (typeof text === "string" && text !== "") return text;
  } catch {
    // Not JSON: a proxy's page, say. The status says more than its HTML.
  }
  if (status === 401) return "The key was not accepted.";
  if (status === 403) return "This key's role does not allow that.";
  return `The API answered with status ${status}.`;
}

async function request<T>(fetcher: typeof fetch, key: string, method: string, path: string): Promise<T> {
  let answer: Response;
  try {
    answer = await fetcher(BASE + path, {
      method,
      headers: { Authorization: `Bearer ${key}`, Accept: "application/json" },
      cache: "no-store",
      signal: AbortSignal.timeout(20_000),
    });
  } catch (error) {
    const late = error instanceof DOMException && error.name === "TimeoutError";
    throw new ApiError(0, late ? "The API took longer than 20 s to answer." : "The API cannot be reached.");
  }
  const body = await answer.text();
  if (!answer.ok) throw new ApiError(answer.status, problemMessage(answer.status, body));
  try {
    return JSON.parse(body) as T;
  } catch {
    throw new ApiError(answer.status, "The API's answer is not JSON.");
  }
}
