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
  /** What is said where there is nothing to draw. */
  none: string;
};

const DAY = 86_400;
const DAYS_APART = [1, 2, 3, 5, 7, 14, 30, 60, 90, 180, 365].map((days) => days * DAY);

export function Chart({ name, days, lines, show, from, to, theme, none }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const isEmpty = days.length === 0 || lines.every((line) => line.values.every((value) => value === null));
  useEffect(() => {
    const div = place.current;
    if (!div) return;
    const style = getComputedStyle(div);
    // A canvas does not grow with the page's letters by itself.
    const scale = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
    const size = () => ({ width: div.clientWidth, height: 220 * scale });
    const [ink, rule, card] = ["--ink-quiet", "--rule", "--card"].map((name) => style.getPropertyValue(name)) as [
      string,
      string,
      string,
    ];
    const axis = {
      stroke: ink,
      grid: { stroke: rule, width: 1 },
      ticks: { stroke: rule, width: 1 },
      font: `${12 * scale}px system-ui, sans-serif`,
    };
    const seconds = days.map((day) => Date.parse(`${day}T00:00:00Z`) / 1000);
    // A single day stands in the middle: uPlot would draw it at the edge of three years.
    const span = (_: uPlot, low: number, high: number): [number, number] =>
      seconds.length === 1 ? [seconds[0]! - DAY, seconds[0]! + DAY] : [low, high];
    const plot = new uPlot(
      {
        ...size(),
        padding: [12 * scale, 24 * scale, 0, 0],
        cursor: { drag: { x: false, y: false } },
        // A dashed line has a hollow, dashed mark; the other one is filled.
        legend: {
          live: false,
          markers: {
            width: 2,
            dash: (_, i) => lines[i - 1]?.isDashed ? "dashed" : "solid",
            fill: (_, i) => {
              const line = lines[i - 1];
              return line && !line.isDashed ? style.getPropertyValue(`--line-${line.color}`) : "transparent";
            },
          },
        },
        scales: {
          x: { time: true, range: span },
          y: { range: (_, low, high) => range(low, high, from, to) },
        },
        axes: [{
          ...axis,
          values: (_, ticks) => ticks.map(dayOf),
          incrs: DAYS_APART,
          space: 80 * scale,
          size: 40 * scale,
        }, {
          ...axis,
          values: (_, ticks) => ticks.map(show),
          size: 70 * scale,
          space: 30 * scale,
        }],
        series: [
          { label: "Day" },
          ...lines.map((line) => ({
            label: line.name,
            stroke: style.getPropertyValue(`--line-${line.color}`),
            width: 2 * scale,
            dash: line.isDashed ? [6 * scale, 4 * scale] : [],
            points: {
              show: days.length === 1 || (days.length < 40 && !line.isDashed),
              size: (days.length === 1 ? 9 : 5) * scale,
              fill: line.isDashed ? card : style.getPropertyValue(`--line-${line.color}`),
            },
            spanGaps: true,
          })),
        ],
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
      },
      [seconds, ...lines.map((line) => line.values)],
      div,
    );
    const watch = new ResizeObserver(() => plot.setSize(size()));
    watch.observe(div);
    return () => {
      watch.disconnect();
      plot.destroy();
    };
  }, [days, lines, show, from, to, theme]);
  const last = lines.map((line) => `${line.name} ${shown(line.values.findLast((value) => value !== null), show)}`).join(
    ", ",
  );
  if (isEmpty) return <p className="quiet">{none}</p>;
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
