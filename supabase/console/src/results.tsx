/** What people say: who wins, whether they agree, whether metrics agree with them, slice by slice. */
import type { SupabaseClient } from "@supabase/supabase-js";
import { useCallback, useMemo } from "react";
import { figure, percent, plural, words } from "./format.ts";
import { AsOf } from "./parts/asof.tsx";
import { Empty } from "./parts/empty.tsx";
import { usePolled } from "./parts/polled.ts";
import { type Column, Table } from "./parts/table.tsx";
import { call } from "./project.ts";
import type { Place } from "./routes.ts";
import type { Judged, Results as Found } from "./shapes.ts";
import type { Interval } from "./statistics.ts";
import {
  agreement,
  bySlice,
  kappa,
  meanScore,
  medianSeconds,
  metricAgreement,
  plantedFound,
  scoreAgreement,
  SCORES,
  winRate,
} from "./summary.ts";

export function Results({ client, place }: { client: SupabaseClient; place: Place }) {
  const ask = useCallback(() => call<Found>(client, "slm_review_results"), [client]);
  const polled = usePolled(ask);
  const feature = place.values.get("feature") ?? "all";
  const { data } = polled;
  if (!data) {
    return (
      <>
        <h1>Results</h1>
        <AsOf polled={polled} />
      </>
    );
  }
  const shown = data.pairs.filter((pair) => feature === "all" || pair.feature === feature);
  return (
    <>
      <h1>Results</h1>
      <div className="row spread">
        <nav className="tabs" aria-label="Feature">
          {["all", "risk", "plan"].map((name) => (
            <a key={name} href={`#/results?feature=${name}`} aria-current={feature === name ? "page" : undefined}>
              {name === "all" ? "Both features" : name}
            </a>
          ))}
        </nav>
        <AsOf polled={polled} />
      </div>
      <p className="quiet">
        {data.scope}: {plural(shown.length, "settled pair")}, {data.open}{" "}
        open (of both features). Each was judged by two people, by a third where they differed.
      </p>
      {shown.length === 0
        ? (
          <Empty title="No results yet">
            A pair is settled once two reviewers have judged it. Reviewers find theirs under Review; an operator fills
            the queue under Operator, Reviewers.
          </Empty>
        )
        : <Figures pairs={shown} />}
    </>
  );
}

function Figures({ pairs }: { pairs: Judged[] }) {
  const said = useMemo(() => {
    const real = pairs.filter((pair) => !pair.is_gold);
    return {
      real,
      win: winRate(real),
      alpha: agreement(real),
      kappa: kappa(real),
      planted: plantedFound(pairs),
      seconds: medianSeconds(pairs),
      scores: SCORES.map((score) => ({ score, mean: meanScore(real, score), alpha: scoreAgreement(real, score) })),
      metrics: metricAgreement(real),
      slices: [
        ...bySlice(real, (pair) => `${pair.made_by} against ${pair.against}`).map(([name, rows]) => ({
          kind: "models",
          name,
          rows,
        })),
        ...bySlice(real, (pair) => pair.feature).map(([name, rows]) => ({ kind: "feature", name, rows })),
        ...bySlice(real, (pair) => pair.stratum).map(([name, rows]) => ({ kind: "slice", name, rows })),
      ],
    };
  }, [pairs]);
  const { real } = said;
  return (
    <>
      <div className="tiles">
        <Tile name="Private model wins" interval={said.win} show={percent} note="of pairs, ties count half" />
        <Tile
          name="Reviewers agree (Krippendorff's α)"
          interval={said.alpha}
          show={figure}
          note="pairs; 1 always, 0 as by chance"
        />
        {said.kappa && (
          <Tile
            name="Cohen's κ"
            interval={said.kappa.interval}
            show={figure}
            note={`pairs of reviewers ${said.kappa.who}`}
          />
        )}
        <Tile
          name="Planted pairs found"
          interval={said.planted}
          show={percent}
          note="verdicts on pairs whose answer is known"
        />
        <div className="card tile">
          <h2>Time for a verdict</h2>
          <p className="big">{figure(said.seconds, 0)} s</p>
          <p className="quiet">half take at most so long</p>
        </div>
      </div>
      <Table name="Verdicts" rows={said.slices} rowKey={(row) => row.kind + row.name} none="" columns={SLICES} />
      <Table
        name="Scores"
        rows={said.scores.filter(({ mean }) => mean.n > 0)}
        rowKey={(row) => row.score}
        none="Nobody has given a score yet: 1 to 5 under each pair."
        columns={[
          { name: "Score, 1 to 5", value: (row) => row.score },
          ...columnsOf((row: typeof said.scores[number]) => row.mean, "Mean", (value) => figure(value)),
          {
            name: "Agreement α",
            value: (row) => row.alpha.value,
            show: (row) => figure(row.alpha.value),
            isNumber: true,
          },
        ]}
      />
      <Table
        name="Do metrics agree with people?"
        rows={said.metrics}
        rowKey={(row) => row.metric}
        none="No metric tells the answers of a pair apart yet: pairs from an evaluation carry ROUGE-L and whether each answer was accepted."
        columns={[
          { name: "Metric", value: (row) => words(row.metric) },
          ...columnsOf((row: typeof said.metrics[number]) => row.interval, "Prefers what people prefer", percent),
        ]}
      />
      {real.length < 30 && <p className="note">With fewer than 30 pairs the intervals say more than the figures.</p>}
    </>
  );
}

function columnsOf<T>(of: (row: T) => Interval, name: string, show: (value: number) => string): Column<T>[] {
  return [
    { name, value: (row) => of(row).value, show: (row) => show(of(row).value), isNumber: true },
    { name: "95 % from", value: (row) => of(row).low, show: (row) => show(of(row).low), isNumber: true },
    { name: "to", value: (row) => of(row).high, show: (row) => show(of(row).high), isNumber: true },
    { name: "n", value: (row) => of(row).n, isNumber: true },
  ];
}

type Slice = { kind: string; name: string; rows: Judged[] };
const votes = (row: Slice, verdict: string) => row.rows.filter((pair) => (pair.verdict ?? "none") === verdict).length;
const SLICES: Column<Slice>[] = [
  {
    name: "Slice",
    value: (row) => row.name,
    show: (row) => (
      <>
        {row.name} <span className="quiet">{row.kind}</span>
      </>
    ),
  },
  ...columnsOf((row: Slice) => winRate(row.rows), "Win rate", percent),
  { name: "first", value: (row) => votes(row, "first"), isNumber: true },
  { name: "second", value: (row) => votes(row, "second"), isNumber: true },
  { name: "both good", value: (row) => votes(row, "both_good"), isNumber: true },
  { name: "both bad", value: (row) => votes(row, "both_bad"), isNumber: true },
  { name: "no majority", value: (row) => votes(row, "none"), isNumber: true },
];

function Tile(
  { name, interval, show, note }: { name: string; interval: Interval; show: (value: number) => string; note: string },
) {
  return (
    <div className="card tile">
      <h2>{name}</h2>
      <p className="big">{show(interval.value)}</p>
      <p className="quiet">
        {interval.n > 0 && !Number.isNaN(interval.low) ? `95 % ${show(interval.low)} to ${show(interval.high)}, ` : ""}n
        = {interval.n} {note}
      </p>
    </div>
  );
}
