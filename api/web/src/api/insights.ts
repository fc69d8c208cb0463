/** What the API answers about customers: KPIs, funnels, cohorts, segments, credit, the heatmap. Null: cannot be told. */

export type KpiUnit = "count" | "percent" | "ratio" | "currency" | "minutes" | "score";

export interface Kpis {
  readonly kpis: Readonly<Record<string, number | null>>;
  readonly details: Readonly<Record<string, { readonly unit: KpiUnit }>>;
  readonly comparison: Readonly<Record<string, { readonly value: number | null; readonly change: number | null; readonly changePercent: number | null }>> | null;
  readonly definitions: Readonly<Record<string, { readonly name: string; readonly definition: string; readonly formula: string }>>;
}

export interface FunnelStep {
  readonly step: string;
  readonly users: number;
  /** Percent of the step before; of the first, 100. */
  readonly conversionRate: number | null;
  readonly rateFromFirst: number | null;
  /** Hours. */
  readonly medianTimeToNextStep: number | null;
}

export interface Funnel {
  readonly name: string;
  readonly window_hours: number;
  readonly funnel: readonly FunnelStep[];
  readonly overallConversionRate: number | null;
  readonly settled: boolean;
}

export interface Cohort {
  readonly cohortId: string;
  readonly cohortName: string;
  readonly cohortSize: number;
  /** Percent by month0, month1 …; null while a month is not over. */
  readonly retention: Readonly<Record<string, number | null>>;
}

export interface Cohorts {
  readonly cohorts: readonly Cohort[];
  readonly averageRetention: Readonly<Record<string, number | null>>;
  readonly insights: readonly string[];
}

export interface Segment {
  readonly id: string;
  readonly name: string;
  readonly kind: "pattern" | "custom";
  readonly users: number;
  readonly share: number | null;
  readonly avg_ltv: number | null;
  readonly avg_spend: number | null;
  readonly ctr: number | null;
  readonly conversion_rate: number | null;
}

export interface Segments {
  readonly total_users: number;
  readonly segments: readonly Segment[];
}

export interface HeatCell {
  readonly day: string;
  readonly hour: number;
  readonly count: number;
  readonly per_hour: number | null;
  /** 0 to 1 of the busiest hour. */
  readonly share_of_peak: number | null;
}

export interface Heatmap {
  readonly timezone: string;
  readonly count: number;
  readonly cells: readonly HeatCell[];
  readonly insights: readonly string[];
}

export interface Credit {
  readonly conversions: number;
  readonly revenue: number;
  /** A share of the spend. */
  readonly roi: number | null;
}

export interface Attributed {
  readonly group: string;
  readonly conversions_touched: number;
  readonly models: Readonly<Record<string, Credit>>;
  readonly spread_percent: number | null;
}

export interface Attribution {
  readonly by: string;
  readonly lookback_days: number;
  readonly unattributed: { readonly conversions: number; readonly revenue: number };
  readonly groups: readonly Attributed[];
}

export interface Moved {
  readonly before: number;
  readonly after: number;
  readonly change: number;
}

export interface Correction {
  readonly found_at: string;
  readonly day: string;
  readonly counted: string;
  readonly metrics: readonly string[];
  /** Null: of the whole day. */
  readonly dimension: string | null;
  readonly value: string | null;
  readonly events: Moved;
}
