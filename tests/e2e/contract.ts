/** The contract's rules for an answer, checked by hand and without our own schemas: an independent judge. */
import assert from "node:assert/strict";

const PHASES = ["requirement_refiner", "design_guidance", "build_guidance", "acceptance_criteria", "deployment"];
const LEVELS = ["low", "medium", "high"];
const JARGON = /allocated hours|predicted delay|velocity/i;

function assertTexts(texts: unknown, least: number, most: number): asserts texts is string[] {
  assert.ok(Array.isArray(texts), `${JSON.stringify(texts)} is no list`);
  assert.ok(texts.length >= least && texts.length <= most, `${texts.length} texts, not ${least} to ${most}`);
  for (const text of texts) {
    assert.equal(typeof text, "string");
    assert.ok(text.trim().length > 0 && text.length <= 160, `a text of ${text.length} characters`);
  }
}

/** contract.md 1.5. */
// deno-lint-ignore no-explicit-any
export function assertRisk(answer: any): void {
  assert.ok(LEVELS.includes(answer.risk_level), `level ${answer.risk_level}`);
  assert.ok(Number.isInteger(answer.confidence) && answer.confidence >= 0 && answer.confidence <= 100);
  assertTexts(answer.reasons, 1, 3);
  assertTexts(answer.recommended_actions, 1, 2);
  for (const text of [...answer.reasons, ...answer.recommended_actions]) assert.doesNotMatch(text, JARGON);
  for (const key of ["delay_hours", "actions", "snapshot_id", "message", "type", "error"]) assert.ok(!(key in answer));
  assert.match(answer._meta.request_id, /^[0-9a-f-]{36}$/);
  assert.ok(["slm", "cloud", "rules"].includes(answer._meta.provider));
  if (answer._meta.provider === "rules") assert.equal(typeof answer._meta.fallback, "string", "a fallback is marked");
}

/** contract.md 2.4 and 2.5: a whole plan, or a sentence that the app shows. Returns whether there is a plan. */
// deno-lint-ignore no-explicit-any
export function assertPlan(answer: any): boolean {
  if ("error" in answer) {
    assert.deepEqual(Object.keys(answer), ["error"]);
    assert.match(answer.error, /^The planning assistant /);
    return false;
  }
  const steps = answer.suggested_plan;
  assert.ok(Array.isArray(steps) && steps.length >= 1 && steps.length <= 8);
  for (const step of steps) {
    assert.ok(PHASES.includes(step.phase), `phase ${step.phase}`);
    assert.ok(typeof step.title === "string" && step.title.trim().length >= 6);
    assert.ok(step.duration === 2 || step.duration === 4);
    assert.ok(LEVELS.includes(step.risk));
  }
  const order = steps.map((step) => PHASES.indexOf(step.phase));
  assert.deepEqual(order, order.toSorted());
  assert.equal(new Set(steps.map((step) => step.title.toLowerCase())).size, steps.length, "a title comes twice");
  assertTexts(answer.ai_metadata.overall_risks, 0, 3);
  assertTexts(answer.ai_metadata.assumptions, 0, 3);
  assert.equal(typeof answer.ai_metadata.model, "string");
  return true;
}
