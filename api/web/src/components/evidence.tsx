/** What an alert is based on. Evidence is free-form JSON; numbers, moments and nested facts become readable rows. */

import { decimals, integer, known } from "../format/number";
import { moment } from "../format/time";
import { words } from "../format/words";

type Rows = (readonly [string, string])[];

export function Evidence({ evidence, open }: { readonly evidence: unknown; readonly open: boolean }) {
  const rows = evidenceRows(evidence);
  if (rows.length === 0) return null;
  return (
    <details class="more" open={open}>
      <summary>Evidence</summary>
      <dl class="evidence">
        {rows.map(([name, text]) => [<dt key={`${name}-t`}>{words(name)}</dt>, <dd key={`${name}-d`}>{text}</dd>])}
      </dl>
    </details>
  );
}

/** An object becomes rows, one level of nesting is opened, anything else is one row. */
export function evidenceRows(evidence: unknown): Rows {
  const value = parsed(evidence);
  if (value === null || value === undefined || value === "") return [];
  if (!isObject(value)) return [["evidence", text("", value)]];
  return Object.entries(value).flatMap(([name, item]): Rows =>
    isObject(item) ? Object.entries(item).map(([inner, deep]) => [inner, text(inner, deep)] as const) : [[name, text(name, item)]],
  );
}

/** Expected and actual of an anomaly's alert; null for other alerts. */
export function measured(evidence: unknown): { readonly expected: number; readonly actual: number } | null {
  const value = parsed(evidence);
  if (!isObject(value)) return null;
  const details = isObject(value["details"]) ? value["details"] : {};
  const expected = value["expected"];
  const actual = details["actual"];
  return typeof expected === "number" && typeof actual === "number" ? { expected, actual } : null;
}

export function plain(value: number): string {
  return Number.isInteger(value) ? integer(value) : decimals(value, Math.abs(value) < 1 ? 3 : 2);
}

function parsed(evidence: unknown): unknown {
  if (typeof evidence !== "string") return evidence;
  try {
    return JSON.parse(evidence);
  } catch {
    return evidence;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const MOMENT = /(_at|^bucket|^since|^until)$/;

function text(name: string, value: unknown): string {
  if (typeof value === "number" && MOMENT.test(name) && value > 1e9 && value < 1e10) return moment(value);
  if (typeof value === "number") return known(value) ? plain(value) : "–";
  if (value === null || value === undefined) return "–";
  return typeof value === "string" ? value : JSON.stringify(value);
}
