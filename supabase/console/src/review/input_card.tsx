/** What the model was told, as a person would read it. */
import { minutes, plural, words } from "../format.ts";
import type { Pair, PlanInput, RiskInput } from "../shapes.ts";

const MILESTONES: Record<RiskInput["milestone"], string | null> = {
  none: null,
  "50_percent": "Half of the time is used",
  "75_percent": "Three quarters of the time is used",
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
    <div className="risk-task">
      <div>
        <p className="eyebrow">Risk coach · advice for this task. Its title, as its author wrote it:</p>
        <blockquote>
          <h2 id="input-title">{task.title}</h2>
        </blockquote>
        <p className="tags">
          {milestone && <span className="tag strong">{milestone}</span>}
          {task.micro_task && <span className="tag">Short task</span>}
          <span className="tag">{paceOf(task)}</span>
          <span className="tag">The app's own estimate: {task.level} risk</span>
        </p>
      </div>
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
        <p className="quiet">
          {minutes(task.spent_minutes)} by the clock since the start, nights and days off included
          {task.late ? ` · at this speed ${task.late} over` : ""}
        </p>
      </div>
    </div>
  );
}

/** The pace in words, with the distance between time used and work done. */
function paceOf({ pace, done_percent, gone_percent }: RiskInput): string {
  const points = gone_percent - done_percent;
  const isTold = pace === "ahead" ? points < 0 : (pace === "behind" || pace === "far_behind") && points > 0;
  return isTold ? `${words(pace)} by ${plural(Math.abs(points), "point")}` : words(pace);
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
      <p className="eyebrow">
        Planning assistant · a plan for this task. Title and description, as its author wrote them:
      </p>
      <blockquote>
        <h2 id="input-title">{task.title}</h2>
        <p className="said">{task.description}</p>
      </blockquote>
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
