import assert from "node:assert/strict";
import { test } from "node:test";
import { backoffDelay } from "../src/api/backoff";
import { api, ApiError, problemMessage, queryString } from "../src/api/client";
import { limiter } from "../src/api/limit";
import { sseParser, type SseMessage } from "../src/api/sse";

function parse(...pieces: string[]): { messages: SseMessage[]; beats: number; retry: number | null } {
  const messages: SseMessage[] = [];
  let beats = 0;
  const parser = sseParser((message) => messages.push(message), () => (beats += 1));
  for (const piece of pieces) parser.push(piece);
  return { messages, beats, retry: parser.retry() };
}

test("a message is its event name and its data", () => {
  const { messages } = parse('event: metric\ndata: {"a":1}\nid: 7\n\n');
  assert.deepEqual(messages, [{ event: "metric", data: '{"a":1}', id: "7" }]);
});

test("cutting the stream anywhere gives the same messages", () => {
  const stream = "event: a\r\ndata: one\r\ndata: two\r\n\r\n: heartbeat\n\ndata:plain\n\nevent: c\rdata: x\r\r";
  const whole = parse(stream, "\n").messages;
  assert.equal(whole.length, 3);
  assert.equal(whole[0]?.data, "one\ntwo");
  for (let cut = 0; cut <= stream.length; cut += 1) {
    assert.deepEqual(parse(stream.slice(0, cut), stream.slice(cut), "\n").messages, whole, `cut at ${cut}`);
  }
});

test("comments are heartbeats and retry is remembered", () => {
  const { messages, beats, retry } = parse(": heartbeat\n\n: heartbeat\n\nretry: 2500\n\n");
  assert.deepEqual(messages, []);
  assert.equal(beats, 2);
  assert.equal(retry, 2500);
});

test("an event without data is not a message", () => {
  assert.deepEqual(parse("event: hello\n\n").messages, []);
});

test("back-off grows, is jittered, and is capped", () => {
  assert.equal(backoffDelay(0, 1), 500);
  assert.equal(backoffDelay(0, 0), 250);
  assert.equal(backoffDelay(3, 1), 4000);
  assert.equal(backoffDelay(500, 1), 20_000);
});

test("an error answer says what its problem document says", () => {
  assert.equal(problemMessage(422, '{"title":"Invalid parameter","detail":"interval must be one of …"}'), "interval must be one of …");
  assert.equal(problemMessage(422, '{"title":"Invalid parameter","detail":""}'), "Invalid parameter");
  assert.equal(problemMessage(502, "<html>bad gateway</html>"), "The API answered with status 502.");
  assert.equal(problemMessage(401, ""), "The key was not accepted.");
});

test("queries leave out what is not set and escape the rest", () => {
  assert.equal(queryString({ start: "-24h", group_by: undefined, campaign_id: "a&b" }), "?start=-24h&campaign_id=a%26b");
  assert.equal(queryString({}), "");
});

test("the key travels in the Authorization header only", async () => {
  const asked: { url: string; init: RequestInit | undefined }[] = [];
  const fetcher = async (url: unknown, init?: RequestInit): Promise<Response> => {
    asked.push({ url: String(url), init });
    return new Response('{"metrics":[]}');
  };
  await api("secret", fetcher as typeof fetch).dictionary();
  assert.equal(asked[0]?.url, "/api/v1/analytics/metrics");
  assert.deepEqual(asked[0]?.init?.headers, { Authorization: "Bearer secret", Accept: "application/json" });
});

test("a failing read is an ApiError with a sentence for people", async () => {
  const refusing = api("k", (async () => new Response('{"detail":"This key is not known."}', { status: 401 })) as typeof fetch);
  await assert.rejects(refusing.pipeline("-1h"), (error) => error instanceof ApiError && error.unauthorised && error.message === "This key is not known.");
  const away = api("k", (async () => Promise.reject(new TypeError("failed"))) as typeof fetch);
  await assert.rejects(away.alerts(), { message: "The API cannot be reached." });
  const page = api("k", (async () => new Response("<html>")) as typeof fetch);
  await assert.rejects(page.evaluations(), { message: "The API's answer is not JSON." });
});

test("reads queue behind a limit, in order, and a failure frees its place", async () => {
  const limited = limiter(2);
  const begun: number[] = [];
  const ends: (() => void)[] = [];
  const call = (i: number) => limited(() => {
    begun.push(i);
    return new Promise<number>((done, fail) => ends.push(() => (i === 0 ? fail(new Error("no")) : done(i))));
  });
  const calls = [0, 1, 2, 3].map(call);
  await Promise.resolve();
  assert.deepEqual(begun, [0, 1]);
  ends[0]!();
  await assert.rejects(calls[0]!, /no/);
  await new Promise((next) => setTimeout(next, 0));
  assert.deepEqual(begun, [0, 1, 2]);
  ends[1]!();
  ends[2]!();
  assert.deepEqual(await Promise.all(calls.slice(1, 3)), [1, 2]);
  await new Promise((next) => setTimeout(next, 0));
  ends[3]!();
  assert.equal(await calls[3], 3);
});
