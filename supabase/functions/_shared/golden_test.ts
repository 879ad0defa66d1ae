import assert from "node:assert/strict";
import { describePlan, readPlanWish } from "./describe_plan.ts";
import { describeTask } from "./describe_task.ts";
import { messages } from "./messages.ts";
import { reject } from "./reject.ts";
import { rulesRisk } from "./rules_risk.ts";
import { isOutput } from "./validate_output.ts";

// deno-lint-ignore no-explicit-any
const golden = (name: string): any[] =>
  JSON.parse(Deno.readTextFileSync(new URL(`../../../tests/golden/${name}`, import.meta.url)));

for (const { name, wire, promptInput, shortened, messages: wanted, rules } of golden("risk.json")) {
  Deno.test(`describeTask() agrees with the golden example: ${name}`, () => {
    assert.deepEqual(describeTask(wire), { promptInput, shortened });
    assert.deepEqual(messages("risk", promptInput, "tag"), wanted);
  });
  Deno.test(`rulesRisk() gives a valid answer: ${name}`, () => {
    assert.deepEqual(rulesRisk(promptInput), rules);
    assert.ok(isOutput("risk", rules));
  });
}

for (const { name, wire, similar, promptInput, shortened, messages: wanted } of golden("plan.json")) {
  Deno.test(`describePlan() agrees with the golden example: ${name}`, () => {
    assert.deepEqual(describePlan(readPlanWish(wire), similar), { promptInput, shortened });
    assert.deepEqual(messages("plan", promptInput, "tag"), wanted);
  });
}

Deno.test("no name of a person reaches the prompt", () => {
  for (const { promptInput } of golden("risk.json")) assert.ok(!JSON.stringify(promptInput).includes("Asha"));
});

Deno.test("messages() with instructions are the same bytes as in Python", () => {
  for (const feature of ["risk", "plan"] as const) {
    const [{ promptInput, instructed }] = golden(`${feature}.json`);
    assert.deepEqual(messages(feature, promptInput, "instructions"), instructed);
  }
});

Deno.test("reject() gives the same verdicts as in Python", () => {
  const cases = golden("reject.json");
  const verdicts = new Set(cases.map(({ feature, accepted }) => `${feature} ${accepted}`));
  assert.equal(verdicts.size, 4);
  for (const { feature, promptInput, output, accepted } of cases) {
    assert.ok(isOutput(feature, output) || !accepted);
    const faults = reject(feature, promptInput, output);
    assert.equal(faults.length === 0, accepted, `${faults} ${JSON.stringify(output)} ${JSON.stringify(promptInput)}`);
  }
});
