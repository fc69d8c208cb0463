// Made-up pipeline, alerts, anomalies, churn and model answers. Development and tests only.
import { iso } from "./mock_data.mjs";

export function pipeline(start, now, empty) {
  const n = (value) => (empty ? 0 : value);
  return {
    start: iso(start),
    end: iso(now),
    received: n(1063402),
    recovered: n(214),
    abandoned: n(96),
    accepted: n(1045120),
    rejected: empty ? {} : { future_timestamp: 9120, invalid_uuid: 5204, unknown_event_type: 2811, missing_field: 930, not_finite: 144, negative_amount: 73 },
    duplicates: n(2802),
    conflicts: n(7),
    late: n(318),
    suppressed: 0,
    stored: n(1042288),
    dead_letters: 0,
    in_flight: n(30),
    freshness_seconds: empty ? { p50: null, p95: null, p99: null } : { p50: 0.214, p95: 0.482, p99: 0.731 },
    difference: { received: 0, accepted: 0 },
    reconciliation: { checked_at: iso(now - (now % 15)), difference: 0, minutes: 0 },
    closed_until: iso(Math.floor(now / 60) * 60 - 60),
    events_per_second: empty ? 0 : Math.round((412 + 60 * Math.sin(now / 9) + 22 * Math.sin(now / 2.3)) * 10) / 10,
    as_of: iso(now),
    series: [],
  };
}

export function alerts(now) {
  const alert = (id, rule, severity, state, title, evidence, value, threshold, age) => ({
    alert_id: id,
    rule_id: rule,
    subject: "",
    severity,
    state,
    title,
    evidence,
    value,
    threshold,
    link: `/#/alerts/${id}`,
    raised_at: iso(now - age),
    updated_at: iso(now - age / 2),
    acknowledged_at: state === "acknowledged" ? iso(now - age / 3) : null,
    acknowledged_by: state === "acknowledged" ? "ops@example.org" : "",
    resolved_at: null,
    resolved_by: "",
  });
  return [
    alert("a1", "ingestion_stopped", "critical", "open", "campaign_clicked stopped arriving", { event_type: "campaign_clicked", events_last_5_min: 0, usual_5_min: 9840, since: iso(now - 340) }, 0, 4920, 212),
    alert("a2", "cac_high", "warning", "open", "Acquisition cost is above its healthy range", { metric: "cac", window: "24h", numerator: 14880.09, denominator: 664 }, 22.4, 20, 5400),
    alert("a3", "validation_rate", "warning", "acknowledged", "Validation pass rate under 99%", { rejected: 18282, received: 1063402, top_reason: "future_timestamp" }, 98.28, 99, 16200),
    alert("a4", "late_rate", "info", "open", "More late events than usual", { late: 318, share_percent: 0.03 }, 0.03, 0.02, 40000),
  ];
}

export function anomalies(now) {
  const anomaly = (id, metric, type, severity, expected, actual, age, detector, dimension = "") => ({
    anomaly_id: id,
    metric_id: metric,
    dimension,
    bucket: iso(now - age),
    type,
    severity,
    expected,
    actual,
    deviation_percent: expected === 0 ? null : ((actual - expected) / expected) * 100,
    score: 0.97,
    detector,
    detected_at: iso(now - age + 4),
  });
  return [
    anomaly("n1", "campaign_clicked", "zero", "critical", 1968, 0, 330, "zero_where_expected"),
    anomaly("n2", "revenue", "drop", "critical", 2010, 604, 340, "rolling_median"),
    anomaly("n3", "impressions", "spike", "warning", 16020, 25310, 9000, "rolling_median", "segment: WEEKEND_SHOPPER"),
    anomaly("n4", "ctr", "drop", "info", 3.8, 2.6, 30000, "half_space_trees"),
  ];
}

const FACTORS = ["days_since_active", "sessions_30d", "days_since_purchase", "push_open_rate", "monetary_value", "email_open_rate"];

export function churn(now) {
  const users = Array.from({ length: 8 }, (_, i) => ({
    userId: `u-${(48213 + i * 7919).toString().padStart(6, "0")}`,
    userName: null,
    email: null,
    churnProbability: 0.97 - i * 0.058,
    riskTier: i < 3 ? "critical" : i < 6 ? "high" : "medium",
    topRiskFactors: [0, 1, 2].map((k) => ({ factor: FACTORS[(i + k) % FACTORS.length], importance: [0.52, 0.27, 0.12][k] })),
    recommendedAction: i % 2 ? "win_back_cashback" : "re_engagement_push",
    lastActivity: iso(now - 86400 * (26 - i * 2)),
    monthsActive: 4.2,
    currentLtv: 180 - i * 11,
  }));
  return {
    atRiskUsers: users,
    summary: { totalAtRisk: 1284, criticalRisk: 212, highRisk: 431, mediumRisk: 641, potentialRevenueAtRisk: 61240.5 },
    modelVersion: "churn-1.0.0+3",
    as_of: iso(now),
  };
}

export const NO_CHURN = {
  atRiskUsers: [],
  summary: { totalAtRisk: 0, criticalRisk: 0, highRisk: 0, mediumRisk: 0, potentialRevenueAtRisk: 0 },
  modelVersion: null,
  as_of: null,
};

export function userChurn(id, now) {
  const parts = [1.42, 0.71, 0.36, -0.28, -0.13, 0.09];
  return {
    user_id: id,
    probability: 0.91,
    tier: "critical",
    model: "churn",
    model_version: "churn-1.0.0+3",
    prediction_id: "p1",
    as_of: iso(now),
    base: -1.2,
    contributions: FACTORS.map((feature, i) => ({ feature, contribution: parts[i], value: 21 - i * 3 })),
    features: {},
    label_delay_days: 30,
    note: "",
  };
}

export function evaluations(now) {
  const history = [];
  for (let day = 0; day < 30; day += 1) {
    const value = 0.62 + 0.21 * (1 - Math.exp(-day / 8)) + 0.008 * Math.sin(day * 1.7);
    history.push({ as_of: iso(now - 86400 * (29 - day)), metric: "auc", value, n: 40 + day * 38 });
  }
  const last = history.at(-1);
  return [
    {
      model: "churn",
      model_version: "1.0.0+3",
      as_of: iso(now),
      metrics: { auc: { value: last.value, n: last.n }, log_loss: { value: 0.412, n: last.n }, brier: { value: 0.131, n: last.n }, calibration_error: { value: 0.024, n: last.n } },
      history,
    },
  ];
}
