/** Owns what the judged pairs say: who wins, whether people agree, whether metrics agree with people. Knows nothing of how it is shown. */
import type { Choice, Judged, Score } from "./shapes.ts";
import { SCORES } from "./shapes.ts";
import { bootstrap, cohen, type Interval, interval, krippendorff, nominal, quantile, wilson } from "./statistics.ts";

const CHOICES: Choice[] = ["first", "second", "both_good", "both_bad"];

/** Wins of the first answer over the settled pairs, where ties (both good, both bad, no majority) count half. */
export function winRate(pairs: readonly Judged[]): Interval {
  const settled = pairs.filter((pair) => pair.is_settled);
  return wilson(settled.reduce((sum, pair) => sum + worth(pair.verdict), 0), settled.length);
}

/** Pairs on which two differ and no third has said anything yet. */
export function disputed(pairs: readonly Judged[]): number {
  return pairs.filter((pair) => !pair.is_settled).length;
}

function worth(verdict: Choice | null): number {
  return verdict === "first" ? 1 : verdict === "second" ? 0 : 0.5;
}

/** Pairs by a slice: `name` gives the slice, the largest first. */
export function bySlice(pairs: readonly Judged[], name: (pair: Judged) => string): [string, Judged[]][] {
  const slices = new Map<string, Judged[]>();
  for (const pair of pairs) slices.set(name(pair), [...slices.get(name(pair)) ?? [], pair]);
  return [...slices].sort(([a, x], [b, y]) => y.length - x.length || a.localeCompare(b));
}

/** Krippendorff's alpha of the verdicts on every pair that has two, settled or not, with a bootstrap interval over pairs. */
export function agreement(pairs: readonly Judged[]): Interval {
  const units = pairs.map((pair) => pair.votes.map((vote) => CHOICES.indexOf(vote.verdict))).filter((unit) =>
    unit.length > 1
  );
  return bootstrap(units, (drawn) => krippendorff(drawn, nominal));
}

/** The same of a score from 1 to 5, by squared distance. */
export function scoreAgreement(pairs: readonly Judged[], score: Score): Interval {
  const units = pairs.map((pair) => pair.votes.flatMap((vote) => vote[score] ?? [])).filter((unit) => unit.length > 1);
  return bootstrap(units, (drawn) => krippendorff(drawn, interval));
}

/** Cohen's kappa of the two reviewers who share most pairs, settled or not; null where no two share any. */
export function kappa(pairs: readonly Judged[]): { who: string; interval: Interval } | null {
  const shared = new Map<string, [number, number][]>();
  for (const { votes } of pairs) {
    for (const [i, mine] of votes.entries()) {
      for (const other of votes.slice(i + 1)) {
        const who = `${mine.reviewer} and ${other.reviewer}`;
        shared.set(who, [...shared.get(who) ?? [], [CHOICES.indexOf(mine.verdict), CHOICES.indexOf(other.verdict)]]);
      }
    }
  }
  const [most] = [...shared].sort(([, a], [, b]) => b.length - a.length);
  return most ? { who: most[0], interval: bootstrap(most[1], cohen) } : null;
}

/** Mean of a score with its bootstrap interval over pairs. */
export function meanScore(pairs: readonly Judged[], score: Score): Interval {
  const means = pairs.map((pair) => pair.votes.flatMap((vote) => vote[score] ?? [])).filter((said) => said.length > 0)
    .map(mean);
  return bootstrap(means, mean);
}

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** For each automatic metric: how often it prefers the answer that people prefer, where both have a preference. */
export function metricAgreement(pairs: readonly Judged[]): { metric: string; interval: Interval }[] {
  const told = new Map<string, { same: number; n: number }>();
  for (const { verdict, metrics } of pairs) {
    if (verdict !== "first" && verdict !== "second") continue;
    for (const [name, first] of Object.entries(metrics.first ?? {})) {
      const second = metrics.second?.[name];
      if (typeof first !== "number" || typeof second !== "number" || first === second) continue;
      const sums = told.get(name) ?? { same: 0, n: 0 };
      told.set(name, { same: sums.same + ((first > second) === (verdict === "first") ? 1 : 0), n: sums.n + 1 });
    }
  }
  return [...told].map(([metric, { same, n }]) => ({ metric, interval: wilson(same, n) })).sort((a, b) =>
    a.metric.localeCompare(b.metric)
  );
}

/** How often votes on planted pairs (whose first answer is the right one) chose it. */
export function plantedFound(pairs: readonly Judged[]): Interval {
  const votes = pairs.filter((pair) => pair.is_gold).flatMap((pair) => pair.votes);
  return wilson(votes.filter((vote) => vote.verdict === "first").length, votes.length);
}

/** Half of the verdicts took at most so many seconds. */
export function medianSeconds(pairs: readonly Judged[]): number {
  return quantile(pairs.flatMap((pair) => pair.votes.map((vote) => vote.seconds)).sort((a, b) => a - b), 0.5);
}

export { SCORES };
