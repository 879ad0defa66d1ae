/** What a confidence is worth: the share that was right, against what was said. The table beside it holds the same figures. */
import { figure, percent } from "../format.ts";
import type { Reliability as Found } from "../shapes.ts";

const EDGES = [0, 0.25, 0.5, 0.75, 1];
const [LEFT, TOP, SIZE] = [44, 12, 240];
const x = (share: number) => LEFT + SIZE * share;
const y = (share: number) => TOP + SIZE * (1 - share);

export function Reliability({ name, found }: { name: string; found: Found }) {
  const most = Math.max(1, ...found.bins.map((bin) => bin.right.n));
  const told = found.bins.map((bin) =>
    `confidence ${percent(bin.confidence)}: ${percent(bin.right.mean)} right, n = ${bin.right.n}`
  ).join("; ");
  return (
    <figure className="reliability">
      <figcaption>
        <strong>{name}</strong>{" "}
        <span className="quiet">
          n = {found.n}
          {found.ece != null && `, off by ${figure(100 * found.ece, 1)} points in the mean`}
        </span>
      </figcaption>
      <svg viewBox="0 0 300 298" role="img" aria-label={`Calibration ${name}: ${told || "no answers"}`}>
        {EDGES.map((edge) => (
          <g key={edge}>
            <path className="grid" d={`M${x(edge)} ${y(0)}V${y(1)}M${x(0)} ${y(edge)}H${x(1)}`} />
            <text x={x(edge)} y={y(0) + 16} textAnchor="middle">{100 * edge}</text>
            <text x={x(0) - 7} y={y(edge) + 4} textAnchor="end">{100 * edge}</text>
          </g>
        ))}
        <path className="even" d={`M${x(0)} ${y(0)}L${x(1)} ${y(1)}`} />
        {found.bins.map((bin) => (
          <g key={bin.confidence} className="bin">
            <path d={`M${x(bin.confidence)} ${y(bin.right.low)}V${y(bin.right.high)}`} />
            <circle cx={x(bin.confidence)} cy={y(bin.right.mean)} r={3 + 5 * Math.sqrt(bin.right.n / most)} />
          </g>
        ))}
        <text x={x(0.5)} y={y(0) + 34} textAnchor="middle">Confidence, %</text>
        <text transform={`translate(11 ${y(0.5)}) rotate(-90)`} textAnchor="middle">Right, %</text>
      </svg>
    </figure>
  );
}
