import assert from "node:assert/strict";
import { test } from "node:test";
import type { Api, Query } from "../src/api/client";
import type { Metric } from "../src/api/types";
import { initialState, reduce } from "../src/state/model";
import { reader, type Reader } from "../src/state/reader";
import { createStore, type Store } from "../src/state/store";

function answered(id: string, query: Query): Metric {
  return { metric: id, value: id.length, series: query["interval"] ? [] : undefined } as unknown as Metric;
}

/** A page whose API answers all metrics but those that fail; `asked`: what it asked for. */
function page(failing: readonly string[]): { store: Store; read: Reader; asked: string[] } {
  const asked: string[] = [];
  const give = (id: string, query: Query): Metric => {
    if (failing.includes(id)) throw new Error(`no ${id}`);
    return answered(id, query);
  };
  const client = {
    metric: async (id: string, query: Query) => (asked.push(id), give(id, query)),
    metrics: async (ids: readonly string[], query: Query) => (asked.push(ids.join()), ids.map((id) => give(id, query))),
  } as unknown as Api;
  const store = createStore(initialState("24h"), reduce);
  return { store, read: reader(client, store, (error) => (error as Error).message), asked };
}

test("all cards come in one call, with their small charts, and then what they were before", async () => {
  const { store, read, asked } = page([]);
  await read.cards();
  await read.previous();
  assert.equal(asked.length, 2);
  assert.equal(Object.keys(store.get().cards).length, 8);
  const { roas, ctr } = store.get().cards;
  assert.deepEqual([roas?.current?.metric, roas?.series, roas?.previous?.metric, roas?.error], ["roas", [], "roas", null]);
  assert.equal(ctr?.current?.value, 3);
});

test("a card that fails does not take the others along", async () => {
  const { store, read, asked } = page(["cac"]);
  await read.cards();
  const { cac, ctr } = store.get().cards;
  assert.deepEqual([cac?.error, cac?.current], ["no cac", null]);
  assert.deepEqual([ctr?.error, ctr?.current?.metric], [null, "ctr"]);
  assert.equal(asked.length, 9);
});

test("what has moved is read in one call, and without a chart", async () => {
  const { store, read, asked } = page([]);
  await read.cards();
  await read.values(["ctr", "roas"]);
  assert.equal(asked[1], "ctr,roas");
  assert.deepEqual(store.get().cards["ctr"]?.series, []);
  await read.values([]);
  assert.equal(asked.length, 2);
});
