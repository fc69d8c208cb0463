/** How long an event takes from the collector's answer to a readable number. */

import type { Pipeline } from "../api/types";
import { known, seconds, share } from "../format/number";
import { moment, rangeInfo, toSeconds } from "../format/time";
import { useSelect } from "../state/store";
import { Empty, Loading, Panel, Unread } from "./panel";

/** The promise: p95 under one second. */
const GOAL = 1;

export function Freshness() {
  const pipeline = useSelect((state) => state.pipeline);
  const range = useSelect((state) => state.range);
  const fresh = pipeline.value?.freshness_seconds;
  const p95 = fresh?.p95 ?? null;
  return (
    <Panel
      id="freshness"
      title="Freshness"
      about={`collector to readable, last ${rangeInfo(range).label}`}
      span={4}
      aside={known(p95) && <span class={`badge ${p95 <= GOAL ? "ok" : "critical"}`}>{p95 <= GOAL ? "On target" : "Slow"}</span>}
    >
      {pipeline.value && fresh ? known(p95) ? <Reading fresh={fresh} pipeline={pipeline.value} /> : <Empty title="Nothing stored in this range" /> : pipeline.error ? <Unread what="freshness" why={pipeline.error} /> : <Loading what="freshness" />}
    </Panel>
  );
}

interface ReadingProps {
  readonly pipeline: Pipeline;
  readonly fresh: { readonly p50: number | null; readonly p95: number | null; readonly p99: number | null };
}

function Reading({ fresh, pipeline }: ReadingProps) {
  const marks = (["p50", "p95", "p99"] as const).map((name) => ({ name, value: fresh[name] }));
  const top = Math.max(GOAL * 1.6, ...marks.map((mark) => (mark.value ?? 0) * 1.1));
  return (
    <>
      <dl class="fresh">
        {marks.map((mark) => (
          <div key={mark.name}>
            <dt>{mark.name}</dt>
            <dd class={mark.name === "p95" && (mark.value ?? 0) > GOAL ? "bad" : ""}>{seconds(mark.value)}</dd>
          </div>
        ))}
      </dl>
      <div class="fresh-scale" aria-hidden="true">
        <div class="goal" style={{ width: `${(GOAL / top) * 100}%` }} />
        {marks.map(
          (mark) =>
            mark.value !== null && <i key={mark.name} class={mark.value > GOAL ? "over" : ""} style={{ left: `${(mark.value / top) * 100}%` }} />,
        )}
        <span style={{ left: "0" }}>0</span>
        <span style={{ left: `calc(${(GOAL / top) * 100}% - 26px)` }}>target {seconds(GOAL)}</span>
      </div>
      <dl class="facts">
        <dt>Ledger closed until</dt>
        <dd>{moment(toSeconds(pipeline.closed_until))}</dd>
        <dt>Late, stored and counted in their own minute</dt>
        <dd>{pipeline.stored > 0 ? share(pipeline.late / pipeline.stored) : "–"}</dd>
      </dl>
    </>
  );
}
