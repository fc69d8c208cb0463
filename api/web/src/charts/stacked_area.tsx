/** Layers stacked over time, with a cursor that pointer and arrow keys move. */

import { useState } from "preact/hooks";
import { rate } from "../format/number";
import { axisLabel } from "../format/time";
import type { Rates } from "../state/rates";
import { TimeAxis, ValueAxis, type Frame } from "./axes";
import { bandPath, linear, nearest, stack, valueTicks, type Scale } from "./scale";
import { useWidth } from "./use_width";

interface Props {
  readonly rates: Rates;
  readonly domain: readonly [number, number];
  readonly height: number;
  readonly colour: (name: string) => number;
  readonly label: (name: string) => string;
}

export function StackedArea(props: Props) {
  const [box, width] = useWidth<HTMLDivElement>();
  const [cursor, setCursor] = useState<number | null>(null);
  const { rates, domain, height } = props;
  const frame: Frame = { width, height, left: 42, bottom: height - 20 };
  const x = linear(domain, [frame.left, width]);
  const centre = rates.at.map((at, i) => (i === rates.at.length - 1 ? Math.min(domain[1], at + rates.width) : at + rates.width / 2));
  const move = (step: number): void => {
    const count = rates.at.length;
    if (count > 0) setCursor((now) => Math.min(count - 1, Math.max(0, (now ?? count) + step)));
  };
  return (
    <div
      ref={box}
      class="chart"
      role="img"
      tabIndex={0}
      aria-label={summary(props, cursor)}
      onPointerMove={(event) => {
        const offset = event.clientX - event.currentTarget.getBoundingClientRect().left;
        const at = domain[0] + ((offset - frame.left) / (width - frame.left)) * (domain[1] - domain[0]);
        setCursor(nearest(centre, at));
      }}
      onPointerLeave={() => setCursor(null)}
      onBlur={() => setCursor(null)}
      onKeyDown={(event) => {
        if (event.key === "ArrowLeft") move(-1);
        else if (event.key === "ArrowRight") move(1);
        else if (event.key === "Escape") setCursor(null);
        else return;
        event.preventDefault();
      }}
    >
      {width > 0 && <Layers {...props} frame={frame} x={x} centre={centre} cursor={cursor} />}
      {cursor !== null && rates.at[cursor] !== undefined && <Hint {...props} cursor={cursor} left={x(centre[cursor] ?? 0)} width={width} />}
    </div>
  );
}

interface LayersProps extends Props {
  readonly frame: Frame;
  readonly x: Scale;
  readonly centre: readonly number[];
  readonly cursor: number | null;
}

function Layers({ rates, domain, frame, x, centre, colour, cursor }: LayersProps) {
  const bands = stack(rates.layers.map((layer) => layer.values));
  const top = Math.max(0, ...(bands.at(-1)?.upper ?? [0]));
  const ticks = valueTicks(top).filter((tick) => tick <= top * 1.06);
  const y = linear([0, top > 0 ? top * 1.06 : 1], [frame.bottom, 8]);
  const at = cursor === null ? undefined : centre[cursor];
  return (
    <svg width={frame.width} height={frame.height}>
      <clipPath id="plot">
        <rect x={frame.left} y={0} width={Math.max(0, frame.width - frame.left)} height={frame.height} />
      </clipPath>
      <ValueAxis frame={frame} ticks={ticks} y={y} label={(value) => (value === 0 ? "0" : rate(value).replace(/\.0+(?=\/)/, ""))} />
      <TimeAxis frame={frame} domain={domain} x={x} />
      <g clip-path="url(#plot)">
        {rates.layers.map((layer, i) => (
          <path key={layer.name} class={`layer k${colour(layer.name)}`} d={bandPath(centre, bands[i]!.upper, bands[i]!.lower, x, y)} />
        ))}
      </g>
      {at !== undefined && <line class="cursor" x1={x(at)} x2={x(at)} y1={4} y2={frame.bottom} />}
    </svg>
  );
}

interface HintProps extends Props {
  readonly cursor: number;
  readonly left: number;
  readonly width: number;
}

function Hint({ rates, cursor, colour, label, left, width }: HintProps) {
  const side = left > width / 2 ? { right: `${width - left + 12}px` } : { left: `${left + 12}px` };
  const rows = rates.layers.map((layer) => ({ name: layer.name, value: layer.values[cursor] ?? 0 }));
  return (
    <div class="hint" style={side}>
      <b>
        {axisLabel(rates.at[cursor]!, 3600)} · {rate(rows.reduce((sum, row) => sum + row.value, 0))}
      </b>
      <ul>
        {rows
          .filter((row) => row.value > 0)
          .map((row) => (
            <li key={row.name}>
              <span class={`swatch k${colour(row.name)}`} />
              <span class="name">{label(row.name)}</span>
              <span class="amount">{rate(row.value)}</span>
            </li>
          ))}
      </ul>
    </div>
  );
}

function summary({ rates, label }: Props, cursor: number | null): string {
  const i = cursor ?? rates.at.length - 1;
  const parts = rates.layers.map((layer) => `${label(layer.name)} ${rate(layer.values[i] ?? 0)}`);
  const when = rates.at[i] === undefined ? "" : ` at ${axisLabel(rates.at[i]!, 3600)}`;
  return `Events a second by type${when}: ${parts.join(", ") || "none"}. Arrow keys move through time.`;
}
