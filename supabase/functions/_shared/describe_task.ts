import { cleanText } from "./clean_text.ts";
import { features, type RiskInput } from "./features.gen.ts";
import { RequestError } from "./request_error.ts";
import { shorten } from "./shorten.ts";

const MAX_MINUTES = 600_000;
const MAX_STEPS = 999;
const MICRO_TASK_MINUTES = 300;
const TITLE_LIMIT = features.risk.inputSchema.properties.title.maxLength;

/** What of a prompt's input is filled here from words of our own: nobody typed it, and a name that it holds is nobody's. */
export const OWN_WORDS: ReadonlySet<string> = new Set(
  ["level", "milestone", "pace", "left", "late", "suggested"] satisfies (keyof RiskInput)[],
);

/**
 * The risk coach's prompt input from whatever the frontend sent: four versions of metrics, null, missing, NaN, negative,
 * huge and float numbers, three shapes of context. Names are dropped. Derived fields follow `describe` in Python's
 * `features/risk.py`; golden tests hold both to the same result.
 */
export function describeTask(body: Record<string, unknown>): { promptInput: RiskInput; shortened: string[] } {
  if (!body.metrics) throw new RequestError("Metrics are required for analysis");
  const metrics = asRecord(body.metrics);
  const context = asRecord(body.employeeContext);
  const title = shorten(cleanText(body.taskTitle).replaceAll(/\s+/g, " ") || "Untitled task", TITLE_LIMIT);

  const budget = minutes(metrics.allocated_hours);
  const spent = minutes(metrics.elapsed_hours);
  const delay = minutes(metrics.predicted_delay_hours);
  const done = donePercent(metrics);
  const steps = count(metrics.total_steps);
  const stepsDone = Math.min(count(metrics.steps_completed), steps);
  const milestone = milestoneOf(context.milestone_triggered);
  const left = minutesLeft(milestone, budget, spent);
  const gone = gonePercent(milestone, budget, spent, left);
  const level = levelOf(metrics);
  const pace = paceOf(budget > 0, done, gone);

  return {
    promptInput: {
      title: title.text,
      level,
      milestone,
      micro_task: typeof context.is_micro_task === "boolean"
        ? context.is_micro_task
        : budget > 0 && budget < MICRO_TASK_MINUTES,
      pace,
      done_percent: done,
      gone_percent: gone,
      steps_done: stepsDone,
      steps_left: steps - stepsDone,
      budget_minutes: budget,
      spent_minutes: spent,
      delay_minutes: delay,
      left: durationInWords(left),
      late: durationInWords(minutesLate(milestone, budget, gone, done, delay)),
      suggested: suggestedLevel(level, pace, milestone),
    },
    shortened: title.cut ? ["title"] : [],
  };
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value as Record<string, unknown> : {};
}

/** A finite number, from a number or from the text of one; everything else is absent. */
function finite(value: unknown): number | undefined {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : undefined;
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}

/** Whole minutes of a number of hours; absent, null, NaN and negative hours are none. */
function minutes(hours: unknown): number {
  return clamp(Math.round((finite(hours) ?? 0) * 60), 0, MAX_MINUTES);
}

function count(value: unknown): number {
  return clamp(Math.floor(finite(value) ?? 0), 0, MAX_STEPS);
}

/** 100 only when everything is done: 99.6 % rounds to 99. */
function donePercent(metrics: Record<string, unknown>): number {
  const total = count(metrics.total_steps);
  const ratio = finite(metrics.progress_ratio) ?? (total > 0 ? count(metrics.steps_completed) / total : 0);
  return ratio >= 1 ? 100 : clamp(Math.round(ratio * 100), 0, 99);
}

/** V4 says `risk_level`, V1 to V3 say `base_risk_level` (trap T3). */
function levelOf(metrics: Record<string, unknown>): RiskInput["level"] {
  for (const level of [metrics.risk_level, metrics.base_risk_level]) {
    const said = typeof level === "string" ? level.toLowerCase() : "";
    if (said === "low" || said === "medium" || said === "high") return said;
  }
  return "low";
}

function milestoneOf(value: unknown): RiskInput["milestone"] {
  return value === "50_percent" || value === "75_percent" || value === "1h_left" || value === "30m_left"
    ? value
    : "none";
}

function minutesLeft(milestone: RiskInput["milestone"], budget: number, spent: number): number {
  switch (milestone) {
    case "50_percent":
      return Math.round(budget / 2);
    case "75_percent":
      return Math.round(budget / 4);
    case "1h_left":
      return Math.min(60, budget);
    case "30m_left":
      return Math.min(30, budget);
    case "none":
      return Math.max(0, budget - spent);
  }
}

/** Share of the time budget used: a milestone counts business hours, the wall clock does not (trap T4). */
function gonePercent(milestone: RiskInput["milestone"], budget: number, spent: number, left: number): number {
  if (budget === 0) return 0;
  return Math.min(999, Math.round(100 * (milestone === "none" ? spent : budget - left) / budget));
}

function minutesLate(
  milestone: RiskInput["milestone"],
  budget: number,
  gone: number,
  done: number,
  delay: number,
): number {
  if (milestone === "none" || budget === 0) return delay;
  return done === 0 ? 0 : Math.max(0, Math.round(budget * gone / done) - budget);
}

function paceOf(hasBudget: boolean, done: number, gone: number): RiskInput["pace"] {
  if (!hasBudget) return "unknown";
  if (done === 0) return gone >= 25 ? "not_started" : "on_pace";
  const gap = gone - done;
  if (gap <= -10 || done === 100) return "ahead";
  return gap < 15 ? "on_pace" : gap < 40 ? "behind" : "far_behind";
}

/** The metrics' level, mended where they are known to be wrong (traps T7 and T20). */
function suggestedLevel(
  level: RiskInput["level"],
  pace: RiskInput["pace"],
  milestone: RiskInput["milestone"],
): RiskInput["level"] {
  const late = milestone === "75_percent" || milestone === "1h_left" || milestone === "30m_left";
  if (level === "low" && late && (pace === "far_behind" || pace === "not_started")) return "medium";
  if (level === "high" && (pace === "ahead" || pace === "on_pace")) return "medium";
  return level;
}

/** `45 min`, `2 h 30 min`, `105 h`; empty for nothing. */
function durationInWords(length: number): string {
  if (length === 0) return "";
  if (length < 60) return `${length} min`;
  if (length >= 600) return `${Math.round(length / 60)} h`;
  const quarters = Math.round(length / 15);
  const rest = quarters % 4 * 15;
  return `${Math.floor(quarters / 4)} h${rest ? ` ${rest} min` : ""}`;
}
