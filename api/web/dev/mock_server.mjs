// Serves api/static with made-up data in the API's shapes, under the strict content security policy the page is built for.
// Development and tests only: node dev/mock_server.mjs [port, 0 = any] [busy | empty | broken | flaky]
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { DICTIONARY, iso, metric, when } from "./mock_data.mjs";
import { attribution, cohorts, corrections, funnel, heatmap, kpis, segments } from "./mock_insights.mjs";
import { alerts, anomalies, churn, evaluations, NO_CHURN, pipeline, userChurn } from "./mock_events.mjs";

const STATIC = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "static");
const KEY = "mock-key";
const PORT = Number(process.argv[2] ?? 8090);
const SCENARIO = process.argv[3] ?? "busy";
const TYPE = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const states = new Map();
const now = () => Date.now() / 1000;
const empty = SCENARIO === "empty";
const currentAlerts = () =>
  empty ? [] : alerts(now()).map((alert) => ({ ...alert, state: states.get(alert.alert_id) ?? alert.state })).filter((alert) => alert.state !== "resolved");

function json(response, status, body, type = "application/json") {
  response.writeHead(status, { "content-type": type, "cache-control": "no-store" });
  response.end(JSON.stringify(body));
}

function problem(response, status, title, detail) {
  json(response, status, { type: "about:blank", title, status, detail }, "application/problem+json");
}

function blank(answer) {
  const none = answer.denominator === null ? 0 : null;
  return { ...answer, value: none, numerator: 0, denominator: answer.denominator === null ? null : 0, status: null, groups: [], series: [] };
}

function read(path, query) {
  const moment = now();
  const start = when(query.get("start"), moment, moment - 86400);
  const one = /^\/metrics\/([a-z_]+)$/.exec(path);
  const user = /^\/users\/([^/]+)\/churn_risk$/.exec(path);
  if (path === "/query") return { metrics: query.get("metrics").split(",").map((id) => read(`/metrics/${id}`, query)) };
  if (one && DICTIONARY.some((item) => item.id === one[1])) {
    const answer = metric(one[1], query, moment);
    return empty ? blank(answer) : answer;
  }
  if (user) return userChurn(decodeURIComponent(user[1]), moment);
  const answers = {
    "/metrics": () => ({ metrics: DICTIONARY }),
    "/pipeline": () => pipeline(start, moment, empty),
    "/alerts": () => ({ alerts: currentAlerts(), total: currentAlerts().length }),
    "/anomalies": () => ({ anomalies: empty ? [] : anomalies(moment), total: 4 }),
    "/churn-risk": () => (empty ? NO_CHURN : churn(moment)),
    "/evaluations": () => ({ models: empty ? [] : evaluations(moment) }),
    "/kpis": () => kpis(),
    "/funnel": () => funnel(empty),
    "/cohorts": () => cohorts(empty),
    "/segments": () => segments(empty),
    "/heatmap": () => heatmap(empty),
    "/attribution": () => attribution(empty),
    "/corrections": () => corrections(empty, moment),
  };
  return answers[path]?.();
}

function live(response) {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  const send = (event, data) => response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  send("hello", { version: "0.1.0", tenant: "demo", interval_seconds: 1, metrics: DICTIONARY.map((item) => item.id) });
  let beat = 0;
  const timer = setInterval(() => {
    beat += 1;
    const moment = now();
    send("pipeline", pipeline(moment - 86400, moment, empty));
    if (!empty) send("metric", metric("impressions", new URLSearchParams(), moment, beat * 0.0004));
    if (!empty && beat % 3 === 0) send("metric", metric("roas", new URLSearchParams(), moment, beat * 0.001));
    if (beat % 5 === 0) send("alerts", { alerts: currentAlerts() });
    if (SCENARIO === "flaky" && beat % 6 === 0) response.destroy();
  }, 1000);
  response.on("close", () => clearInterval(timer));
}

function answer(request, response, url) {
  const path = url.pathname.slice("/api/v1/analytics".length);
  if (request.headers.authorization !== `Bearer ${KEY}`) return problem(response, 401, "Unauthorised", "This secret key is not known.");
  if (path === "/live") return SCENARIO === "broken" ? problem(response, 503, "Unavailable", "The warehouse cannot be reached.") : live(response);
  const action = /^\/alerts\/([^/]+)\/(acknowledge|resolve)$/.exec(path);
  if (action && request.method === "POST") {
    const state = action[2] === "resolve" ? "resolved" : "acknowledged";
    // Slower than a read, as a real server's write is: the page must not keep what it read meanwhile.
    setTimeout(() => {
      states.set(action[1], state);
      json(response, 200, { alert_id: action[1], state, changed: true });
    }, 300);
    return;
  }
  if (SCENARIO === "broken" && path !== "/metrics") return problem(response, 503, "Unavailable", "The warehouse cannot be reached.");
  const one = /^\/alerts\/([^/]+)$/.exec(path);
  if (one) {
    const found = alerts(now()).find((alert) => alert.alert_id === one[1]);
    if (!found) return problem(response, 404, "Not found", `There is no alert ${one[1]}.`);
    return json(response, 200, { ...found, state: states.get(found.alert_id) ?? found.state, resolved_at: iso(now() - 60) });
  }
  const body = read(path, url.searchParams);
  return body === undefined ? problem(response, 404, "Not found", `Nothing at ${path}.`) : json(response, 200, body);
}

async function file(response, path) {
  const name = normalize(path === "/" ? "/index.html" : path).replace(/^([./\\])+/, "");
  try {
    const bytes = await readFile(join(STATIC, name));
    response.writeHead(200, { "content-type": TYPE[extname(name)] ?? "application/octet-stream", "content-security-policy": POLICY, "x-content-type-options": "nosniff" });
    response.end(bytes);
  } catch {
    problem(response, 404, "Not found", `No file ${name}; build the page first: python api/web/build.py`);
  }
}

const server = createServer((request, response) => {
  const url = new URL(request.url ?? "/", "http://127.0.0.1");
  if (url.pathname.startsWith("/api/v1/analytics")) answer(request, response, url);
  else void file(response, url.pathname);
});
server.listen(PORT, "127.0.0.1", () => console.log(`mock ready http://127.0.0.1:${server.address().port}/#key=${KEY} (${SCENARIO}, ${iso(now())})`));
