/** Training runs as they go, models with what they came from, evaluations and datasets with their reports. */
import type { SupabaseClient } from "@supabase/supabase-js";
import { useCallback } from "react";
import { at, count, figure, megabytes, NONE, words } from "../format.ts";
import { AsOf } from "../parts/asof.tsx";
import { download } from "../parts/csv.ts";
import { usePolled } from "../parts/polled.ts";
import { Table } from "../parts/table.tsx";
import { call } from "../project.ts";
import type { Model, Models as Found, Run } from "../shapes.ts";

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
              { name: "Why", value: (row) => row.why },
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
              { name: "Made", value: (row) => row.created_at, show: (row) => at(row.created_at) },
              { name: "Run", value: (row) => row.run_id, show: (row) => short(row.run_id) },
              { name: "Dataset", value: (row) => row.dataset_id, show: (row) => short(row.dataset_id) },
              { name: "Base", value: (row) => row.base_sha256, show: (row) => short(row.base_sha256) },
              {
                name: "Weights",
                value: (row) => row.weights_sha256 ?? row.adapter_sha256,
                show: (row) => short(row.weights_sha256 ?? row.adapter_sha256),
              },
              { name: "Quantised", value: (row) => row.quantisation },
              { name: "Size", value: (row) => row.bytes, show: (row) => megabytes(row.bytes), isNumber: true },
              { name: "Least confidence", value: (row) => row.min_confidence, isNumber: true },
              {
                name: "Calibration",
                value: (row) => row.calibration ? JSON.stringify(row.calibration) : null,
                show: (row) => <Calibration model={row} />,
              },
              { name: "Why", value: (row) => row.why },
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
              { name: "Models", value: (row) => row.models?.join(" ") },
              { name: "n", value: (row) => row.n, isNumber: true },
              {
                name: "Summary",
                value: (row) => JSON.stringify(row.summary ?? {}),
                show: (row) => <Details name={`Summary of ${at(row.created_at)}`} value={row.summary} />,
              },
              {
                name: "Report",
                value: (row) => row.report,
                show: (row) => (
                  <Report name={`evaluation-${row.feature}-${row.created_at.slice(0, 10)}`} text={row.report} />
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
                value: (row) => JSON.stringify(row.manifest),
                show: (row) => <Details name={`Report of dataset ${short(row.id)}`} value={row.manifest} />,
              },
            ]}
          />
        </>
      )}
    </>
  );
}

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

function Details({ name, value }: { name: string; value: unknown }) {
  if (!value || Object.keys(value).length === 0) return <>{NONE}</>;
  return (
    <details>
      <summary aria-label={name}>Show</summary>
      <pre tabIndex={0} role="group" aria-label={name}>{JSON.stringify(value, null, 2)}</pre>
    </details>
  );
}

/** The trainer says where it wrote the page: an address, a path on its machine, or the page itself. */
function Report({ name, text }: { name: string; text: string | null | undefined }) {
  if (!text) return <>{NONE}</>;
  if (/^https?:\/\//.test(text)) return <a href={text} target="_blank" rel="noreferrer">Open report</a>;
  if (!text.trimStart().startsWith("<")) return <code>{text}</code>;
  return (
    <button type="button" className="small" onClick={() => download(`${name}.html`, text, "text/html")}>
      Save report
    </button>
  );
}
