/** Training runs as they go, models with what they came from, evaluations and datasets with a way to their reports. */
import type { SupabaseClient } from "@supabase/supabase-js";
import { useCallback } from "react";
import { at, count, duration, figure, megabytes, NONE, words } from "../format.ts";
import { AsOf } from "../parts/asof.tsx";
import { usePolled } from "../parts/polled.ts";
import { Table } from "../parts/table.tsx";
import { call } from "../project.ts";
import type { Evaluation, Model, Models as Found, Run } from "../shapes.ts";

const short = (hash: string | null | undefined) => hash ? hash.slice(0, 10) : NONE;

export function Models({ client }: { client: SupabaseClient }) {
  const polled = usePolled(useCallback(() => call<Found>(client, "slm_operator_models"), [client]));
  const { data } = polled;
  const running = data?.runs.filter((run) => run.status === "running") ?? [];
  return (
    <>
      <AsOf polled={polled} />
      {running.map((run) => <Running key={run.id} run={run} />)}
      {data && (
        <>
          <Table
            name="Training runs"
            rows={data.runs}
            rowKey={(row) => row.id}
            none="No run yet: python -m trainer run trains on what the history holds."
            columns={[
              { name: "Began", value: (row) => row.created_at, show: (row) => at(row.created_at) },
              { name: "Features", value: (row) => row.features?.join(" ") },
              { name: "Preset", value: (row) => row.preset },
              {
                name: "Status",
                value: (row) => row.status,
                show: (row) => <span className={`state ${row.status}`}>{words(row.status ?? NONE)}</span>,
              },
              { name: "Stage", value: (row) => row.stage },
              {
                name: "Step",
                value: (row) => row.progress?.step,
                show: (row) =>
                  row.progress?.step != null ? `${count(row.progress.step)} of ${count(row.progress.steps)}` : NONE,
                isNumber: true,
              },
              {
                name: "Loss",
                value: (row) => row.progress?.loss,
                show: (row) => figure(row.progress?.loss, 3),
                isNumber: true,
              },
              { name: "Why", value: (row) => row.why, isLong: true },
              { name: "Ended", value: (row) => row.ended_at, show: (row) => at(row.ended_at) },
            ]}
          />
          <Table
            name="Models"
            rows={data.models}
            rowKey={(row) => row.name + row.feature}
            none="No model is registered yet: the starter adapter of the repository answers. A training run registers its own."
            columns={[
              { name: "Name", value: (row) => row.name },
              { name: "Feature", value: (row) => row.feature },
              {
                name: "Status",
                value: (row) => row.status,
                show: (row) => <span className={`state ${row.status}`}>{row.status ?? NONE}</span>,
              },
              { name: "Least confidence", value: (row) => row.min_confidence, isNumber: true },
              {
                name: "Calibration",
                value: (row) => row.calibration ? JSON.stringify(row.calibration) : null,
                show: (row) => <Calibration model={row} />,
              },
              {
                name: "Gates passed",
                value: (row) => row.gates?.filter((one) => one.passed).length,
                show: (row) =>
                  row.gates ? `${row.gates.filter((one) => one.passed).length} of ${row.gates.length}` : NONE,
                isNumber: true,
              },
              { name: "Made", value: (row) => row.created_at, show: (row) => at(row.created_at) },
              {
                name: "Dataset",
                value: (row) => row.dataset_id,
                show: (row) =>
                  row.dataset_id ? <a href={`#/operator/data?id=${row.dataset_id}`}>{short(row.dataset_id)}</a> : NONE,
              },
              {
                name: "Evaluation",
                value: (row) => evaluationOf(data, row)?.id,
                show: (row) => {
                  const found = evaluationOf(data, row);
                  return found ? <a href={`#/operator/evaluation?id=${found.id}`}>{at(found.created_at)}</a> : NONE;
                },
              },
              { name: "Why", value: (row) => row.why, isLong: true },
              { name: "Run", value: (row) => row.run_id, show: (row) => <code>{short(row.run_id)}</code> },
              {
                name: "Weights",
                value: (row) => row.weights_sha256 ?? row.adapter_sha256,
                show: (row) => short(row.weights_sha256 ?? row.adapter_sha256),
              },
              { name: "Base", value: (row) => row.base_sha256, show: (row) => short(row.base_sha256) },
              { name: "Quantised", value: (row) => row.quantisation },
              { name: "Size", value: (row) => row.bytes, show: (row) => megabytes(row.bytes), isNumber: true },
            ]}
          />
          <Table
            name="Evaluations"
            rows={data.evaluations}
            rowKey={(row) => row.id}
            none="No evaluation yet: python -m trainer evaluate judges a model on the gold set."
            columns={[
              { name: "When", value: (row) => row.created_at, show: (row) => at(row.created_at) },
              { name: "Feature", value: (row) => row.feature },
              { name: "Models", value: (row) => row.models?.join(" against "), isLong: true },
              { name: "n", value: (row) => row.n, isNumber: true },
              {
                name: "Accepted",
                value: (row) => row.metrics?.["accepted"]?.mean,
                show: (row) => <Share of={row} metric="accepted" />,
                isNumber: true,
              },
              {
                name: "ROUGE-L",
                value: (row) => row.metrics?.["rouge_l"]?.mean,
                show: (row) => <Share of={row} metric="rouge_l" />,
                isNumber: true,
              },
              {
                name: "p50",
                value: (row) => row.latency?.p50_ms,
                show: (row) => duration(row.latency?.p50_ms),
                isNumber: true,
              },
              { name: "Least confidence", value: (row) => row.min_confidence, isNumber: true },
              {
                name: "Report",
                value: (row) => row.id,
                show: (row) => (
                  <ReportLink
                    kind="evaluation"
                    id={row.id}
                    name={`evaluation of ${row.feature}, ${at(row.created_at)}`}
                  />
                ),
              },
            ]}
          />
          <Table
            name="Datasets"
            rows={data.datasets}
            rowKey={(row) => row.id}
            none="No dataset yet: python -m trainer data makes one of the history, where organisations allow training."
            columns={[
              { name: "Dataset", value: (row) => row.id, show: (row) => short(row.id) },
              { name: "Feature", value: (row) => row.feature },
              { name: "Made", value: (row) => row.created_at, show: (row) => at(row.created_at) },
              { name: "Status", value: (row) => row.status },
              {
                name: "Train",
                value: (row) => row.splits["train"],
                show: (row) => count(row.splits["train"]),
                isNumber: true,
              },
              {
                name: "Validation",
                value: (row) => row.splits["validation"],
                show: (row) => count(row.splits["validation"]),
                isNumber: true,
              },
              {
                name: "Test",
                value: (row) => row.splits["test"],
                show: (row) => count(row.splits["test"]),
                isNumber: true,
              },
              {
                name: "Gold",
                value: (row) => row.splits["gold"],
                show: (row) => count(row.splits["gold"]),
                isNumber: true,
              },
              { name: "Erased since", value: (row) => row.erased, isNumber: true },
              {
                name: "Report",
                value: (row) => row.id,
                show: (row) => <ReportLink kind="data" id={row.id} name={`dataset ${short(row.id)}`} />,
              },
            ]}
          />
        </>
      )}
    </>
  );
}

const evaluationOf = ({ evaluations }: Found, { run_id, feature }: Model) =>
  evaluations.find((one) => run_id && one.run_id === run_id && one.feature === feature);

function Running({ run }: { run: Run }) {
  const { step, steps, loss, tokens_per_s } = run.progress ?? {};
  return (
    <section className="card" aria-label="Training now">
      <h2>
        Training now: {run.features?.join(" and ")} <span className="tag">{run.stage ?? "starting"}</span>
      </h2>
      {step != null && steps != null && <progress max={steps} value={step} aria-label="Steps" />}
      <p>
        {step != null ? `Step ${count(step)} of ${count(steps)}` : "No step yet"}
        {loss != null && `, loss ${figure(loss, 3)}`}
        {tokens_per_s != null && `, ${count(tokens_per_s)} tokens/s`}{" "}
        <span className="quiet">by {run.holder ?? "somebody"}, last sign {at(run.heartbeat_at)}</span>
      </p>
      {run.lease_until && Date.parse(run.lease_until) < Date.now() && (
        <p className="warn">
          It has given no sign for a while: it may have died. python -m trainer run takes it over where it stood.
        </p>
      )}
    </section>
  );
}

/** Raw confidence against what it means after calibration; straight where nothing is fitted. */
function Calibration({ model: { calibration } }: { model: Model }) {
  if (!calibration?.kind) return <>{NONE}</>;
  if (calibration.kind !== "isotonic" || !calibration.x || !calibration.y) {
    return <>{calibration.kind}{calibration.temperature ? ` ${figure(calibration.temperature)}` : ""}</>;
  }
  const points = calibration.x.map((x, i) =>
    `${(4 + 56 * x).toFixed(1)},${(60 - 56 * (calibration.y?.[i] ?? 0)).toFixed(1)}`
  ).join(" ");
  const label = calibration.x.map((x, i) => `${figure(x)} means ${figure(calibration.y?.[i])}`).join(", ");
  return (
    <svg className="calibration" viewBox="0 0 64 64" role="img" aria-label={`Calibration: ${label}`}>
      <path d="M4 60 L60 4" className="even" />
      <polyline points={points} />
    </svg>
  );
}

/** The mean with its interval. */
function Share({ of, metric }: { of: Evaluation; metric: string }) {
  const found = of.metrics?.[metric];
  if (!found) return <>{NONE}</>;
  return (
    <>
      {figure(found.mean)} <span className="quiet">{figure(found.low)} to {figure(found.high)}</span>
    </>
  );
}

function ReportLink({ kind, id, name }: { kind: "data" | "evaluation"; id: string; name: string }) {
  return (
    <a href={`#/operator/${kind}?id=${id}`}>
      Open<span className="visually-hidden">report of {name}</span>
    </a>
  );
}
