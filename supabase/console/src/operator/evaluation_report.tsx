/** What models answered to the gold set and how good it was, from the figures that the trainer wrote of it. */
import type { SupabaseClient } from "@supabase/supabase-js";
import { at, count, duration, figure, NONE, percent, words } from "../format.ts";
import { Empty } from "../parts/empty.tsx";
import { Reliability } from "../parts/reliability.tsx";
import { type Column, Table } from "../parts/table.tsx";
import type { Bin, EvaluationReport, Judgement, Mean } from "../shapes.ts";
import { ReportFrame } from "./report_frame.tsx";

/** In the order in which they are told. */
const NAMES: Record<string, string> = {
  valid: "valid",
  accepted: "accepted",
  first_try: "accepted at first attempt",
  level_right: "level right",
  macro_f1: "macro-F1 of levels",
  phases_agree: "phases agree",
  steps_agree: "number of steps agrees",
  hours_agree: "hours agree",
  rouge_l: "ROUGE-L, all texts",
  rouge_reasons: "ROUGE-L, reasons",
  rouge_actions: "ROUGE-L, actions",
  rouge_titles: "ROUGE-L, step titles",
};
const ORDER = Object.keys(NAMES);
const LEVELS = ["low", "medium", "high", "refused"];
const inOrder = (names: string[], order: string[]) => {
  const place = (name: string) => order.includes(name) ? order.indexOf(name) : order.length;
  return names.toSorted((a, b) => place(a) - place(b) || a.localeCompare(b));
};
const nameOf = (metric: string) => NAMES[metric] ?? words(metric);
const SURE = 0.05;

export function EvaluationReportPage({ client, id }: { client: SupabaseClient; id: string | null }) {
  return (
    <ReportFrame<EvaluationReport>
      client={client}
      id={id}
      kind="evaluation"
      title="evaluation report"
      none="python -m trainer evaluate judges a model on the gold set; a training run does so by itself."
    >
      {(report) => <Shown report={report} />}
    </ReportFrame>
  );
}

function Shown({ report }: { report: EvaluationReport }) {
  const { origins = {}, models = [], confidence, made_up } = report.summary;
  const first = models[0];
  return (
    <>
      <h2>Evaluation report: {report.feature}</h2>
      <p className="quiet">
        {at(report.created_at)}:{" "}
        {models.map((model) => model.name).join(" against ") || report.models.join(" against ")}, on {count(report.n)}
        {" "}
        gold examples
        {Object.keys(origins).length > 0 &&
          ` (${Object.entries(origins).map(([origin, rows]) => `${count(rows)} ${origin}`).join(", ")})`}, set{" "}
        <code>{report.gold_sha256.slice(0, 12)}</code>. Intervals are 95 %; an answer that was refused scores 0 in
        everything.
      </p>
      {made_up && (
        <p className="warn">
          These examples were made up by a teacher: the figures say how well its habits were learned, not how good the
          answers are for people.
        </p>
      )}
      {first
        ? <Judged report={report} models={models} first={first} />
        : <Empty title="This evaluation came without figures">Run python -m trainer evaluate again.</Empty>}
      {confidence && (
        <section className="card" aria-label="Confidence">
          <h3>What the confidence of {confidence.model} is worth</h3>
          <p>
            {confidence.line.min_confidence == null
              ? "No least confidence"
              : `Least confidence ${confidence.line.min_confidence}`}: {confidence.line.why}.
          </p>
          <div className="row">
            <Reliability name="as the model says it" found={confidence.before} />
            <Reliability name={`after calibration (${fitted(confidence.calibration)})`} found={confidence.after} />
          </div>
          <Table
            name="Calibration"
            rows={[
              ...confidence.before.bins.map((bin) => ({ when: "as said", bin })),
              ...confidence.after.bins.map((bin) => ({ when: "calibrated", bin })),
            ]}
            rowKey={({ when, bin }) => `${when} ${bin.confidence}`}
            none="No answers to compare."
            columns={BINS}
          />
        </section>
      )}
    </>
  );
}

const fitted = ({ kind, temperature }: { kind: string; temperature?: number }) =>
  kind === "temperature" ? `temperature ${figure(temperature)}` : kind;

const BINS: Column<{ when: string; bin: Bin }>[] = [
  { name: "Confidence", value: ({ when }) => when },
  { name: "Mean", value: ({ bin }) => bin.confidence, show: ({ bin }) => percent(bin.confidence), isNumber: true },
  { name: "Right", value: ({ bin }) => bin.right.mean, show: ({ bin }) => percent(bin.right.mean), isNumber: true },
  { name: "95 % from", value: ({ bin }) => bin.right.low, show: ({ bin }) => percent(bin.right.low), isNumber: true },
  { name: "to", value: ({ bin }) => bin.right.high, show: ({ bin }) => percent(bin.right.high), isNumber: true },
  { name: "n", value: ({ bin }) => bin.right.n, isNumber: true },
];

type JudgedProps = { report: EvaluationReport; models: Judgement[]; first: Judgement };

function Judged({ report, models, first }: JudgedProps) {
  const metrics = inOrder(Object.keys(first.metrics), ORDER);
  const slices = Object.keys(first.slices).toSorted();
  const sliced = inOrder([...new Set(slices.flatMap((slice) => Object.keys(first.slices[slice]!)))], ORDER);
  const comparisons = report.summary.comparisons ?? [];
  const widest = Math.max(
    0.05,
    ...comparisons.map(({ difference }) => Math.max(Math.abs(difference.low), Math.abs(difference.high))),
  );
  return (
    <>
      <Table
        name="Scores"
        rows={metrics}
        rowKey={(metric) => metric}
        none="No scores."
        columns={[
          { name: "0 to 1", value: nameOf },
          {
            name: models.length > 1 ? "Side by side" : "From 0 to 1",
            value: () => null,
            show: (metric) => <Whiskers found={models.map((model) => model.metrics[metric])} />,
          },
          ...models.map((model, i): Column<string> => ({
            name: model.name,
            value: (metric) => model.metrics[metric]?.mean,
            show: (metric) => <Interval found={model.metrics[metric]} line={i} />,
            isNumber: true,
          })),
          { name: "n", value: (metric) => first.metrics[metric]?.n, isNumber: true },
        ]}
      />
      {comparisons.length > 0 && (
        <Table
          name="Differences"
          rows={comparisons}
          rowKey={(line) => line.theirs + line.metric}
          none=""
          columns={[
            { name: "Metric", value: (line) => nameOf(line.metric) },
            { name: "Against", value: (line) => line.theirs },
            {
              name: "Difference",
              value: (line) => line.difference.mean,
              show: (line) => (
                <span className={line.p_holm < SURE ? (line.difference.mean > 0 ? "good-text" : "bad-text") : ""}>
                  {signed(line.difference.mean)}{" "}
                  <span className="quiet">{signed(line.difference.low)} to {signed(line.difference.high)}</span>
                </span>
              ),
              isNumber: true,
            },
            { name: "Where", value: () => null, show: (line) => <Gap found={line.difference} widest={widest} /> },
            { name: "n", value: (line) => line.difference.n, isNumber: true },
            {
              name: "p, all tests together",
              value: (line) => line.p_holm,
              show: (line) => line.p_holm < 0.001 ? "< 0.001" : figure(line.p_holm, 3),
              isNumber: true,
            },
            {
              name: "Beyond chance",
              value: (line) => line.p_holm < SURE ? (line.difference.mean > 0 ? "better" : "worse") : "no",
            },
          ]}
        />
      )}
      <Table
        name="Models"
        rows={models}
        rowKey={(model) => model.name}
        none=""
        columns={[
          { name: "Model", value: (model) => model.name },
          { name: "n", value: (model) => model.n, isNumber: true },
          {
            name: "Refused",
            value: (model) =>
              Object.entries(model.refused).map(([code, rows]) => `${rows} ${words(code)}`).join(", ") || "none",
          },
          {
            name: "p50",
            value: (model) => model.latency.p50_ms,
            show: (model) => duration(model.latency.p50_ms),
            isNumber: true,
          },
          {
            name: "p95",
            value: (model) => model.latency.p95_ms,
            show: (model) => duration(model.latency.p95_ms),
            isNumber: true,
          },
          {
            name: "Tokens out",
            value: (model) => model.latency.output_tokens,
            show: (model) => count(model.latency.output_tokens),
            isNumber: true,
          },
        ]}
      />
      {first.confusion && (
        <div className="charts">
          {models.filter((model) => model.confusion).map((model) => (
            <Table
              key={model.name}
              name={`Levels of ${model.name}: reference by line, answer by column`}
              rows={inOrder(Object.keys(model.confusion!), LEVELS).map((level) =>
                [level, model.confusion![level]!] as const
              )}
              rowKey={([level]) => level}
              none=""
              columns={[
                { name: "Reference", value: ([level]) => level },
                ...inOrder(Object.keys(Object.values(model.confusion!)[0] ?? {}), LEVELS).map((
                  said,
                ): Column<readonly [string, Record<string, number>]> => ({
                  name: said,
                  value: ([, counts]) => counts[said],
                  show: ([level, counts]) => (
                    <span className={said === level ? "good-text" : counts[said] ? "bad-text" : "quiet"}>
                      {count(counts[said])}
                    </span>
                  ),
                  isNumber: true,
                })),
              ]}
            />
          ))}
        </div>
      )}
      {slices.length > 0 && (
        <Table
          name={`Slices of ${first.name}`}
          rows={slices}
          rowKey={(slice) => slice}
          none=""
          columns={[
            { name: "Slice", value: words },
            { name: "n", value: (slice) => Object.values(first.slices[slice]!)[0]?.n, isNumber: true },
            ...sliced.map((metric): Column<string> => ({
              name: nameOf(metric),
              value: (slice) => first.slices[slice]?.[metric]?.mean,
              show: (slice) => <Interval found={first.slices[slice]?.[metric]} />,
              isNumber: true,
            })),
          ]}
        />
      )}
    </>
  );
}

const signed = (value: number) => `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value).toFixed(2)}`;

/** `line`: the model's place among those whose whiskers stand beside it. */
function Interval({ found, line }: { found: Mean | null | undefined; line?: number }) {
  if (!found) return <>{NONE}</>;
  return (
    <>
      {line !== undefined && (
        <svg className="key" viewBox="0 0 8 8" aria-hidden="true">
          <circle cx="4" cy="4" r="3" className={`line-${Math.min(line, 2)}`} />
        </svg>
      )}
      {figure(found.mean)} <span className="quiet">{figure(found.low)} to {figure(found.high)}</span>
    </>
  );
}

/** Means and intervals from 0 to 1, the first model on top. */
function Whiskers({ found }: { found: (Mean | null | undefined)[] }) {
  return (
    <svg className="whiskers" viewBox={`0 0 200 ${10 * found.length + 4}`} aria-hidden="true">
      <path
        className="grid"
        d={`M4 0V${10 * found.length + 4}M100 0V${10 * found.length + 4}M196 0V${10 * found.length + 4}`}
      />
      {found.map((one, i) =>
        one && (
          <g key={i} className={`line-${Math.min(i, 2)}`}>
            <path d={`M${4 + 192 * one.low} ${7 + 10 * i}H${4 + 192 * one.high}`} />
            <circle cx={4 + 192 * one.mean} cy={7 + 10 * i} r="3" />
          </g>
        )
      )}
    </svg>
  );
}

function Gap({ found, widest }: { found: Mean; widest: number }) {
  const x = (value: number) => 100 + 96 * value / widest;
  return (
    <svg className="whiskers" viewBox="0 0 200 14" aria-hidden="true">
      <path className="even" d="M100 0V14" />
      <g className="line-0">
        <path d={`M${x(found.low)} 7H${x(found.high)}`} />
        <circle cx={x(found.mean)} cy="7" r="3" />
      </g>
    </svg>
  );
}
