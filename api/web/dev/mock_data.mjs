// Made-up answers in the shapes of the API. Deterministic but for the clock. Development and tests only.

export const HOUR = 3600;

const TYPES = [
  ["campaign_delivered", 0.41],
  ["campaign_viewed", 0.22],
  ["app_session_started", 0.13],
  ["campaign_clicked", 0.08],
  ["user_purchased", 0.05],
  ["product_viewed", 0.045],
  ["message_sent", 0.03],
  ["campaign_converted", 0.02],
  ["reward_earned", 0.015],
];

const definition = (id, name, unit, numerator, denominator, formula, min, max, text) => ({
  id,
  name,
  unit,
  numerator,
  denominator,
  formula,
  definition: text,
  owner: "Performance lead",
  refresh: "1 min",
  priority: "P0",
  healthy: { min, max },
  target: null,
  dimensions: ["campaign_id", "creative_id", "segment", "channel"],
  window: "24h",
  reading: "",
});

export const DICTIONARY = [
  definition("roas", "Return on ad spend", "ratio", "campaign_revenue", "spend", "campaign revenue ÷ spend", 2.5, 5, "Revenue earned for each unit of money spent on campaigns."),
  definition("ctr", "Click-through rate", "percent", "clicks", "impressions", "clicks ÷ impressions × 100", 1.5, 5, "Share of impressions that were clicked."),
  definition("conversion_rate", "Conversion rate", "percent", "users_converted", "users_clicked", "users converted ÷ users who clicked × 100", 5, 20, "Share of the users who clicked that also converted."),
  definition("cac", "Customer acquisition cost", "currency", "spend", "new_customers", "spend ÷ new customers", null, 20, "What a new customer costs: a user whose first purchase ever fell into the range."),
  definition("cpc", "Cost per click", "currency", "spend", "clicks", "spend ÷ clicks", 0.5, 2, "Spend for each click."),
  definition("aov", "Average order value", "currency", "purchase_value", "orders", "purchase value ÷ orders", 10, 50, "Average value of an order."),
  definition("engagement_rate", "Engagement rate", "percent", "users_opened", "users_sent", "users who opened ÷ users sent to × 100", 25, null, "Share of the users who were sent a campaign and opened it."),
  definition("impressions", "Impressions", "count", "impressions", null, "deliveries outside the holdout", 50000, null, "How often campaigns were shown."),
  definition("budget_utilization", "Budget utilisation", "percent", "spend", "budget", "spend ÷ budget × 100", 75, 105, "How much of the allocated budget is spent."),
  definition("revenue", "Revenue", "currency", "campaign_revenue", null, "sum of order values", null, null, "Revenue of campaigns."),
  definition("events", "Events", "count", "events", null, "stored events", null, null, "Every stored event."),
];

// [value in 24 h, numerator, denominator, previous value, completeness]
const LEVEL = {
  roas: [3.24, 48211.5, 14880.09, 3.41, 100],
  ctr: [3.82, 14688, 384502, 3.55, 100],
  conversion_rate: [8.84, 1284, 14525, 8.12, 99.9],
  cac: [22.4, 14880.09, 664, 19.9, 100],
  aov: [37.55, 48211.5, 1284, 36.9, 100],
  engagement_rate: [26.3, 21644, 82297, 25.1, 83.2],
  impressions: [384502, 384502, null, 362110, 100],
  budget_utilization: [71.2, 14880.09, 20899, 64.8, 100],
  revenue: [48211.5, 48211.5, null, 45120, 100],
  events: [1042288, 1042288, null, 990000, 100],
};

const CAMPAIGNS = Array.from({ length: 12 }, (_, i) => `${(0x3fa1c2 + i * 0x5113).toString(16).padStart(8, "0")}-7c1e-4b0a-9d2f-${(0xa0b1c2d3e4 + i * 99991).toString(16).padStart(12, "0")}`);
const WIDTH = { minute: 60, "5m": 300, hour: HOUR, day: 86400, week: 7 * 86400, month: 30 * 86400 };

export const iso = (seconds) => new Date(seconds * 1000).toISOString();

/** "-24h", "now" or an ISO time to unix seconds. */
export function when(text, now, otherwise) {
  if (!text) return otherwise;
  const found = /^-(\d+)([smhdw])$/.exec(text);
  if (found) return now - Number(found[1]) * { s: 1, m: 60, h: HOUR, d: 86400, w: 604800 }[found[2]];
  return text === "now" ? now : Date.parse(text) / 1000;
}

/** A repeatable number in [0, 1) for a position and a seed. */
const noise = (i, seed) => {
  const x = Math.sin(i * 12.9898 + seed * 78.233) * 43758.5453;
  return x - Math.floor(x);
};
const seedOf = (id) => [...id].reduce((sum, letter) => sum + letter.charCodeAt(0), 0);
const daily = (at) => 1 + 0.45 * Math.sin(((at % 86400) / 86400 - 0.3) * 2 * Math.PI);

function wave(id, at, width) {
  return (0.86 + 0.28 * noise(Math.floor(at / width), seedOf(id))) * (1 + 0.06 * Math.sin(at / (width * 5)));
}

function series(id, start, end, interval) {
  const width = WIDTH[interval];
  const points = [];
  for (let at = Math.floor(start / width) * width; at < end; at += width) {
    const count = LEVEL[id][2] === null;
    const part = Math.min(1, (end - at) / width);
    const value = count ? Math.round((LEVEL[id][0] / (86400 / width)) * wave(id, at, width) * daily(at) * part) : LEVEL[id][0] * wave(id, at, width);
    points.push({ start: iso(at), value, numerator: value, denominator: count ? null : 1 });
  }
  return points;
}

export function metric(id, query, now, drift = 0) {
  const start = when(query.get("start"), now, now - 86400);
  const end = when(query.get("end"), now, now);
  const entry = DICTIONARY.find((item) => item.id === id);
  const [level, numerator, denominator, before, completeness] = LEVEL[id];
  const earlier = now - end > 60;
  const scale = denominator === null ? (end - start) / 86400 : 1;
  const value = (earlier ? before : level) * scale * (1 + drift);
  const { min, max } = entry.healthy;
  const answer = {
    metric: id,
    name: entry.name,
    unit: entry.unit,
    value: denominator === null ? Math.round(value) : value,
    numerator: Math.round(numerator * (1 + drift) * 100) / 100,
    denominator,
    completeness,
    incomplete: completeness < 90,
    as_of: iso(now),
    start: iso(start),
    end: iso(end),
    healthy: entry.healthy,
    status: min !== null && value < min ? "low" : max !== null && value > max ? "high" : "healthy",
    groups: [],
    series: [],
  };
  const interval = query.get("interval");
  if (query.get("group_by") === "event_type") answer.groups = byType(start, end, interval, Number(query.get("limit") ?? 100));
  else if (query.get("group_by")) answer.groups = byCampaign(id, scale);
  if (interval && answer.groups.length === 0) answer.series = id === "events" ? eventSeries(start, end, interval, 1, 0) : series(id, start, end, interval);
  return answer;
}

function eventSeries(start, end, interval, part, seed) {
  const width = WIDTH[interval];
  const points = [];
  for (let at = Math.floor(start / width) * width; at < end; at += width) {
    const value = Math.round(412 * width * part * (0.9 + 0.2 * noise(at / width, seed)) * Math.min(1, (end - at) / width));
    points.push({ start: iso(at), value, numerator: value, denominator: null });
  }
  return points;
}

function byType(start, end, interval, limit) {
  return TYPES.slice(0, limit).map(([group, part], i) => {
    const points = eventSeries(start, end, interval ?? "minute", part, i + 1);
    const value = points.reduce((sum, point) => sum + point.value, 0);
    return { group, value, numerator: value, denominator: null, series: interval ? points : undefined };
  });
}

function byCampaign(id, scale) {
  const [level, numerator, denominator] = LEVEL[id];
  return CAMPAIGNS.map((group, i) => {
    const value = id === "cac" && i === 7 ? null : level * (0.45 + 1.1 * noise(i, seedOf(id))) * (denominator === null ? scale / 9 : 1);
    return { group, value, numerator: numerator / 12, denominator };
  });
}
