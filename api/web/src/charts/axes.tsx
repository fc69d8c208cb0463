/** Grid lines and labels shared by the charts. */

import { axisLabel, timeTicks } from "../format/time";
import type { Scale } from "./scale";

export interface Frame {
  readonly width: number;
  readonly height: number;
  readonly left: number;
  readonly bottom: number;
}

interface ValueProps {
  readonly frame: Frame;
  readonly ticks: readonly number[];
  readonly y: Scale;
  readonly label: (value: number) => string;
}

export function ValueAxis({ frame, ticks, y, label }: ValueProps) {
  return (
    <g>
      {ticks.map((tick) => (
        <g key={tick}>
          <line class="grid" x1={frame.left} x2={frame.width} y1={y(tick)} y2={y(tick)} />
          <text x={frame.left - 8} y={y(tick) + 4} text-anchor="end">
            {label(tick)}
          </text>
        </g>
      ))}
    </g>
  );
}

interface TimeProps {
  readonly frame: Frame;
  readonly domain: readonly [number, number];
  readonly x: Scale;
}

export function TimeAxis({ frame, domain, x }: TimeProps) {
  const span = domain[1] - domain[0];
  const ticks = timeTicks(domain[0], domain[1], Math.max(2, Math.floor((frame.width - frame.left) / 90)));
  return (
    <g>
      {ticks
        .filter((tick) => x(tick) > frame.left + 12 && x(tick) < frame.width - 12)
        .map((tick) => (
          <text key={tick} x={x(tick)} y={frame.height - 2} text-anchor="middle">
            {axisLabel(tick, span)}
          </text>
        ))}
    </g>
  );
}
