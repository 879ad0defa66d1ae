/** Lines over days. A table beside it holds the same figures, so the picture itself is one image to a screen reader. */
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

export type Line = {
  name: string;
  values: (number | null)[];
  color: "one" | "two" | "three" | "goal";
  isDashed?: boolean;
};
type Props = {
  name: string;
  days: string[];
  lines: Line[];
  show: (value: number) => string;
  from?: number;
  to?: number;
  theme: string;
};

export function Chart({ name, days, lines, show, from, to, theme }: Props) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const div = place.current;
    if (!div) return;
    const style = getComputedStyle(div);
    const [ink, rule] = [style.getPropertyValue("--ink-quiet"), style.getPropertyValue("--rule")];
    const axis = {
      stroke: ink,
      grid: { stroke: rule, width: 1 },
      ticks: { stroke: rule, width: 1 },
      font: "12px system-ui, sans-serif",
    };
    const plot = new uPlot(
      {
        width: div.clientWidth,
        height: 220,
        padding: [12, 12, 0, 0],
        cursor: { drag: { x: false, y: false } },
        legend: { live: false },
        scales: { x: { time: true }, y: { range: (_, low, high) => range(low, high, from, to) } },
        axes: [{ ...axis, values: (_, ticks) => ticks.map(dayOf), space: 80 }, {
          ...axis,
          values: (_, ticks) => ticks.map(show),
          size: 70,
        }],
        series: [
          { label: "Day" },
          ...lines.map((line) => ({
            label: line.name,
            stroke: style.getPropertyValue(`--line-${line.color}`),
            width: 2,
            dash: line.isDashed ? [6, 4] : [],
            points: { show: days.length < 40 && !line.isDashed, size: 5 },
            spanGaps: true,
          })),
        ],
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
      },
      [days.map((day) => Date.parse(`${day}T00:00:00Z`) / 1000), ...lines.map((line) => line.values)],
      div,
    );
    const watch = new ResizeObserver(() => plot.setSize({ width: div.clientWidth, height: 220 }));
    watch.observe(div);
    return () => {
      watch.disconnect();
      plot.destroy();
    };
  }, [days, lines, show, from, to, theme]);
  const last = lines.map((line) => `${line.name} ${shown(line.values.findLast((value) => value !== null), show)}`).join(
    ", ",
  );
  return (
    <div
      className="chart"
      ref={place}
      role="img"
      aria-label={`${name}: ${last} on the last day. The table has every day.`}
    />
  );
}

const shown = (value: number | null | undefined, show: (value: number) => string) =>
  value == null ? "not known" : show(value);

function dayOf(seconds: number): string {
  return new Date(seconds * 1000).toLocaleDateString(undefined, { month: "short", day: "numeric", timeZone: "UTC" });
}

function range(
  low: number | null,
  high: number | null,
  from: number | undefined,
  to: number | undefined,
): [number, number] {
  const [least, most] = [Math.min(low ?? 0, from ?? low ?? 0), Math.max(high ?? 1, to ?? high ?? 1)];
  const room = (most - least || 1) * 0.08;
  return [from !== undefined && least >= from ? from : least - room, to !== undefined && most <= to ? to : most + room];
}
