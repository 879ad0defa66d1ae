import assert from "node:assert/strict";
import { type Cloud, type Context, PRIVATE } from "./database.ts";
import { type Cause, chain, isFinal, isOutage, type ModelProvider, timeFor } from "./policy.ts";

const CLOUD: Cloud = {
  name: "openai",
  api: "openai",
  endpoint: "https://example.com/v1",
  apiVersion: null,
  model: "gpt-4o-mini",
  pricedAs: "gpt-4o-mini",
  keyName: "OPENAI_API_KEY",
  breaker: "closed",
  usdLeft: 1,
};
const OPEN: Context = { ...PRIVATE, orgId: "a", allowCloud: true, cloud: CLOUD };

const ORDERS: [string, Partial<Context>, ModelProvider[], string, boolean][] = [
  ["off", { stage: "off", inShare: false }, ["cloud"], "current", false],
  ["shadow", { stage: "shadow", inShare: false }, ["cloud"], "current", true],
  ["canary, in the share", { stage: "canary", inShare: true }, ["slm", "cloud"], "candidate", false],
  ["canary, outside the share", { stage: "canary", inShare: false }, ["cloud", "slm"], "current", false],
  ["full", { stage: "full", inShare: true }, ["slm", "cloud"], "candidate", false],
];
for (const [name, context, ask, arm, shadow] of ORDERS) {
  Deno.test(`chain() at ${name} asks ${ask.join(", then ")} where the cloud is allowed`, () => {
    assert.deepEqual(chain({ ...OPEN, ...context }, true), { arm, order: ask, ask, skipped: [], shadow });
  });
  Deno.test(`chain() at ${name} asks the private model alone where the cloud is not allowed`, () => {
    const order = chain({ ...OPEN, ...context, allowCloud: false }, true);
    assert.deepEqual(order, { arm: "private", order: ["slm"], ask: ["slm"], skipped: [], shadow: false });
  });
}

const SKIPPED: [string, Partial<Context>, boolean, ModelProvider[], [ModelProvider, Cause][]][] = [
  ["the cloud's breaker is open", { cloud: { ...CLOUD, breaker: "open" } }, true, ["slm"], [["cloud", "breaker_open"]]],
  ["the day's money is spent", { cloud: { ...CLOUD, usdLeft: 0 } }, true, ["slm"], [["cloud", "over_budget"]]],
  ["there is no key", {}, false, ["slm"], [["cloud", "no_key"]]],
  ["no cloud model is in date", { cloud: null }, true, ["slm"], [["cloud", "unreachable"]]],
  ["the private model's breaker is open", { slmBreaker: "open" }, true, ["cloud"], [["slm", "breaker_open"]]],
  ["the caller has no organisation, so that nobody's names are known", { orgId: null }, true, ["slm"], [[
    "cloud",
    "no_names",
  ]]],
  ["a breaker is due for a probe", { slmBreaker: "due" }, true, ["slm", "cloud"], []],
];
for (const [name, context, hasKey, ask, skipped] of SKIPPED) {
  Deno.test(`chain() says who is passed over when ${name}`, () => {
    const order = chain({ ...OPEN, ...context }, hasKey);
    assert.deepEqual(order.ask, ask);
    assert.deepEqual(order.skipped, skipped.map(([provider, cause]) => ({ provider, cause })));
  });
}

Deno.test("chain() never asks the cloud for an organisation that does not allow it, whatever else is set", () => {
  for (const stage of ["off", "shadow", "canary", "full"] as const) {
    for (const inShare of [true, false]) {
      for (const slmBreaker of ["closed", "open", "due"] as const) {
        const order = chain({ ...OPEN, allowCloud: false, stage, inShare, slmBreaker }, true);
        assert.ok(!order.ask.includes("cloud") && !order.shadow, `${stage} ${inShare} ${slmBreaker}`);
      }
    }
  }
});

Deno.test("timeFor() keeps time for whoever stands behind, and asks nobody when it is too late", () => {
  assert.equal(timeFor(["cloud"], 20_000), 14_000);
  assert.equal(timeFor(["slm"], 4_000), 2_000);
  assert.equal(timeFor([], 20_000), 20_000);
  assert.equal(timeFor([], 299), null);
});

Deno.test("only what says something about a provider's health counts as an outage", () => {
  const causes: Cause[] = ["unreachable", "timeout", "overloaded", "failed"];
  assert.ok(causes.every(isOutage));
  for (const cause of ["schema", "rejected", "refusal", "low_confidence", "refused", "invalid_json"] as Cause[]) {
    assert.ok(!isOutage(cause), cause);
  }
  assert.ok(isFinal("cloud", "refusal") && !isFinal("slm", "refusal") && !isFinal("cloud", "schema"));
});
