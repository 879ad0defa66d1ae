import assert from "node:assert/strict";
import known from "../test/statistics.json" with { type: "json" };
import type { Choice, Judged } from "./shapes.ts";
import { agreement, bySlice, disputed, kappa, metricAgreement, plantedFound, winRate } from "./summary.ts";

const CHOICES: Choice[] = ["first", "second", "both_good", "both_bad"];

function pair(verdict: Choice | null, more: Partial<Judged> = {}): Judged {
  const votes = [1, 2].map((reviewer) => ({
    reviewer,
    verdict: verdict ?? "both_bad",
    seconds: 9,
    corrected: false,
    correctness: null,
    usefulness: null,
    voice: null,
  }));
  return {
    feature: "risk",
    stratum: "s",
    is_gold: false,
    is_settled: true,
    verdict,
    made_by: "slm",
    against: "cloud",
    metrics: {},
    votes,
    ...more,
  };
}

Deno.test("winRate() counts ties and lost majorities as halves", () => {
  assert.equal(winRate([pair("first"), pair("second"), pair("both_good"), pair(null)]).value, 0.5);
  assert.equal(winRate([pair("first"), pair("first"), pair("both_bad")]).value, 2.5 / 3);
});

/** A pair with what each reviewer said of it, by number; undecided where two differ. */
function said(votes: Record<string, number>): Judged {
  const given = Object.entries(votes).map(([reviewer, choice]) => ({
    ...pair("first").votes[0]!,
    reviewer: Number(reviewer),
    verdict: CHOICES[choice]!,
  }));
  const isSettled = given.length > 2 || new Set(Object.values(votes)).size === 1;
  return pair(null, { votes: given, is_settled: isSettled });
}

Deno.test("agreement() and kappa() count pairs on which two differ and no third has judged, as krippendorff and scikit-learn do", () => {
  const pairs = known.disputes.votes.map((votes) => said(votes as unknown as Record<string, number>));
  assert.equal(disputed(pairs), known.disputes.disputed);
  assert.ok(disputed(pairs) > 5);
  const found = kappa(pairs)!;
  assert.deepEqual([found.who, found.interval.n], [known.disputes.kappa_of, known.disputes.kappa_n]);
  for (
    const [got, wanted] of [
      [agreement(pairs).value, known.disputes.nominal],
      [agreement(pairs.filter((it) => it.is_settled)).value, known.disputes.nominal_of_settled],
      [found.interval.value, known.disputes.kappa],
    ] as [number, number][]
  ) assert.ok(Math.abs(got - wanted) < 1e-9, `${got} is not ${wanted}`);
  assert.ok(known.disputes.nominal < known.disputes.nominal_of_settled, "settled pairs alone flatter");
});

Deno.test("winRate() is over settled pairs alone", () => {
  const { value, n } = winRate([pair("first"), pair("second"), pair("first"), said({ 1: 0, 2: 1 })]);
  assert.deepEqual([value, n], [2 / 3, 3]);
});

Deno.test("metricAgreement() asks only where people and the metric prefer one of two", () => {
  const metrics = { first: { rouge_l: 0.8, accepted: 1 }, second: { rouge_l: 0.2, accepted: 1 } };
  const found = metricAgreement([
    pair("first", { metrics }),
    pair("second", { metrics }),
    pair("both_good", { metrics }),
  ]);
  assert.deepEqual(found.map(({ metric, interval }) => [metric, interval.value, interval.n]), [["rouge_l", 0.5, 2]]);
});

Deno.test("plantedFound() counts votes for the answer that is known to be right", () => {
  assert.equal(
    plantedFound([pair("first", { is_gold: true }), pair("second", { is_gold: true }), pair("second")]).value,
    0.5,
  );
});

Deno.test("kappa() takes the two who share most pairs", () => {
  assert.equal(kappa([pair("first"), pair("second")])?.interval.value, 1);
  assert.equal(kappa([]), null);
});

Deno.test("bySlice() puts the largest slice first", () => {
  assert.deepEqual(
    bySlice(
      [pair("first", { stratum: "a" }), pair("first", { stratum: "b" }), pair("first", { stratum: "b" })],
      (it) => it.stratum,
    ).map(([name]) => name),
    ["b", "a"],
  );
});
