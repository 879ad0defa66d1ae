/** One answer as the app would show it: the coach's popup, or the plan grouped by phase. Knows nothing of who made it. */
import type { ReactNode } from "react";
import { plural, words } from "../format.ts";
import type { Answer, PlanOutput, RiskOutput } from "../shapes.ts";

export const PHASES: Record<PlanOutput["suggested_plan"][number]["phase"], string> = {
  requirement_refiner: "Requirements",
  design_guidance: "Design",
  build_guidance: "Build",
  acceptance_criteria: "Acceptance",
  deployment: "Deployment",
};
const BADGES: Record<RiskOutput["risk_level"], string> = { low: "On Track", medium: "At Risk", high: "High Risk" };

export const isRisk = (answer: Answer): answer is RiskOutput => "risk_level" in answer;

type Props = {
  letter: "A" | "B";
  answer: Answer;
  title: string;
  chosen: boolean;
  isCorrected: boolean;
  onChoose: () => void;
  /** Null: not now, or it is being edited, and the editor stands in place of the answer. */
  onEdit: (() => void) | null;
  isEdited: boolean;
  children?: ReactNode;
};

export function AnswerCard(
  { letter, answer, title, chosen, isCorrected, onChoose, onEdit, isEdited, children }: Props,
) {
  return (
    <section className={`card answer ${chosen ? "chosen" : ""}`} aria-labelledby={`answer-${letter}`}>
      <header>
        <h2 id={`answer-${letter}`}>
          Answer {letter}
          {chosen && <span className="tag strong">chosen</span>}
          {isCorrected && <span className="tag strong">corrected by you</span>}
        </h2>
        <span className="row">
          {onEdit && (
            <button type="button" className="small quiet-button" onClick={onEdit}>
              Edit<span className="visually-hidden">{` ${letter}`}</span>
            </button>
          )}
          <button type="button" className="small" onClick={onChoose} aria-pressed={chosen}>{letter} is better</button>
        </span>
      </header>
      {children}
      {!isEdited && (isRisk(answer) ? <Coach answer={answer} title={title} /> : <Plan answer={answer} />)}
    </section>
  );
}

function Coach({ answer, title }: { answer: RiskOutput; title: string }) {
  return (
    <div className="coach">
      <p className="coach-head">
        <strong>AI Coach</strong> <span className={`badge ${answer.risk_level}`}>{BADGES[answer.risk_level]}</span>
      </p>
      <p className="quiet">Task: “{title}”</p>
      <ul>{answer.reasons.map((reason, i) => <li key={i}>{reason}</li>)}</ul>
      <h3 className="eyebrow">What to do next</h3>
      <ul className="actions">{answer.recommended_actions.map((action, i) => <li key={i}>{action}</li>)}</ul>
    </div>
  );
}

function Plan({ answer }: { answer: PlanOutput }) {
  const hours = answer.suggested_plan.reduce((sum, step) => sum + step.duration, 0);
  const phases = Object.entries(PHASES).map(([phase, name]) => ({
    name,
    steps: answer.suggested_plan.filter((step) => step.phase === phase),
  }));
  return (
    <div className="plan">
      {phases.filter(({ steps }) => steps.length > 0).map(({ name, steps }) => (
        <div key={name}>
          <h3>{name}</h3>
          <ul>
            {steps.map((step, i) => (
              <li key={i}>
                <span>{step.title}</span> <span className="quiet">{step.duration} h</span>{" "}
                <span className={`dot ${step.risk}`}>{step.risk} risk</span>
              </li>
            ))}
          </ul>
        </div>
      ))}
      <p className="quiet">{plural(answer.suggested_plan.length, "step")}, {hours} h together</p>
      <Remarks name="Risks" said={answer.overall_risks} />
      <Remarks name="Assumptions" said={answer.assumptions} />
    </div>
  );
}

function Remarks({ name, said }: { name: string; said: string[] }) {
  return said.length === 0 ? null : (
    <>
      <h3 className="eyebrow">{words(name)}</h3>
      <ul>{said.map((text, i) => <li key={i}>{text}</li>)}</ul>
    </>
  );
}
