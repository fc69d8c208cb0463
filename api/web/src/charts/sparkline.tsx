/** A small line without axes. Decorative: the numbers it draws are told elsewhere, so it is hidden from screen readers. */

import { extent, linear, linePath, type Point } from "./scale";
import { useWidth } from "./use_width";

interface Props {
  readonly points: readonly Point[];
  readonly height: number;
  /** Fixed time axis [start, end], so that a live trail keeps its pace; by default what the points cover. */
  readonly domain?: readonly [number, number];
  /** Start the value axis at zero; by default it fits the points. */
  readonly fromZero?: boolean;
}

export function Sparkline({ points, height, domain, fromZero = false }: Props) {
  const [box, width] = useWidth<HTMLDivElement>();
  return (
    <div ref={box} class="spark" aria-hidden="true">
      {width > 0 && <Drawing points={points} width={width} height={height} domain={domain ?? span(points)} fromZero={fromZero} />}
    </div>
  );
}

function span(points: readonly Point[]): readonly [number, number] {
  return [points[0]?.at ?? 0, points.at(-1)?.at ?? 1];
}

interface DrawingProps extends Required<Omit<Props, "domain">> {
  readonly width: number;
  readonly domain: readonly [number, number];
}

function Drawing({ points, width, height, domain, fromZero }: DrawingProps) {
  const known = points.filter((point) => point.value !== null);
  const range = extent(known.map((point) => point.value));
  const last = known.at(-1);
  if (!range || !last || known.length < 2) {
    return (
      <svg class="spark" width={width} height={height}>
        <line class="grid" x1={0} x2={width} y1={height - 1} y2={height - 1} stroke="currentColor" stroke-opacity={0.15} />
      </svg>
    );
  }
  const low = fromZero ? 0 : range[0];
  const pad = range[1] === low ? Math.abs(low) * 0.1 || 1 : 0;
  const x = linear(domain, [0, width - 4]);
  const y = linear([low - pad, range[1] + pad], [height - 2, 4]);
  const line = linePath(points, x, y);
  const closed = points.every((point) => point.value !== null);
  return (
    <svg class="spark" width={width} height={height}>
      {closed && <path class="under" d={`${line}L${x(last.at)} ${height}L${x(points[0]!.at)} ${height}Z`} />}
      <path class="line" d={line} />
      <circle class="tip" cx={x(last.at)} cy={y(last.value!)} r={2.6} />
    </svg>
  );
}
