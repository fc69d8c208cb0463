/** What the API answers, as its OpenAPI document describes it. Times are ISO-8601 strings, money plain numbers. */

export type MetricUnit = "percent" | "ratio" | "currency" | "count";

export interface Healthy {
  readonly min: number | null;
  readonly max: number | null;
}

export interface MetricDefinition {
  readonly id: string;
  readonly name: string;
  readonly definition: string;
  readonly formula: string;
  readonly unit: MetricUnit;
  readonly owner: string;
  readonly refresh: string;
  readonly healthy: Healthy | null;
  readonly target: number | null;
  readonly numerator: string;
  readonly denominator: string | null;
  readonly dimensions: readonly string[];
  readonly window: string;
}

export interface MetricPoint {
  readonly start: string;
  readonly value: number | null;
  readonly numerator?: number | null;
  readonly denominator?: number | null;
}

export interface MetricGroup {
  readonly group: string;
  readonly value: number | null;
  readonly numerator: number | null;
  readonly denominator: number | null;
  readonly series?: readonly MetricPoint[];
}

export interface Metric {
  readonly metric: string;
  readonly name?: string;
  readonly unit: MetricUnit;
  readonly value: number | null;
  readonly numerator: number | null;
  readonly denominator: number | null;
  /** 0 to 100. */
  readonly completeness: number | null;
  readonly incomplete: boolean;
  readonly as_of: string | null;
  readonly start: string;
  readonly end: string;
  readonly status: "healthy" | "low" | "high" | null;
  readonly groups?: readonly MetricGroup[];
  readonly series?: readonly MetricPoint[];
}

export interface Pipeline {
  readonly start: string;
  readonly end: string;
  readonly received: number;
  /** Of the received: what a collector that was killed had not counted, or Kafka had without telling it. */
  readonly recovered: number;
  /** Not acknowledged; the sender was told to send again. */
  readonly abandoned: number;
  readonly accepted: number;
  readonly rejected: Readonly<Record<string, number>>;
  readonly duplicates: number;
  /** Events whose id stands for another event. */
  readonly conflicts: number;
  readonly late: number;
  readonly suppressed: number;
  readonly stored: number;
  readonly dead_letters: number;
  readonly in_flight: number;
  readonly freshness_seconds: { readonly p50: number | null; readonly p95: number | null; readonly p99: number | null };
  readonly difference: { readonly received: number; readonly accepted: number };
  /** The job that checks every minute against the tables: when it was last at work, and what was wrong in the range. */
  readonly reconciliation: { readonly checked_at: string | null; readonly difference: number; readonly minutes: number };
  readonly closed_until: string | null;
  readonly events_per_second: number | null;
  readonly as_of: string | null;
}

export type Severity = "critical" | "warning" | "info";

export interface Alert {
  readonly alert_id: string;
  readonly rule_id: string;
  readonly subject: string;
  readonly severity: Severity;
  readonly state: "open" | "acknowledged" | "resolved";
  readonly title: string;
  readonly evidence: unknown;
  readonly value: number | null;
  readonly threshold: number | null;
  readonly link: string;
  readonly raised_at: string;
  readonly updated_at: string;
  readonly acknowledged_at: string | null;
  readonly acknowledged_by: string;
  readonly resolved_at: string | null;
}

export interface Anomaly {
  readonly anomaly_id: string;
  readonly metric_id: string;
  readonly dimension: string;
  readonly bucket: string;
  readonly type: string;
  readonly severity: Severity;
  readonly expected: number | null;
  readonly actual: number | null;
  readonly deviation_percent: number | null;
  readonly score: number | null;
  readonly detector: string;
  readonly detected_at: string;
}

export interface AtRiskUser {
  readonly userId: string;
  readonly churnProbability: number;
  readonly riskTier: string;
  readonly topRiskFactors: readonly { readonly factor: string; readonly importance: number }[];
  readonly recommendedAction: string | null;
  readonly scoredAt: string | null;
  readonly lastActivity: string | null;
  readonly currentLtv: number | null;
}

export interface ChurnRisk {
  readonly atRiskUsers: readonly AtRiskUser[];
  readonly summary: {
    readonly totalAtRisk: number;
    readonly criticalRisk: number;
    readonly highRisk: number;
    readonly mediumRisk: number;
    readonly potentialRevenueAtRisk: number | null;
  };
  readonly modelVersion: string | null;
  readonly as_of: string | null;
}

export interface UserChurn {
  readonly user_id: string;
  readonly probability: number;
  readonly tier: string;
  readonly base: number;
  readonly contributions: readonly { readonly feature: string; readonly contribution: number; readonly value: number | null }[];
  readonly model_version: string;
  readonly as_of: string | null;
}

export interface ModelEvaluation {
  readonly model: string;
  readonly model_version: string;
  readonly as_of: string | null;
  readonly metrics: Readonly<Record<string, { readonly value: number; readonly n: number }>>;
  readonly history: readonly { readonly as_of: string; readonly metric: string; readonly value: number; readonly n: number }[];
}

export interface Hello {
  readonly version: string;
  readonly tenant: string;
}

export interface ServiceStatus {
  readonly status: "ok" | "degraded";
  readonly detail: string;
}
