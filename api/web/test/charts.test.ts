import assert from "node:assert/strict";
import { test } from "node:test";
import { bandPath, extent, linear, linePath, nearest, niceCeil, stack, thin, valueTicks } from "../src/charts/scale";

const same = (value: number): number => value;

test("value ticks are round, start at zero and reach the maximum", () => {
  for (const max of [0.03, 1, 7.2, 412, 99_999]) {
    const ticks = valueTicks(max);
    assert.equal(ticks[0], 0);
    assert.ok(ticks.at(-1)! >= max * (1 - 1e-9), `${max}: ${ticks.join()}`);
    assert.ok(ticks.length <= 6);
  }
  assert.deepEqual(valueTicks(400), [0, 100, 200, 300, 400]);
});

test("nice numbers are the next 1, 2, 2.5 or 5 of their magnitude", () => {
  assert.deepEqual([0, 0.3, 1, 1.1, 21, 260, 7000].map(niceCeil), [1, 0.5, 1, 2, 25, 500, 10_000]);
});

test("a gap breaks the line", () => {
  assert.equal(linePath([{ at: 0, value: 1 }, { at: 1, value: null }, { at: 2, value: 3 }, { at: 3, value: 4 }], same, same), "M0 1h0M2 3L3 4");
});

test("layers stack without gaps or overlaps", () => {
  assert.deepEqual(stack([[1, 2], [3, 4]]), [
    { lower: [0, 0], upper: [1, 2] },
    { lower: [1, 2], upper: [4, 6] },
  ]);
  assert.deepEqual(stack([]), []);
  assert.equal(bandPath([0, 1], [2, 3], [0, 0], same, same), "M0 2L1 3L1 0L0 0Z");
});

test("scales survive an empty domain and extents skip what is unknown", () => {
  assert.equal(linear([5, 5], [0, 10])(5), 5);
  assert.equal(linear([0, 10], [0, 100])(2.5), 25);
  assert.deepEqual(extent([null, 3, Number.NaN, -1]), [-1, 3]);
  assert.equal(extent([null]), null);
  assert.equal(nearest([0, 10, 20], 14), 1);
  assert.equal(nearest([], 1), -1);
});

test("thinning keeps the newest point and stays within the limit", () => {
  const points = Array.from({ length: 1001 }, (_, i) => i);
  const kept = thin(points, 100);
  assert.ok(kept.length <= 100);
  assert.equal(kept.at(-1), 1000);
  assert.deepEqual(thin([1, 2], 100), [1, 2]);
});
