/** How a number came about: formula, numerator, denominator, as-of moment, completeness. */

import type { MetricDefinition, MetricUnit } from "../api/types";
import { decimals, integer, known, metricValue, money } from "../format/number";
import { moment, rangeInfo, toSeconds, type Range } from "../format/time";
import type { Card } from "../state/model";
import { words } from "../format/words";
import { healthyText } from "./kpi_words";

interface Props {
  readonly id: string;
  readonly definition: MetricDefinition | undefined;
  readonly card: Card | undefined;
  readonly unit: MetricUnit;
  readonly range: Range;
}

const MONEY = /revenue|spend|cost|budget|value|amount/;

export function KpiDetails({ id, definition, card, unit, range }: Props) {
  const metric = card?.current;
  const part = (name: string | null | undefined, value: number): string =>
    name && MONEY.test(name) ? money(value) : Number.isInteger(value) ? integer(value) : decimals(value, 2);
  const rows: (readonly [string, string])[] = [];
  if (definition) rows.push(["Formula", definition.formula]);
  if (metric && known(metric.numerator)) rows.push([words(definition?.numerator ?? "numerator"), part(definition?.numerator, metric.numerator)]);
  if (metric && known(metric.denominator)) {
    rows.push([words(definition?.denominator ?? "denominator"), part(definition?.denominator, metric.denominator)]);
  }
  if (card?.previous) rows.push([`Previous ${rangeInfo(range).label}`, metricValue(card.previous.value, unit)]);
  const healthy = healthyText(definition);
  if (healthy) rows.push(["Range", words(healthy)]);
  if (metric && known(metric.completeness)) rows.push(["Completeness", `${decimals(metric.completeness, 1)}%`]);
  if (metric) rows.push(["As of", moment(toSeconds(metric.as_of))]);
  return (
    <div class="details" id={`${id}-details`} role="note">
      {definition && <p>{definition.definition}</p>}
      <dl>
        {rows.map(([term, text]) => [<dt key={`${term}-t`}>{term}</dt>, <dd key={`${term}-d`}>{text}</dd>])}
      </dl>
    </div>
  );
}
