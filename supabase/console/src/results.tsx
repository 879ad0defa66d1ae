/** What people say: who wins, whether they agree, whether metrics agree with them, slice by slice. */
import type { SupabaseClient } from "@supabase/supabase-js";
import { useCallback, useMemo } from "react";
import { count, duration, figure, NONE, percent, plural, words } from "./format.ts";
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
  disputed,
  kappa,
  meanScore,
  medianSeconds,
  metricAgreement,
  plantedFound,
  scoreAgreement,
  SCORES,
  winRate,
} from "./summary.ts";

const SAME = "Everybody said one and the same thing, so chance alone may explain it.";

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
      {data.left > 0
        ? (
          <Empty title="Results are shown when you have judged your pairs">
            Knowing who wins would sway you. You have {plural(data.left, "pair")} left:{" "}
            <a href="#/review">go on</a>. A pair that another reviewer is looking at now may still come to you within
            half an hour.
          </Empty>
        )
        : (
          <>
            <p className="quiet">
              {data.scope}: {countedOf(shown, openOf(data, feature))}
              {data.pairs.length >= NEWEST &&
                ` These are the newest ${count(NEWEST)} pairs; the rest is in the database.`}
            </p>
            {shown.length === 0
              ? (
                <Empty title="No results yet">
                  A pair is settled once two reviewers have judged it alike, or a third has. Reviewers find theirs under
                  Review; an operator fills the queue under Operator, Reviewers.
                </Empty>
              )
              : <Figures pairs={shown} />}
          </>
        )}
    </>
  );
}

/** How many pairs slm_review_results gives at most. */
const NEWEST = 1_000;

function openOf({ open }: Found, feature: string): number {
  return feature === "all" ? Object.values(open).reduce((sum, pairs) => sum + pairs, 0) : open[feature] ?? 0;
}

/** What there is, in a sentence: planted pairs are no part of it. */
function countedOf(pairs: Judged[], open: number): string {
  const real = pairs.filter((pair) => !pair.is_gold);
  const waiting = disputed(real);
  const settled = real.length - waiting;
  return [
    `${plural(settled, "settled pair")}, ${count(open)} open.`,
    ...(waiting > 0
      ? [`${plural(waiting, "pair waits", "pairs wait")} for a third reviewer, because the first two differ.`]
      : []),
    ...(settled > 0 ? ["Each settled pair was judged by two people, by a third where they differed."] : []),
  ].join(" ");
}

function Figures({ pairs }: { pairs: Judged[] }) {
  const said = useMemo(() => {
    const real = pairs.filter((pair) => !pair.is_gold);
    return {
      real,
      win: winRate(real),
      waiting: disputed(real),
      alpha: agreement(real),
      kappa: kappa(real),
      planted: plantedFound(pairs),
      seconds: medianSeconds(pairs),
      scores: SCORES.map((score) => ({ score, mean: meanScore(real, score), alpha: scoreAgreement(real, score) })),
      metrics: metricAgreement(real),
      slices: [
        ...bySlice(real, (pair) => `${pair.made_by === "slm" ? "private model" : pair.made_by} against ${pair.against}`)
          .map(([name, rows]) => ({
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
        <Tile
          name="Private model wins"
          interval={said.win}
          show={percent}
          note={`settled pairs, ties count half${said.waiting > 0 ? `; ${said.waiting} not counted yet` : ""}`}
          none="No pair is settled yet."
        />
        <Tile
          name="Reviewers agree (Krippendorff's α)"
          interval={said.alpha}
          show={figure}
          note="pairs with two verdicts or more. 1: always the same verdict; 0: no more than by chance"
          none={real.length === 0 ? "No pair has two verdicts yet." : SAME}
        />
        <Tile
          name="Two of them agree (Cohen's κ)"
          interval={said.kappa?.interval ?? null}
          show={figure}
          note={`pairs of reviewers ${said.kappa?.who}, who share most. 1: always the same verdict; 0: no more than by chance`}
          none={said.kappa ? SAME : "No two reviewers share a pair yet."}
        />
        <Tile
          name="Planted pairs found"
          interval={said.planted}
          show={percent}
          note="verdicts on pairs whose answer is known"
          none="No planted pair has two verdicts yet."
        />
        <div className="card tile">
          <h2>Time for a verdict</h2>
          <p className="big">{duration(Number.isNaN(said.seconds) ? null : 1000 * said.seconds)}</p>
          <p className="quiet">{Number.isNaN(said.seconds) ? "No verdict yet." : "half take at most so long"}</p>
        </div>
      </div>
      <p className="note">
        In the tables, “private” is the model of our own and “other” is what it is compared with, the cloud or another
        model.
      </p>
      <Table
        name="Verdicts"
        rows={said.slices}
        rowKey={(row) => row.kind + row.name}
        none="No verdicts yet."
        columns={SLICES}
      />
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
            show: (row) =>
              Number.isNaN(row.alpha.value)
                ? `– ${row.alpha.n === 0 ? "no pair has two scores" : "all scores are the same"}`
                : figure(row.alpha.value),
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
    {
      name,
      value: (row) => of(row).value,
      show: (row) => of(row).n === 0 ? `${NONE} none settled` : show(of(row).value),
      isNumber: true,
    },
    { name: "95 % from", value: (row) => of(row).low, show: (row) => show(of(row).low), isNumber: true },
    { name: "to", value: (row) => of(row).high, show: (row) => show(of(row).high), isNumber: true },
    { name: "n", value: (row) => of(row).n, isNumber: true },
  ];
}

type Slice = { kind: string; name: string; rows: Judged[] };
const votes = (row: Slice, verdict: string) =>
  row.rows.filter((pair) => pair.is_settled && (pair.verdict ?? "none") === verdict).length;
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
  { name: "private better", value: (row) => votes(row, "first"), isNumber: true },
  { name: "other better", value: (row) => votes(row, "second"), isNumber: true },
  { name: "both good", value: (row) => votes(row, "both_good"), isNumber: true },
  { name: "both bad", value: (row) => votes(row, "both_bad"), isNumber: true },
  { name: "no majority", value: (row) => votes(row, "none"), isNumber: true },
  { name: "third awaited", value: (row) => disputed(row.rows), isNumber: true },
];

type TileProps = {
  name: string;
  interval: Interval | null;
  show: (value: number) => string;
  note: string;
  none: string;
};

/** `none` says why there is no figure. */
function Tile({ name, interval, show, note, none }: TileProps) {
  const isKnown = interval !== null && !Number.isNaN(interval.value);
  return (
    <div className="card tile">
      <h2>{name}</h2>
      <p className="big">{isKnown ? show(interval.value) : NONE}</p>
      <p className="quiet">
        {isKnown && !Number.isNaN(interval.low) && `95 % interval: ${show(interval.low)} to ${show(interval.high)}; `}
        {isKnown ? `n = ${interval.n} ${note}` : none}
      </p>
    </div>
  );
}
