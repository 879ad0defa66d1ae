/** What the model was told, as a person would read it. */
import { minutes, words } from "../format.ts";
import type { Pair, PlanInput, RiskInput } from "../shapes.ts";

const MILESTONES: Record<RiskInput["milestone"], string | null> = {
  none: null,
  "50_percent": "Half of the time is used",
  "75_percent": "Three quarters of the time are used",
  "1h_left": "1 hour is left",
  "30m_left": "30 minutes are left",
};

export function InputCard({ pair }: { pair: Pair }) {
  return (
    <section className="card input-card" aria-labelledby="input-title">
      {pair.feature === "risk" ? <RiskTask task={pair.prompt_input} /> : <PlanTask task={pair.prompt_input} />}
    </section>
  );
}

function RiskTask({ task }: { task: RiskInput }) {
  const steps = task.steps_done + task.steps_left;
  const milestone = MILESTONES[task.milestone];
  return (
    <>
      <p className="eyebrow">Risk coach · advice for this task</p>
      <h2 id="input-title">{task.title}</h2>
      <p className="tags">
        {milestone && <span className="tag strong">{milestone}</span>}
        {task.micro_task && <span className="tag">Short task</span>}
        <span className="tag">{words(task.pace)}</span>
        <span className="tag">Figures say: {task.level} risk</span>
      </p>
      <div className="bars">
        <Bar
          name="Work done"
          percent={task.done_percent}
          note={steps ? `${task.steps_done} of ${steps} steps` : "no steps"}
        />
        <Bar
          name="Time used"
          percent={task.gone_percent}
          note={task.budget_minutes
            ? `of ${minutes(task.budget_minutes)} planned${task.left ? `, ${task.left} left` : ""}`
            : "no time planned"}
        />
      </div>
      <p className="quiet">
        {minutes(task.spent_minutes)} since the start
        {task.late ? ` · at this speed ${task.late} over` : ""}
      </p>
    </>
  );
}

function Bar({ name, percent, note }: { name: string; percent: number; note: string }) {
  return (
    <div className="bar">
      <span>
        <strong>{name} {percent} %</strong> <span className="quiet">{note}</span>
      </span>
      <progress
        max={100}
        value={Math.min(100, percent)}
        aria-label={`${name}, percent`}
        className={percent > 100 ? "over" : ""}
      />
    </div>
  );
}

function PlanTask({ task }: { task: PlanInput }) {
  return (
    <>
      <p className="eyebrow">Planning assistant · a plan for this task</p>
      <h2 id="input-title">{task.title}</h2>
      <p className="said">{task.description}</p>
      {task.skills.length > 0 && (
        <p className="tags">{task.skills.map((skill) => <span className="tag" key={skill}>{skill}</span>)}</p>
      )}
      {task.similar.length > 0 && (
        <details>
          <summary>Earlier tasks it was shown as a guide ({task.similar.length})</summary>
          {task.similar.map((guide) => (
            <div key={guide.title}>
              <strong>{guide.title}</strong>
              <ul>{guide.steps.map((step, i) => <li key={i}>{step}</li>)}</ul>
            </div>
          ))}
        </details>
      )}
    </>
  );
}
