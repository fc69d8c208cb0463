/** Metrics that left their usual course: what was expected, what came, and who noticed. */

import type { Anomaly } from "../api/types";
import { decimals, integer, known, metricValue } from "../format/number";
import { ago, moment, rangeInfo, toSeconds } from "../format/time";
import { shortIds, words } from "../format/words";
import { useNow } from "../state/clock";
import { metricName, metricUnit } from "../state/metrics";
import { useSelect } from "../state/store";
import { Empty, Loading, Panel, Unread } from "./panel";

export function Anomalies() {
  const anomalies = useSelect((state) => state.anomalies);
  const range = useSelect((state) => state.range);
  const list = anomalies.value ?? [];
  return (
    <Panel id="anomalies" title="Anomalies" about={`last ${rangeInfo(range).label}`} span={6} error={anomalies.value && anomalies.error}>
      {list.length > 0 ? (
        <ul class="rows">
          {list.map((anomaly) => (
            <Row key={anomaly.anomaly_id} anomaly={anomaly} />
          ))}
        </ul>
      ) : anomalies.value ? (
        <Empty title="Nothing unusual" good>
          Every metric stayed within what its last seven days lead us to expect.
        </Empty>
      ) : anomalies.error ? (
        <Unread what="anomalies" why={anomalies.error} />
      ) : (
        <Loading what="anomalies" />
      )}
    </Panel>
  );
}

function Row({ anomaly }: { readonly anomaly: Anomaly }) {
  const dictionary = useSelect((state) => state.dictionary);
  const now = useNow(10_000);
  const name = dictionary.has(anomaly.metric_id) ? metricName(anomaly.metric_id, dictionary) : words(anomaly.metric_id);
  const unit = dictionary.has(anomaly.metric_id) ? metricUnit(anomaly.metric_id, dictionary) : "number";
  const bucket = toSeconds(anomaly.bucket);
  return (
    <li>
      <div class="row-head">
        <span class={`badge ${anomaly.severity}`}>{words(anomaly.severity)}</span>
        <span class="row-title">
          {name} {whatHappened(anomaly)}
        </span>
        <Compare expected={anomaly.expected} actual={anomaly.actual} />
      </div>
      <div class="row-meta">
        <span>
          expected <b>{metricValue(anomaly.expected, unit)}</b>, got <b>{metricValue(anomaly.actual, unit)}</b>
        </span>
        {anomaly.dimension && <span title={anomaly.dimension}>{shortIds(anomaly.dimension)}</span>}
        <span title={moment(bucket)}>{ago(bucket, now)}</span>
        <span title={known(anomaly.score) ? `score ${decimals(anomaly.score, 2)}` : ""}>{words(anomaly.detector)}</span>
      </div>
    </li>
  );
}

/** "down 70%", "up 58%", "fell to zero", or the kind as it is named. */
export function whatHappened(anomaly: Pick<Anomaly, "type" | "deviation_percent" | "actual">): string {
  if (anomaly.type === "zero" || anomaly.type === "missing") return "fell to zero";
  const change = anomaly.deviation_percent;
  if (known(change) && Math.abs(change) >= 0.5) return `${change > 0 ? "up" : "down"} ${integer(Math.abs(change))}%`;
  return words(anomaly.type).toLowerCase();
}

/** Two bars on one scale: expected above, actual below. */
function Compare({ expected, actual }: { readonly expected: number | null; readonly actual: number | null }) {
  const top = Math.max(Math.abs(expected ?? 0), Math.abs(actual ?? 0));
  if (top === 0) return null;
  const width = (value: number | null): string => `${(Math.abs(value ?? 0) / top) * 100}%`;
  return (
    <span class="compare" aria-hidden="true">
      <span class="bar">
        <i style={{ width: width(expected) }} />
      </span>
      <span class="bar bad">
        <i style={{ width: width(actual) }} />
      </span>
    </span>
  );
}
