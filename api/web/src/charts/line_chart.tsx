/** One line over time with a reference level. */

import { axisLabel } from "../format/time";
import { decimals } from "../format/number";
import { TimeAxis, ValueAxis, type Frame } from "./axes";
import { extent, linear, linePath, type Point } from "./scale";
import { useWidth } from "./use_width";

interface Props {
  readonly points: readonly Point[];
  readonly height: number;
  readonly label: string;
  /** A level worth comparing with, and its name. */
  readonly reference: { readonly value: number; readonly name: string };
  /** The value axis, [low, high]. */
  readonly range: readonly [number, number];
}

export function LineChart({ points, height, label, reference, range }: Props) {
  const [box, width] = useWidth<HTMLDivElement>();
  const frame: Frame = { width, height, left: 34, bottom: height - 20 };
  const times = extent(points.map((point) => point.at)) ?? [0, 1];
  const domain: readonly [number, number] = times[0] === times[1] ? [times[0] - 1800, times[0] + 1800] : times;
  const x = linear(domain, [frame.left, width - 6]);
  const y = linear(range, [frame.bottom, 8]);
  const last = points.at(-1);
  const middle = (range[0] + range[1]) / 2;
  const read = last?.value == null ? label : `${label}: ${decimals(last.value, 3)} at ${axisLabel(last.at, domain[1] - domain[0])}`;
  return (
    <div ref={box} class="chart" role="img" aria-label={read}>
      {width > 0 && (
        <svg width={width} height={height}>
          <ValueAxis frame={frame} ticks={[range[0], middle, range[1]]} y={y} label={(value) => decimals(value, 2)} />
          <TimeAxis frame={frame} domain={domain} x={x} />
          {reference.value > range[0] && (
            <line class="reference" x1={frame.left} x2={width} y1={y(reference.value)} y2={y(reference.value)} />
          )}
          <text x={frame.left + 4} y={y(reference.value) - 5}>
            {reference.name}
          </text>
          <path class="series" d={linePath(points, x, y)} />
          {last?.value != null && <circle class="spot" cx={x(last.at)} cy={y(last.value)} r={4} />}
        </svg>
      )}
    </div>
  );
}
