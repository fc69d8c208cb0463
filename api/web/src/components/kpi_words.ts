/** What a card says in words about its place against the healthy range. */

import type { Metric, MetricDefinition } from "../api/types";
import { metricValue } from "../format/number";
import { preference } from "../state/metrics";

export interface Standing {
  readonly word: string;
  readonly tone: "good" | "warn" | "bad";
}

/** "In range", "Below", "Above"; leaving the range on its better side is not a fault but worth a look. */
export function standing(status: Metric["status"], definition: MetricDefinition | undefined): Standing | null {
  if (status === null || status === undefined) return null;
  if (status === "healthy") return { word: "In range", tone: "good" };
  const wish = preference(definition);
  const better = (status === "high" && wish === "more") || (status === "low" && wish === "less");
  return { word: status === "high" ? "Above" : "Below", tone: better ? "good" : wish === "neither" ? "warn" : "bad" };
}

/** "healthy 2.50× – 5.00×", "healthy under $20.00", "target 3.50×"; empty when nothing is declared. */
export function healthyText(definition: MetricDefinition | undefined): string {
  if (!definition) return "";
  const show = (value: number): string => metricValue(value, definition.unit).replace(/\.0+(?=\D|$)/, "").replace(/(\.\d*[1-9])0+(?=\D|$)/, "$1");
  const min = definition.healthy?.min ?? null;
  const max = definition.healthy?.max ?? null;
  if (min !== null && max !== null && min > 0) return `healthy ${show(min)} – ${show(max)}`;
  if (max !== null) return `healthy under ${show(max)}`;
  if (min !== null) return `healthy from ${show(min)}`;
  return definition.target === null ? "" : `target ${show(definition.target)}`;
}
