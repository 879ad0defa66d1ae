import assert from "node:assert/strict";
import type { Choice, Judged } from "./shapes.ts";
import { bySlice, kappa, metricAgreement, plantedFound, winRate } from "./summary.ts";

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
