/** How far each feature has moved, what the guard sees, and the operator's hand on it. */
import type { SupabaseClient } from "@supabase/supabase-js";
import { useCallback, useRef, useState } from "react";
import { at, count, day, figure, percent } from "../format.ts";
import { AsOf } from "../parts/asof.tsx";
import { usePolled } from "../parts/polled.ts";
import { Table } from "../parts/table.tsx";
import { call, said } from "../project.ts";
import type { Action, Place, Rollout, Rollouts as Found } from "../shapes.ts";
import { WarningList } from "./warnings.tsx";

const STAGES: Place[] = [
  { stage: "off", share: 0 },
  { stage: "shadow", share: 0 },
  { stage: "canary", share: 1 },
  { stage: "canary", share: 10 },
  { stage: "canary", share: 50 },
  { stage: "full", share: 100 },
];
const nameOf = ({ stage, share }: Place) => stage === "canary" ? `canary ${share}\u00a0%` : stage;

export function Rollouts({ client }: { client: SupabaseClient }) {
  const polled = usePolled(useCallback(() => call<Found>(client, "slm_operator_rollouts"), [client]));
  const { data } = polled;
  return (
    <>
      <AsOf polled={polled} />
      {data && (
        <>
          <WarningList warnings={data.warnings} />
          {data.rollouts.map((rollout) => (
            <One key={rollout.feature} rollout={rollout} client={client} onMoved={polled.put} onStale={polled.again} />
          ))}
          <Table
            name="Cloud models"
            rows={data.providers}
            rowKey={(row) => row.name}
            none="No cloud model is entered (slm_providers): organisations get the private model, then rules."
            columns={[
              { name: "Name", value: (row) => row.name },
              { name: "Model", value: (row) => row.model },
              { name: "From", value: (row) => row.starts_on, show: (row) => day(row.starts_on) },
              {
                name: "Ends",
                value: (row) => row.ends_on,
                show: (row) =>
                  row.ends_on
                    ? `${day(row.ends_on)}, ${row.days_left! > 0 ? `in ${row.days_left} days` : "ended"}`
                    : "no end announced",
              },
              { name: "Enabled", value: (row) => row.is_enabled ? "yes" : "no" },
              { name: "Rank", value: (row) => row.rank, isNumber: true },
            ]}
          />
          <Table
            name="Breakers"
            about="A breaker opens when a provider fails several times in a row: until the time shown nobody waits for it, and the next provider answers at once."
            rows={data.breakers}
            rowKey={(row) => row.provider}
            none="No breaker was ever touched: every provider has answered."
            columns={[
              { name: "Provider", value: (row) => row.provider },
              {
                name: "State",
                value: (row) => row.open_until,
                show: (row) =>
                  row.open_until && new Date(row.open_until) > new Date()
                    ? `open until ${at(row.open_until)}`
                    : "closed",
              },
              { name: "Failures in a row", value: (row) => row.failures, isNumber: true },
              { name: "Last cause", value: (row) => row.last_cause },
            ]}
          />
        </>
      )}
    </>
  );
}

type Props = { rollout: Rollout; client: SupabaseClient; onMoved: (found: Found) => void; onStale: () => void };

function One({ rollout, client, onMoved, onStale }: Props) {
  const [action, setAction] = useState<Action | null>(null);
  const here = STAGES.findIndex((place) => place.stage === rollout.stage && place.share === rollout.share);
  const metrics = Object.entries(rollout.guard.metrics ?? {}).map(([name, metric]) => ({ name, ...metric }));
  const buttons: [Action, string, boolean][] = [
    [
      "rollback",
      rollout.previous ? `Roll back to ${nameOf(rollout.previous)}` : "Roll back",
      rollout.previous === null,
    ],
    ["advance", rollout.next ? `Advance to ${nameOf(rollout.next)}` : "Advance", rollout.next === null],
    rollout.is_pinned ? ["unpin", "Unpin", false] : ["pin", "Pin here", false],
    rollout.is_paused ? ["resume", "Resume the guard", false] : ["pause", "Pause the guard", false],
  ];
  return (
    <section className="card" aria-label={`Rollout of ${rollout.feature}`}>
      <h2>{rollout.feature === "risk" ? "Risk coach" : "Planning assistant"}: {nameOf(rollout)}</h2>
      <ol className="stages" aria-label="Stages">
        {STAGES.map((place, i) => (
          <li key={nameOf(place)} aria-current={i === here ? "step" : undefined}>
            <span>{nameOf(place)}</span>
          </li>
        ))}
      </ol>
      <p>
        Since {at(rollout.since)}: {rollout.reason}
        {rollout.is_pinned && <span className="tag strong">pinned</span>}
        {rollout.is_paused && <span className="tag warn-tag">guard paused</span>}
        {rollout.min_confidence > 0 && (
          <span className="tag">answers under confidence {rollout.min_confidence} go on</span>
        )}
      </p>
      <div className="row">
        {buttons.map(([name, label, isOff]) => (
          <button
            key={name}
            type="button"
            disabled={isOff}
            aria-expanded={action === name}
            onClick={() => setAction(action === name ? null : name)}
          >
            {label}
          </button>
        ))}
      </div>
      <ul className="quiet hints">
        <li>Roll back or advance: one stage, now. The guard does the same by itself when the evidence is there.</li>
        <li>Pin here: the guard advances no further by itself, but still rolls back.</li>
        <li>Pause the guard: it neither advances nor rolls back until it is resumed; answers go on as they are.</li>
      </ul>
      {action && (
        <Why
          key={action}
          action={action}
          label={buttons.find(([name]) => name === action)?.[1] ?? action}
          {...{ rollout, client, onMoved, onStale }}
          onDone={() => setAction(null)}
        />
      )}
      <Table
        name={`What the guard sees, ${rollout.feature}`}
        rows={metrics}
        rowKey={(row) => row.name}
        none={rollout.stage === "off"
          ? "The guard rests while the feature is off."
          : "The guard has not looked since this stage began: schedule python -m trainer upkeep."}
        columns={[
          { name: "Metric", value: (row) => row.name },
          {
            name: "Private model bad",
            value: (row) => row.candidate_bad,
            show: (row) => `${count(row.candidate_bad)} of ${count(row.candidate)}`,
            isNumber: true,
          },
          {
            name: "Share",
            value: (row) => row.candidate ? row.candidate_bad / row.candidate : null,
            show: (row) => percent(row.candidate ? row.candidate_bad / row.candidate : null),
            isNumber: true,
          },
          {
            name: "Cloud bad",
            value: (row) => row.control_bad,
            show: (row) => `${count(row.control_bad)} of ${count(row.control)}`,
            isNumber: true,
          },
          { name: "Line", value: (row) => row.line, show: (row) => percent(row.line), isNumber: true },
          {
            name: "Evidence that it is worse",
            value: (row) => row.evidence_worse,
            show: (row) => figure(row.evidence_worse, 1),
            isNumber: true,
          },
          {
            name: "Evidence that it is good",
            value: (row) => row.evidence_good,
            show: (row) => `${figure(row.evidence_good, 1)} of 20`,
            isNumber: true,
          },
        ]}
      />
      <Table
        name={`What happened, ${rollout.feature}`}
        rows={rollout.events}
        rowKey={(row) => String(row.id)}
        none="The stage has never changed."
        columns={[
          { name: "When", value: (row) => row.at, show: (row) => at(row.at) },
          { name: "From", value: (row) => nameOf({ stage: row.from_stage, share: row.from_share }) },
          { name: "To", value: (row) => nameOf({ stage: row.to_stage, share: row.to_share }) },
          { name: "By", value: (row) => row.by },
          { name: "Why", value: (row) => row.reason },
        ]}
      />
    </section>
  );
}

type WhyProps = Props & { action: Action; label: string; onDone: () => void };

function Why({ action, label, rollout, client, onMoved, onStale, onDone }: WhyProps) {
  const [reason, setReason] = useState("");
  const [fault, setFault] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  // The stage that was seen when the button was pressed: a later change must not be overridden unseen.
  const seen = useRef(`${rollout.stage}-${rollout.share}`);
  const move = async () => {
    setBusy(true);
    try {
      onMoved(
        await call<Found>(client, "slm_operator_move", {
          p_feature: rollout.feature,
          p_action: action,
          p_reason: reason,
          p_seen: seen.current,
        }),
      );
      onDone();
    } catch (error) {
      setFault(said(error));
      onStale();
      setBusy(false);
    }
  };
  return (
    <form
      className="why"
      onSubmit={(event) => {
        event.preventDefault();
        void move();
      }}
    >
      <label className="text">
        Why? It is written down with your name.
        <input
          autoFocus
          value={reason}
          maxLength={500}
          required
          onChange={(event) => setReason(event.target.value)}
          onKeyDown={(event) => event.key === "Escape" && onDone()}
        />
      </label>
      {fault && <p className="fault" role="alert">{fault}</p>}
      <div className="row">
        <button type="submit" className="primary" disabled={isBusy || reason.trim() === ""}>{label}</button>
        <button type="button" className="quiet-button" onClick={onDone}>Cancel</button>
      </div>
    </form>
  );
}
