import assert from "node:assert/strict";
import { test } from "node:test";
import { audit } from "../src/components/ledger_words";
import { compact, integer, metricValue, money, rate, seconds, share } from "../src/format/number";
import { ago, timeTicks, toSeconds } from "../src/format/time";
import { plural, shortId, shortIds, words } from "../src/format/words";

test("an unknown value is a dash, never a zero", () => {
  for (const text of [integer(null), compact(undefined), money(null), seconds(Number.NaN), rate(Infinity), share(null)]) assert.equal(text, "–");
  for (const unit of ["ratio", "percent", "currency", "count", "seconds", "number"] as const) assert.equal(metricValue(null, unit), "–");
});

test("a metric is written in its unit", () => {
  assert.equal(metricValue(3.236, "ratio"), "3.24×");
  assert.equal(metricValue(3.8199, "percent"), "3.82%");
  assert.equal(metricValue(38.04, "percent"), "38.0%");
  assert.equal(metricValue(14.2, "currency"), "$14.20");
  assert.equal(metricValue(384_502, "count"), "385K");
  assert.equal(metricValue(0, "count"), "0");
  assert.equal(metricValue(-0.5, "percent"), "-0.50%");
});

test("money keeps cents while they matter", () => {
  assert.equal(money(999.994), "$999.99");
  assert.equal(money(18_450.4), "$18,450");
  assert.equal(money(1_234_567), "$1.23M");
  assert.equal(money(5, "EUR"), "€5.00");
  assert.match(money(5, "not a currency"), /^5\.00 /);
});

test("counts under ten thousand stay exact", () => {
  assert.equal(compact(9_999), "9,999");
  assert.equal(compact(12_345), "12.3K");
  assert.equal(integer(1_063_402), "1,063,402");
});

test("durations read as a person says them", () => {
  assert.deepEqual([0.0424, 1.5, 42.2, 90, 120, 7200, 90_000].map(seconds), ["42 ms", "1.5 s", "42 s", "1 m 30 s", "2 m", "2 h", "1 d 1 h"]);
});

test("a share is never rounded to nothing or to everything", () => {
  assert.deepEqual([0, 0.0003, 0.004, 0.823, 0.9996, 1].map(share), ["0%", "<0.1%", "0.4%", "82%", "99.9%", "100%"]);
});

test("rates keep the digits that distinguish them", () => {
  assert.deepEqual([0, 0.25, 12.44, 5210.4].map(rate), ["0/s", "0.25/s", "12.4/s", "5,210/s"]);
});

test("times are understood as ISO text, ClickHouse text, seconds and milliseconds", () => {
  const at = Date.UTC(2026, 10, 21, 9, 30) / 1000;
  assert.equal(toSeconds("2026-11-21T09:30:00.000Z"), at);
  assert.equal(toSeconds("2026-11-21 09:30:00"), at);
  assert.equal(toSeconds(at), at);
  assert.equal(toSeconds(at * 1000), at);
  for (const bad of ["", "yesterday", null, undefined, Number.NaN]) assert.equal(toSeconds(bad), null);
});

test("ages are rounded down and a missing time is never", () => {
  assert.deepEqual([0, 59, 61, 7300, 200_000].map((age) => ago(1_000_000 - age, 1_000_000)), ["just now", "59 s ago", "1 min ago", "2 h ago", "2 d ago"]);
  assert.equal(ago(null, 5), "never");
});

test("time ticks lie inside the domain, evenly, and not too many", () => {
  const ticks = timeTicks(1_000_030, 1_001_830, 6);
  assert.ok(ticks.length >= 3 && ticks.length <= 6);
  assert.ok(ticks.every((tick) => tick >= 1_000_030 && tick <= 1_001_830 && tick % 300 === 0));
  assert.deepEqual(timeTicks(5, 5, 4), []);
});

test("identifiers become words and long ones stay recognisable", () => {
  assert.equal(words("campaign_delivered"), "Campaign delivered");
  assert.equal(words(""), "");
  assert.equal(shortId("3fa1c2d4-7c1e-4b0a-9d2f-a0b1c2d3e4f5"), "3fa1c2d4…e4f5");
  assert.equal(shortId("u-048213"), "u-048213");
  assert.equal(shortIds("cbeb74d3-97cf-4a4f-8b0b-f5c8c5ad980e has spent 116 %"), "cbeb74d3…980e has spent 116 %");
  assert.equal(plural(1, "alert"), "alert");
  assert.equal(plural(0, "alert"), "alerts");
});

test("the ledger says when it was checked, and what was wrong then", () => {
  const found = (difference: number, minutes: number, age: number) => audit({ checked_at: "2026-11-21T12:00:00.000Z", difference, minutes }, 1_795_262_400 + age);
  assert.deepEqual(found(0, 0, 12), { at: 1_795_262_400, when: "12 s ago", missed: false, wrong: null });
  assert.equal(found(4213, 1, 12).wrong, "4,213 in 1 minute");
  assert.equal(found(7, 2, 12).wrong, "7 in 2 minutes");
  assert.ok(found(0, 0, 300).missed);
  assert.deepEqual(audit({ checked_at: null, difference: 0, minutes: 0 }, 0), { at: null, when: "never", missed: true, wrong: null });
});
