/** When users are engaged: hours of the week, darker where more happens. */

import type { HeatCell, Heatmap as Found } from "../api/insights";
import { decimals, known } from "../format/number";
import { words } from "../format/words";
import { useSelect } from "../state/store";
import { Empty, Loading, Panel, Unread } from "./panel";

const HOURS = Array.from({ length: 24 }, (_, hour) => hour);

export function Heatmap() {
  const heatmap = useSelect((state) => state.heatmap);
  const found = heatmap.value;
  return (
    <Panel id="heatmap" title="Engagement by hour" about={found ? `four weeks, ${found.timezone}` : undefined} span={6} error={found && heatmap.error}>
      {found ? (
        found.count > 0 ? <Grid heat={found} /> : <Empty title="No engagement in the last four weeks" />
      ) : heatmap.error ? (
        <Unread what="heatmap" why={heatmap.error} />
      ) : (
        <Loading what="the heatmap" />
      )}
    </Panel>
  );
}

/** The cells of a day in the order of its hours, day after day. */
export function byDay(cells: readonly HeatCell[]): [string, HeatCell[]][] {
  const days = new Map<string, HeatCell[]>();
  for (const cell of cells) days.set(cell.day, [...(days.get(cell.day) ?? []), cell]);
  return [...days].map(([day, found]) => [day, found.sort((a, b) => a.hour - b.hour)]);
}

function Grid({ heat }: { readonly heat: Found }) {
  return (
    <>
      <div class="scroll" role="region" aria-label="Engagement by day and hour" tabIndex={0}>
        <table class="week">
          <thead>
            <tr>
              <th scope="col">
                <i class="hidden-text">Day</i>
              </th>
              {HOURS.map((hour) => (
                <th scope="col" key={hour}>
                  {hour % 6 === 0 ? hour : <i class="hidden-text">{hour}</i>}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {byDay(heat.cells).map(([day, cells]) => (
              <tr key={day}>
                <th scope="row">{words(day).slice(0, 3)}</th>
                {cells.map((cell) => (
                  <td key={cell.hour} title={`${words(day)} ${cell.hour}:00: ${told(cell)}`}>
                    <span class="heat" style={{ "--share": cell.share_of_peak ?? 0 }}>
                      <i class="hidden-text">{told(cell)}</i>
                    </span>
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {heat.insights.length > 0 && <p class="said">{heat.insights[0]}</p>}
    </>
  );
}

function told(cell: HeatCell): string {
  return known(cell.per_hour) ? `${decimals(cell.per_hour, 1)} an hour` : "never seen";
}
