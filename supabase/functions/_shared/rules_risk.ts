import type { RiskInput, RiskOutput } from "./features.gen.ts";

/** Names the rules where a model's name stands. */
export const RULES = "rules-1";

/** How sure the rules are: they repeat the database's arithmetic, and that is all they know. */
export const RULES_CONFIDENCE = 50;

const TIME: Record<RiskInput["milestone"], string> = {
  "50_percent": "Half of your time for this task is used.",
  "75_percent": "Three quarters of your time for this task is used.",
  "1h_left": "About one hour is left for this task.",
  "30m_left": "About 30 minutes are left for this task.",
  "none": "",
};

const LEFT: Partial<Record<RiskInput["milestone"], string>> = { "1h_left": "1 h", "30m_left": "30 min" };

const ACTIONS: Record<RiskInput["level"], string[]> = {
  low: ["Keep this rhythm and tick off the next open step."],
  medium: [
    "Finish the smallest open step next, before anything else.",
    "Tell your manager today if something blocks you.",
  ],
  high: ["Work on the most important open step right now.", "Tell your manager now what is open and ask for help."],
};

/** The coach's answer from the metrics alone, when no model can answer: plain, correct, and the same every time. */
export function rulesRisk(task: RiskInput): RiskOutput {
  return { risk_level: task.suggested, reasons: reasons(task), recommended_actions: actions(task) };
}

function reasons(task: RiskInput): string[] {
  const said = [timeLeft(task) || TIME[task.milestone] || timeUsed(task), progress(task)];
  if (task.late && task.suggested !== "low") said.push(`At this speed the task would end about ${task.late} late.`);
  return said;
}

/** A task that was given less time than its milestone speaks of has what it was given. */
function timeLeft(task: RiskInput): string {
  const isShort = LEFT[task.milestone] !== undefined && task.left !== "" && task.left !== LEFT[task.milestone];
  return isShort ? `You have about ${task.left} left for this task.` : "";
}

function timeUsed(task: RiskInput): string {
  if (task.budget_minutes === 0) return "No time is set for this task, so only its progress counts.";
  return task.gone_percent >= 100
    ? "The planned time is used up."
    : `${task.gone_percent}% of the planned time is used.`;
}

function progress(task: RiskInput): string {
  if (task.done_percent === 0) return "Nothing is ticked off yet.";
  if (task.done_percent === 100) return "All steps are ticked off, well done.";
  return `${task.done_percent}% of the work is done.`;
}

function actions(task: RiskInput): string[] {
  if (task.done_percent === 100) return ["Hand the result in for review so that the task can be closed."];
  if (task.done_percent === 0 && task.suggested === "low") return ["Begin with the smallest step and tick it off."];
  return ACTIONS[task.suggested];
}
