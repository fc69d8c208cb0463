/** Who came back, month by month after the sign-up. */

import type { Cohorts as Found } from "../api/insights";
import { decimals, integer, known } from "../format/number";
import { useSelect } from "../state/store";
import { Empty, Loading, Panel, Unread } from "./panel";

const MOST_ROWS = 8;

export function Cohorts() {
  const cohorts = useSelect((state) => state.cohorts);
  const found = cohorts.value;
  return (
    <Panel id="cohorts" title="Retention" about="users active in each 30 days after they signed up" span={6} error={found && cohorts.error}>
      {found ? (
        found.cohorts.length > 0 ? <Grid cohorts={found} /> : <Empty title="Nobody has signed up yet" />
      ) : cohorts.error ? (
        <Unread what="cohorts" why={cohorts.error} />
      ) : (
        <Loading what="cohorts" />
      )}
    </Panel>
  );
}

/** The months that any cohort has a value for: month0, month1 … */
export function shownMonths(found: Found): string[] {
  const months = Object.keys(found.averageRetention);
  return months.filter((month) => found.cohorts.some((one) => known(one.retention[month])));
}

function Grid({ cohorts }: { readonly cohorts: Found }) {
  const months = shownMonths(cohorts);
  const rows = cohorts.cohorts.slice(-MOST_ROWS);
  return (
    <div class="scroll" role="region" aria-label="Retention table" tabIndex={0}>
      <table class="heat-table">
        <thead>
          <tr>
            <th scope="col">Signed up</th>
            <th scope="col">Users</th>
            {months.map((month) => (
              <th scope="col" key={month}>
                {month.replace("month", "Month ")}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((one) => (
            <tr key={one.cohortId}>
              <td>{one.cohortName}</td>
              <td>{integer(one.cohortSize)}</td>
              {months.map((month) => (
                <Value key={month} percent={one.retention[month] ?? null} />
              ))}
            </tr>
          ))}
        </tbody>
        <tfoot>
          <tr>
            <td>All</td>
            <td>{integer(cohorts.cohorts.reduce((sum, one) => sum + one.cohortSize, 0))}</td>
            {months.map((month) => (
              <Value key={month} percent={cohorts.averageRetention[month] ?? null} />
            ))}
          </tr>
        </tfoot>
      </table>
      {cohorts.insights.length > 0 && <p class="said">{cohorts.insights[0]}</p>}
    </div>
  );
}

function Value({ percent }: { readonly percent: number | null }) {
  if (!known(percent)) return <td class="open" title="not over yet" />;
  return (
    <td>
      <span class="heat" style={{ "--share": percent / 100 }}>
        {decimals(percent, 0)}%
      </span>
    </td>
  );
}
