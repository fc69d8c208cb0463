/** One metric: its value, where it stands against its healthy range and the period before, and how it moved. */

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Sparkline } from "../charts/sparkline";
import { decimals, integer, metricValue } from "../format/number";
import { rangeInfo, type Range } from "../format/time";
import { metricName, metricUnit, sparkPoints, trend, type Trend } from "../state/metrics";
import { useSelect } from "../state/store";
import { Check, Down, Flat, Info, Up, Warning } from "./icons";
import { KpiDetails } from "./kpi_details";
import { healthyText, standing } from "./kpi_words";

export function KpiCard({ id }: { readonly id: string }) {
  const dictionary = useSelect((state) => state.dictionary);
  const card = useSelect((state) => state.cards[id]);
  const range = useSelect((state) => state.range);
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLElement>(null);
  useClosing(open, box, () => setOpen(false));

  const definition = dictionary.get(id);
  const unit = metricUnit(id, dictionary);
  const metric = card?.current ?? null;
  const change = metric && card?.previous ? trend(metric.value, card.previous.value, definition, unit) : null;
  const points = sparkPoints(card, unit, range);
  const name = metricName(id, dictionary);

  return (
    <article class="card" ref={box} aria-label={name} onPointerLeave={() => setOpen(false)}>
      <div class="card-head">
        <h3 title={name}>{name}</h3>
        <button
          type="button"
          class="icon-button"
          aria-label={`How ${name} is calculated`}
          aria-expanded={open}
          aria-controls={`${id}-details`}
          onClick={() => setOpen(true)}
          onPointerEnter={(event) => event.pointerType === "mouse" && setOpen(true)}
        >
          <Info />
        </button>
      </div>
      <Value id={id} unit={unit} value={metric?.value ?? null} loaded={metric !== null} error={card?.error ?? null} change={change} range={range} />
      <div class="card-spark">
        <Sparkline points={points} height={38} />
      </div>
      <div class="card-foot">
        <Standing id={id} />
      </div>
      {open && <KpiDetails id={id} definition={definition} card={card} unit={unit} range={range} />}
    </article>
  );
}

interface ValueProps {
  readonly id: string;
  readonly unit: ReturnType<typeof metricUnit>;
  readonly value: number | null;
  readonly loaded: boolean;
  readonly error: string | null;
  readonly change: Trend | null;
  readonly range: Range;
}

function Value({ unit, value, loaded, error, change, range }: ValueProps) {
  if (!loaded) {
    return <div class="card-value">{error ? <strong class="none">–</strong> : <span class="bone" style={{ width: "96px", height: "24px", margin: "4px 0 3px" }} />}</div>;
  }
  const text = metricValue(value, unit);
  return (
    <div class="card-value">
      <strong key={text} class={value === null ? "none" : "flash"}>
        {text}
      </strong>
      {change && <TrendMark change={change} range={range} />}
    </div>
  );
}

function TrendMark({ change, range }: { readonly change: Trend; readonly range: Range }) {
  const Icon = { up: Up, down: Down, flat: Flat }[change.direction];
  const amount = `${decimals(Math.abs(change.amount), Math.abs(change.amount) >= 100 ? 0 : 1)}${change.unit === "pp" ? " pp" : "%"}`;
  const word = { up: "up", down: "down", flat: "unchanged" }[change.direction];
  return (
    <span class={`trend ${change.verdict}`} title={`${word} ${amount} against the ${rangeInfo(range).label} before`}>
      <Icon />
      <i class="hidden-text">{word}</i>
      <span>{amount}</span>
    </span>
  );
}

function Standing({ id }: { readonly id: string }) {
  const dictionary = useSelect((state) => state.dictionary);
  const card = useSelect((state) => state.cards[id]);
  const definition = dictionary.get(id);
  if (card?.error && !card.current) return <span class="rest warn">{card.error}</span>;
  if (card?.current && card.current.value === null) {
    return <span class="rest">No {(definition?.denominator ?? "data").replaceAll("_", " ")} in this range</span>;
  }
  const place = card?.current ? standing(card.current.status, definition) : null;
  const healthy = healthyText(definition);
  const completeness = card?.current?.completeness ?? null;
  return (
    <>
      {card?.current?.incomplete && (
        <span class="badge warning" title="Less than 90% of the expected data has arrived">
          <Warning /> Incomplete{completeness === null ? "" : `, ${integer(completeness)}%`}
        </span>
      )}
      {place && !card?.current?.incomplete && (
        <span class={place.tone}>
          {place.tone === "good" ? <Check /> : <Warning />} {place.word}
        </span>
      )}
      {healthy && <span class="rest">{place ? `· ${healthy}` : healthy}</span>}
    </>
  );
}

/** Closes the details with Escape, or when focus or a press goes elsewhere; from the moment on that they show. */
function useClosing(open: boolean, box: { current: HTMLElement | null }, close: () => void): void {
  useLayoutEffect(() => {
    if (!open) return;
    const key = (event: KeyboardEvent): void => {
      if (event.key === "Escape") close();
    };
    const away = (event: Event): void => {
      if (!box.current?.contains(event.target as Node)) close();
    };
    document.addEventListener("keydown", key);
    document.addEventListener("pointerdown", away);
    document.addEventListener("focusin", away);
    return () => {
      document.removeEventListener("keydown", key);
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("focusin", away);
    };
  }, [open]);
}
