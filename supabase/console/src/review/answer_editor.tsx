/** Editing an answer in place. Knows shapes and limits from the schema's types, nothing of verdicts. */
import { useEffect, useRef } from "react";
import type { Answer, PlanOutput, RiskOutput } from "../shapes.ts";
import { isRisk, PHASES } from "./answer_card.tsx";
import type { Faults } from "./faults.ts";

const LEVELS = ["low", "medium", "high"] as const;
const MOST_STEPS = 8;

type Props = {
  letter: "A" | "B";
  answer: Answer;
  faults: Faults;
  onChange: (answer: Answer) => void;
  /** Somebody wanted to keep it as it was. */
  isUnchanged: boolean;
  onKeep: () => void;
  onDrop: () => void;
};

export function AnswerEditor({ letter, answer, faults, isUnchanged, onChange, onKeep, onDrop }: Props) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => place.current?.querySelector<HTMLElement>("select, textarea")?.focus(), []);
  return (
    <div className="editor" role="group" aria-label={`Edit answer ${letter}`} ref={place}>
      {isRisk(answer)
        ? <RiskFields answer={answer} onChange={onChange} />
        : <PlanFields answer={answer} onChange={onChange} />}
      <div role="alert">
        {faults.shape.length > 0 && (
          <ul className="fault">{faults.shape.map((fault) => <li key={fault}>{fault}</li>)}</ul>
        )}
      </div>
      <div role="status">
        {faults.wording.length > 0 && (
          <div className="warn">
            <p>You can keep it, but no model will learn from it as it is:</p>
            <ul>{faults.wording.map((fault) => <li key={fault}>{fault}</li>)}</ul>
          </div>
        )}
      </div>
      <div role="status">
        {isUnchanged && (
          <p className="warn">Nothing is changed: there is no correction to keep. Change it, or drop it.</p>
        )}
      </div>
      <p className="row">
        <button type="button" onClick={onKeep} disabled={faults.shape.length > 0}>
          Keep correction <kbd>Ctrl+Enter</kbd>
        </button>
        <button type="button" className="quiet-button" onClick={onDrop}>
          Drop my edit <kbd>Esc</kbd>
        </button>
      </p>
    </div>
  );
}

function RiskFields({ answer, onChange }: { answer: RiskOutput; onChange: (answer: Answer) => void }) {
  return (
    <>
      <Choose
        name="Risk level"
        value={answer.risk_level}
        options={LEVELS}
        onChange={(risk_level) => onChange({ ...answer, risk_level })}
      />
      <Texts
        name="Reason"
        values={answer.reasons}
        most={3}
        least={1}
        longest={160}
        onChange={(reasons) => onChange({ ...answer, reasons })}
      />
      <Texts
        name="Action"
        values={answer.recommended_actions}
        most={2}
        least={1}
        longest={160}
        onChange={(recommended_actions) => onChange({ ...answer, recommended_actions })}
      />
    </>
  );
}

type Step = PlanOutput["suggested_plan"][number];

function PlanFields({ answer, onChange }: { answer: PlanOutput; onChange: (answer: Answer) => void }) {
  const steps = answer.suggested_plan;
  const set = (suggested_plan: Step[]) => onChange({ ...answer, suggested_plan });
  const put = (i: number, part: Partial<Step>) => set(steps.map((step, j) => i === j ? { ...step, ...part } : step));
  return (
    <>
      {steps.map((step, i) => (
        <fieldset key={i}>
          <legend>Step {i + 1}</legend>
          <Text name="Title" value={step.title} longest={90} onChange={(title) => put(i, { title })} />
          <div className="row">
            <Choose
              name="Phase"
              value={step.phase}
              options={Object.keys(PHASES) as Step["phase"][]}
              shown={PHASES}
              onChange={(phase) => put(i, { phase })}
            />
            <Choose
              name="Hours"
              value={String(step.duration)}
              options={["2", "4"]}
              onChange={(hours) => put(i, { duration: hours === "4" ? 4 : 2 })}
            />
            <Choose name="Risk" value={step.risk} options={LEVELS} onChange={(risk) => put(i, { risk })} />
            <button
              type="button"
              className="small quiet-button"
              disabled={steps.length === 1}
              onClick={() => set(steps.filter((_, j) => j !== i))}
            >
              Remove step {i + 1}
            </button>
            {steps.length === 1 && <span className="quiet">A plan has at least 1 step.</span>}
          </div>
        </fieldset>
      ))}
      <p className="row">
        <button
          type="button"
          className="small quiet-button"
          disabled={steps.length >= MOST_STEPS}
          onClick={() =>
            set([...steps, { phase: steps.at(-1)?.phase ?? "build_guidance", title: "", duration: 2, risk: "low" }])}
        >
          Add a step
        </button>
        {steps.length >= MOST_STEPS && (
          <span className="quiet">A plan has at most {MOST_STEPS} steps: remove one first.</span>
        )}
      </p>
      <Texts
        name="Risk"
        values={answer.overall_risks}
        most={3}
        least={0}
        longest={140}
        onChange={(overall_risks) => onChange({ ...answer, overall_risks })}
      />
      <Texts
        name="Assumption"
        values={answer.assumptions}
        most={3}
        least={0}
        longest={140}
        onChange={(assumptions) => onChange({ ...answer, assumptions })}
      />
    </>
  );
}

type ChooseProps<T extends string> = {
  name: string;
  value: T;
  options: readonly T[];
  shown?: Record<T, string>;
  onChange: (value: T) => void;
};

function Choose<T extends string>({ name, value, options, shown, onChange }: ChooseProps<T>) {
  return (
    <label>
      {name}
      <select value={value} onChange={(event) => onChange(event.target.value as T)}>
        {options.map((option) => <option key={option} value={option}>{shown?.[option] ?? option}</option>)}
      </select>
    </label>
  );
}

type TextsProps = {
  name: string;
  values: string[];
  least: number;
  most: number;
  longest: number;
  onChange: (values: string[]) => void;
};

function Texts({ name, values, least, most, longest, onChange }: TextsProps) {
  return (
    <>
      {values.map((value, i) => (
        <div className="row grow" key={i}>
          <Text
            name={`${name} ${i + 1}`}
            value={value}
            longest={longest}
            onChange={(text) => onChange(values.map((old, j) => i === j ? text : old))}
          />
          {values.length > least && (
            <button
              type="button"
              className="small quiet-button"
              onClick={() => onChange(values.filter((_, j) => j !== i))}
            >
              Remove {name.toLowerCase()} {i + 1}
            </button>
          )}
        </div>
      ))}
      {values.length < most && (
        <button
          type="button"
          className="small quiet-button"
          onClick={() => onChange([...values, ""])}
        >
          Add {/^[AEIOU]/.test(name) ? "an" : "a"} {name.toLowerCase()}
        </button>
      )}
    </>
  );
}

function Text(
  { name, value, longest, onChange }: {
    name: string;
    value: string;
    longest: number;
    onChange: (text: string) => void;
  },
) {
  return (
    <label className="text">
      {name}
      <textarea
        rows={2}
        maxLength={longest}
        value={value}
        onChange={(event) => onChange(event.target.value.replaceAll("\n", " "))}
      />
    </label>
  );
}
