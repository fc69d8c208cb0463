// Made-up answers about customers, in the API's shapes.

const KPIS = {
  netRevenue: ["Net revenue", "currency", 184220.4, 171900.1],
  mrr: ["Monthly run rate", "currency", 184900.2, 172400],
  netRevenueRetention: ["Net revenue retention", "percent", 96.2, 97.1],
  customers: ["Customers", "count", 4210, 3980],
  newCustomers: ["New customers", "count", 612, 655],
  churnRate: ["Customer churn rate", "percent", 8.4, 9.1],
  avgRevenuePerUser: ["Revenue per active user (ARPU)", "currency", 14.8, 14.1],
  cac: ["Customer acquisition cost", "currency", 17.2, 15.9],
  ltv_cac_ratio: ["Lifetime value to acquisition cost", "ratio", 4.31, 4.4],
  mau: ["Monthly active users", "count", 12447, 12190],
  stickiness: ["Stickiness", "percent", 21.4, 21.4],
  engagementScore: ["Engagement score", "score", 58.2, 55.9],
};

export function kpis() {
  const of = (value) => Object.fromEntries(Object.entries(KPIS).map(([id, one]) => [id, value(one)]));
  return {
    kpis: of((one) => one[2]),
    details: of((one) => ({ value: one[2], unit: one[1] })),
    comparison: of((one) => ({ value: one[3], change: one[2] - one[3], changePercent: (100 * (one[2] - one[3])) / one[3] })),
    definitions: of((one) => ({ name: one[0], definition: `${one[0]}, as declared.`, formula: "a ÷ b" })),
  };
}

export function funnel(empty) {
  const users = empty ? [0, 0, 0, 0, 0] : [24110, 6204, 3977, 1120, 431];
  const names = ["Impression", "Click", "App open or landing", "Item saved", "Purchase"];
  const rate = (n, of) => (of ? (100 * n) / of : null);
  return {
    name: "Campaign to purchase",
    window_hours: 168,
    settled: false,
    overallConversionRate: rate(users[4], users[0]),
    funnel: names.map((step, i) => ({
      step,
      users: users[i],
      conversionRate: rate(users[i], users[Math.max(0, i - 1)]),
      rateFromFirst: rate(users[i], users[0]),
      medianTimeToNextStep: empty || i === 4 ? null : [3.2, 0.1, 5.5, 26][i],
    })),
  };
}

export function cohorts(empty) {
  const months = ["June", "July", "August", "September", "October", "November"];
  const rates = [100, 61, 48, 41, 37, 35, 34];
  const month = (i, at) => (at < months.length - i ? Math.max(0, rates[at] + ((i * 7 + at * 3) % 9) - 4) : null);
  const named = (value) => Object.fromEntries(rates.map((_, at) => [`month${at}`, value(at)]));
  return {
    cohorts: empty ? [] : months.map((name, i) => ({ cohortId: `2026-${i + 6}`, cohortName: `${name} 2026`, cohortSize: 800 + i * 37, retention: named((at) => (at === 0 ? 100 : month(i, at))) })),
    averageRetention: named((at) => (empty || at > 5 ? null : rates[at])),
    insights: empty ? [] : ["September 2026 keeps 45 % in month 2, 4 points above the average of 41 %."],
  };
}

export function segments(empty) {
  const rows = [["HIGH_SPENDER", 410, 312.4], ["FREQUENT_SHOPPER", 1280, 164.1], ["WEEKEND_SHOPPER", 905, 88.2], ["SEASONAL_SPENDER", 620, 71.9], ["DEAL_SEEKER", 1710, 44], ["NEW_USER", 880, 21.5], ["DORMANT", 2140, 0]];
  const one = ([name, users, spend]) => ({ id: name, name, kind: "pattern", users: empty ? 0 : users, share: users / 80, avg_spend: spend, avg_ltv: spend * 2.7, ctr: spend ? 2 + spend / 90 : null, conversion_rate: spend ? 6 + spend / 40 : null });
  const custom = { ...one(["Good, and slipping", 96, 120]), id: "5a1e2b0c-7d64-5f0e-9b4f-3c8d1a2e6f70", kind: "custom" };
  return { total_users: empty ? 0 : 8120, segments: [...rows.map(one), custom] };
}

export function heatmap(empty) {
  const days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
  const cells = days.flatMap((day, d) =>
    Array.from({ length: 24 }, (_, hour) => {
      const evening = Math.exp(-((hour - 20) ** 2) / 12) + 0.5 * Math.exp(-((hour - 12) ** 2) / 8) + (d > 4 ? 0.25 * Math.exp(-((hour - 15) ** 2) / 20) : 0);
      const share = Math.min(1, evening / 1.02);
      return { day, hour, count: Math.round(share * 340), users: Math.round(share * 200), per_hour: share * 85, share_of_peak: empty ? null : share, level: "low" };
    }),
  );
  return { timezone: "Europe/Berlin", count: empty ? 0 : 18231, cells, insights: empty ? [] : ["Busiest: friday 20:00 (Europe/Berlin) with 84 an hour."] };
}

export function attribution(empty) {
  const rows = [["email", 212, [9120, 7410, 8204.5, 7990.2], 0.84], ["push", 431, [8210, 10480, 9377.25, 9105.8], 2.1], ["in_app", 188, [4105, 3020, 3512.75, 3671], null], ["sms", 64, [990, 1515, 1330.5, 1658], -0.32]];
  const names = ["last", "first", "linear", "markov"];
  const spread = (values) => (100 * (Math.max(...values) - Math.min(...values))) / (values.reduce((a, b) => a + b) / values.length);
  const group = ([name, touched, credit, roi]) => ({
    group: name,
    conversions_touched: touched,
    models: Object.fromEntries(names.map((model, at) => [model, { conversions: credit[at] / 40, revenue: credit[at], roi: model === "last" ? roi : null }])),
    spread_percent: spread(credit),
  });
  return { by: "channel", lookback_days: 30, unattributed: { conversions: empty ? 0 : 51, revenue: empty ? 0 : 2214.4 }, groups: empty ? [] : rows.map(group) };
}

export function corrections(empty, now) {
  const rows = [["2026-11-20", "clicked", 1204, 1207, ["ctr", "cpc"], 40], ["2026-11-20", "sent", 30112, 30140, ["ctr", "impressions", "engagement_rate", "average_frequency"], 40], ["2026-11-18", "purchased", 311, 310, ["aov", "revenue"], 5400]];
  const one = ([day, counted, before, after, metrics, seconds]) => ({ found_at: new Date((now - seconds) * 1000).toISOString(), day, counted, metrics, dimension: null, value: null, events: { before, after, change: after - before }, amount: null, users: null });
  const whole = rows.map(one);
  const split = { ...whole[0], dimension: "campaign_id", value: "3f1e" };
  return { corrections: empty ? [] : [whole[0], split, ...whole.slice(1)], total: empty ? 0 : 4 };
}
