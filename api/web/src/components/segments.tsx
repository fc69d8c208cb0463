/** Behaviour patterns and custom segments side by side. */

import type { Segment } from "../api/insights";
import { integer, metricValue } from "../format/number";
import { words } from "../format/words";
import { useSelect } from "../state/store";
import { Empty, Loading, Panel, Unread } from "./panel";

export function Segments() {
  const segments = useSelect((state) => state.segments);
  const found = segments.value;
  return (
    <Panel id="segments" title="Segments" about={found ? `of ${integer(found.total_users)} users; spend and response of 90 days` : undefined} span={6} error={found && segments.error}>
      {found ? (
        found.segments.some((one) => one.users > 0) ? <Table segments={found.segments} /> : <Empty title="Nobody belongs to a segment yet">Patterns are assigned once a day, after midnight UTC.</Empty>
      ) : segments.error ? (
        <Unread what="segments" why={segments.error} />
      ) : (
        <Loading what="segments" />
      )}
    </Panel>
  );
}

export function segmentName(one: Segment): string {
  return one.kind === "pattern" ? words(one.name.toLowerCase()) : one.name;
}

function Table({ segments }: { readonly segments: readonly Segment[] }) {
  const most = Math.max(1, ...segments.map((one) => one.users));
  return (
    <div class="scroll" role="region" aria-label="Segment table" tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">Segment</th>
            <th scope="col">Users</th>
            <th scope="col" title="What a member spent in 90 days">Spend</th>
            <th scope="col" title="What a member paid so far">LTV</th>
            <th scope="col">CTR</th>
            <th scope="col">Conversion</th>
          </tr>
        </thead>
        <tbody>
          {segments.map((one) => (
            <tr key={one.id}>
              <td>{segmentName(one)}</td>
              <td>
                {integer(one.users)}
                <span class="money-bar short" aria-hidden="true">
                  <span class="bar">
                    <i style={{ width: `${(one.users / most) * 100}%` }} />
                  </span>
                </span>
              </td>
              <td>{metricValue(one.avg_spend, "currency")}</td>
              <td>{metricValue(one.avg_ltv, "currency")}</td>
              <td>{metricValue(one.ctr, "percent")}</td>
              <td>{metricValue(one.conversion_rate, "percent")}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
