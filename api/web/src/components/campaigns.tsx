/** Campaigns side by side, sortable by any metric. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { MetricDefinition } from "../api/types";
import { known, metricValue } from "../format/number";
import { rangeInfo } from "../format/time";
import { shortId } from "../format/words";
import { columnIds, metricName, metricUnit, sortRows, type Row } from "../state/metrics";
import { useTarget } from "../state/address";
import { useSelect } from "../state/store";
import { Down, Up } from "./icons";
import { Empty, Loading, Panel, Unread } from "./panel";

const SHORT: Readonly<Record<string, string>> = {
  impressions: "Impressions",
  ctr: "CTR",
  conversion_rate: "Conversion",
  roas: "ROAS",
  cac: "CAC",
  revenue: "Revenue",
};
const FIRST = 10;

interface Sorting {
  readonly by: string;
  readonly descending: boolean;
}

export function Campaigns() {
  const board = useSelect((state) => state.leaderboard);
  const range = useSelect((state) => state.range);
  const [sorting, setSorting] = useState<Sorting>({ by: "roas", descending: true });
  const [all, setAll] = useState(false);
  const rows = board.value?.filter((row) => row.group !== "") ?? [];
  const target = useTarget("campaigns");
  const sorted = sortRows(rows, sorting.by, sorting.descending);
  const everything = all || sorted.findIndex((row) => row.group === target) >= FIRST;
  const absent = target !== null && board.value !== null && !rows.some((row) => row.group === target);
  return (
    <Panel id="campaigns" title="Campaigns" about={`last ${rangeInfo(range).label}`} span={8} error={absent ? `Campaign ${shortId(target)} was not active in this range.` : board.value && board.error}>
      {rows.length > 0 ? (
        <>
          <div class="scroll" role="region" aria-label="Campaign table" tabIndex={0}>
            <Table rows={everything ? sorted : sorted.slice(0, FIRST)} target={target} sorting={sorting} sort={setSorting} all={rows} />
          </div>
          {rows.length > FIRST && (
            <button type="button" class="button small below" onClick={() => setAll(!everything)}>
              {everything ? `Show the first ${FIRST}` : `Show all ${rows.length}`}
            </button>
          )}
        </>
      ) : board.value ? (
        <Empty title="No campaign was active in this range">Choose a longer range, or start a campaign.</Empty>
      ) : board.error ? (
        <Unread what="campaigns" why={board.error} />
      ) : (
        <Loading what="campaigns" />
      )}
    </Panel>
  );
}

interface TableProps {
  readonly rows: readonly Row[];
  readonly all: readonly Row[];
  /** The campaign that the page's address names: it is marked and takes the focus. */
  readonly target: string | null;
  readonly sorting: Sorting;
  readonly sort: (sorting: Sorting) => void;
}

function Table({ rows, all, target, sorting, sort }: TableProps) {
  const dictionary = useSelect((state) => state.dictionary);
  const columns = columnIds(dictionary);
  const marked = useRef<HTMLTableRowElement>(null);
  const there = rows.some((row) => row.group === target);
  useEffect(() => {
    if (there) marked.current?.focus();
  }, [target, there]);
  const top = Math.max(0, ...all.map((row) => row.values["revenue"] ?? 0));
  return (
    <table>
      <thead>
        <tr>
          <th scope="col">Campaign</th>
          {columns.map((id) => (
            <Heading key={id} id={id} name={metricName(id, dictionary)} sorting={sorting} sort={sort} />
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row, i) => (
          <tr key={row.group} {...(row.group === target ? { ref: marked, class: "marked", tabIndex: -1 } : {})}>
            <td title={row.group}>
              <span class="rank">{i + 1}</span>
              {shortId(row.group)}
            </td>
            {columns.map((id) => (
              <td key={id}>
                <Cell value={row.values[id] ?? null} definition={dictionary.get(id)} text={metricValue(row.values[id] ?? null, metricUnit(id, dictionary))} />
                {id === "revenue" && (
                  <span class="money-bar" aria-hidden="true">
                    <span class="bar">
                      <i style={{ width: `${top > 0 ? ((row.values[id] ?? 0) / top) * 100 : 0}%` }} />
                    </span>
                  </span>
                )}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

interface HeadingProps {
  readonly id: string;
  readonly name: string;
  readonly sorting: Sorting;
  readonly sort: (sorting: Sorting) => void;
}

function Heading({ id, name, sorting, sort }: HeadingProps) {
  const chosen = sorting.by === id;
  const Icon = sorting.descending ? Down : Up;
  return (
    <th scope="col" aria-sort={chosen ? (sorting.descending ? "descending" : "ascending") : "none"}>
      <button type="button" title={name} onClick={() => sort({ by: id, descending: chosen ? !sorting.descending : true })}>
        {SHORT[id] ?? name}
        {chosen && <Icon />}
      </button>
    </th>
  );
}

/** ROAS under its healthy floor or CAC over its ceiling carries a mark; the others are plain. */
function Cell({ value, text, definition }: { readonly value: number | null; readonly text: string; readonly definition: MetricDefinition | undefined }) {
  const floor = definition?.healthy?.min ?? null;
  const ceiling = definition?.healthy?.max ?? null;
  const low = definition?.id === "roas" && known(value) && floor !== null && value < floor;
  const high = definition?.id === "cac" && known(value) && ceiling !== null && value > ceiling;
  if (!low && !high) return <>{text}</>;
  const Icon = low ? Down : Up;
  const why = low ? "below its healthy range" : "above its healthy range";
  return (
    <span class="bad" title={why}>
      <span class="flag">
        <Icon />
      </span>
      {text}
      <i class="hidden-text"> {why}</i>
    </span>
  );
}
