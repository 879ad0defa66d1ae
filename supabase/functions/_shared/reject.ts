import { isUnclean } from "./clean_text.ts";
import {
  type FeatureName,
  features,
  type PlanOutput,
  type RiskInput,
  type RiskOutput,
  wording,
} from "./features.gen.ts";

/**
 * Why an answer is unacceptable although its shape is right: empty when it is not. The inference service judges its own
 * answers by the same rules (`reject` of shared_schemas); this is for answers that come from elsewhere. The golden file
 * `reject.json` holds both languages to the same verdicts.
 */
export function reject(feature: FeatureName, promptInput: unknown, output: unknown): string[] {
  return feature === "risk"
    ? [...riskFaults(promptInput as RiskInput, output as RiskOutput)]
    : [...planFaults(output as PlanOutput)];
}

const LEVELS = features.risk.outputSchema.properties.risk_level.enum;
const PHASES = features.plan.outputSchema.$defs.PlanStep.properties.phase.enum;
const MILESTONE_WORDS = Object.fromEntries(
  Object.entries(wording.milestoneWords).map(([name, source]) => [name, pattern(source, "iu")]),
);
const MILESTONE_FIGURES: Record<string, readonly number[]> = wording.milestoneFigures;
const [ALL_DONE, NONE_DONE] = [pattern(wording.allDone, "iu"), pattern(wording.noneDone, "iu")];
const [FIGURE, DONE_FIGURE] = [pattern(wording.figure, "gu"), pattern(wording.doneFigure, "giu")];

function* riskFaults(task: RiskInput, answer: RiskOutput): Generator<string> {
  const texts = [...answer.reasons, ...answer.recommended_actions];
  if (Math.abs(LEVELS.indexOf(answer.risk_level) - LEVELS.indexOf(task.level)) > 1) yield "level";
  yield* unclean(texts);
  yield* nonsense(texts, 3);
  yield* cutOff(texts);
  yield* repeats(texts);
  yield* jargon(texts);
  const words = MILESTONE_WORDS[task.milestone];
  // A short task may have less left than its milestone is called by.
  const left = task.milestone.endsWith("_left") && task.left;
  if (words && !answer.reasons.some((reason) => words.test(reason) || (left && reason.includes(left)))) {
    yield "milestone";
  }
  const known = new Set([
    task.done_percent,
    task.gone_percent,
    100 - task.done_percent,
    ...(MILESTONE_FIGURES[task.milestone] ?? []),
  ]);
  for (const text of texts) {
    for (const [, figure] of text.matchAll(FIGURE)) if (!known.has(Number(figure))) yield "figure";
    for (const [, figure] of text.matchAll(DONE_FIGURE)) if (Number(figure) !== task.done_percent) yield "figure";
  }
  for (const text of answer.reasons) {
    if (task.done_percent < 100 && ALL_DONE.test(text)) yield "not done";
    if (task.done_percent > 0 && NONE_DONE.test(text)) yield "something is done";
  }
}

function* planFaults(answer: PlanOutput): Generator<string> {
  const titles = answer.suggested_plan.map((step) => step.title);
  const remarks = [...answer.overall_risks, ...answer.assumptions];
  const order = answer.suggested_plan.map((step) => PHASES.indexOf(step.phase));
  if (order.some((phase, i) => i > 0 && phase < order[i - 1]!)) yield "order";
  if (titles.some((title) => title !== title.trim())) yield "spaces";
  yield* unclean([...titles, ...remarks]);
  yield* nonsense(titles, 2);
  yield* nonsense(remarks, 3);
  yield* cutOff(remarks);
  yield* repeats(titles);
  yield* repeats(remarks);
}

function* unclean(texts: string[]): Generator<string> {
  if (texts.some(isUnclean)) yield "control character";
}

function* nonsense(texts: string[], least: number): Generator<string> {
  for (const text of texts) {
    const found = (text.match(/[\p{L}\p{Nl}\p{No}]{2,}/gu) ?? []).map((word) => word.toLowerCase());
    const counts = new Map<string, number>();
    for (const word of found) counts.set(word, (counts.get(word) ?? 0) + 1);
    if (counts.size < least) yield "no sentence";
    else if (found.length >= 6 && Math.max(...counts.values()) * 3 > found.length) yield "one word over and over";
  }
}

function* cutOff(texts: string[]): Generator<string> {
  for (const text of texts) if (!/[.!?]$/.test(text.trimEnd())) yield "cut off";
}

function* repeats(texts: string[]): Generator<string> {
  const words = texts.map((text) => new Set(text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? []));
  for (const [i, mine] of words.entries()) if (words.slice(0, i).some((other) => alike(mine, other))) yield "repeats";
}

/** Two texts that share most of their distinct words (Jaccard) say the same thing twice. */
function alike(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  const both = a.intersection(b).size;
  const all = a.size + b.size - both;
  return all === 0 || both >= wording.same * all;
}

function* jargon(texts: string[]): Generator<string> {
  for (const text of texts) {
    const lower = text.toLowerCase();
    yield* wording.jargon.filter((word) => lower.includes(word));
  }
}

/** Python's word boundary knows all letters, JavaScript's the Latin ones only. */
function pattern(source: string, flags: string): RegExp {
  const word = "[\\p{L}\\p{N}_]";
  return new RegExp(source.replaceAll("\\b", `(?:(?<!${word})(?=${word})|(?<=${word})(?!${word}))`), flags);
}
