import assert from "node:assert/strict";
import { isOutput } from "./validate_output.ts";

const RISK = {
  risk_level: "low",
  reasons: ["Half of the time is used."],
  recommended_actions: ["Finish the next open step."],
};
const STEP = { phase: "build_guidance", title: "Build the page", duration: 4, risk: "low" };
const PLAN = { suggested_plan: [STEP], overall_risks: [], assumptions: [] };
const text = "A sentence of some length.";

Deno.test("isOutput() takes what the contract allows", () => {
  assert.ok(isOutput("risk", RISK));
  assert.ok(isOutput("plan", PLAN));
});

const NO_RISK: [string, unknown][] = [
  ["a level in capitals", { ...RISK, risk_level: "Low" }],
  ["an unknown level", { ...RISK, risk_level: "critical" }],
  ["a reason as one text", { ...RISK, reasons: text }],
  ["an object among the reasons", { ...RISK, reasons: [{ text }] }],
  ["nested reasons", { ...RISK, reasons: [[text]] }],
  ["no reasons", { ...RISK, reasons: [] }],
  ["four reasons", { ...RISK, reasons: [text, text, text, text] }],
  ["three actions", { ...RISK, recommended_actions: [text, text, text] }],
  ["an endless sentence", { ...RISK, reasons: ["x".repeat(161)] }],
  ["a missing key", { risk_level: "low", reasons: [text] }],
  ["a key too many", { ...RISK, delay_hours: 3 }],
  ["a NUL that the model spelt out", { ...RISK, reasons: ["Half of the time\u0000 is used."] }],
  ["half a character", { ...RISK, reasons: ["Half of the time is used \ud83d."] }],
  ["null", null],
];
const NO_PLAN: [string, unknown][] = [
  ["an object in place of the list", { ...PLAN, suggested_plan: STEP }],
  ["no steps", { ...PLAN, suggested_plan: [] }],
  ["nine steps", { ...PLAN, suggested_plan: Array(9).fill(STEP) }],
  ["an unknown phase", { ...PLAN, suggested_plan: [{ ...STEP, phase: "testing" }] }],
  ["three hours", { ...PLAN, suggested_plan: [{ ...STEP, duration: 3 }] }],
  ["hours as text", { ...PLAN, suggested_plan: [{ ...STEP, duration: "4" }] }],
  ["an empty title", { ...PLAN, suggested_plan: [{ ...STEP, title: "" }] }],
  ["risks as one text", { ...PLAN, overall_risks: text }],
];
for (const [name, value] of NO_RISK) {
  Deno.test(`isOutput() refuses a risk answer with ${name}`, () => assert.ok(!isOutput("risk", value)));
}
for (const [name, value] of NO_PLAN) {
  Deno.test(`isOutput() refuses a plan with ${name}`, () => assert.ok(!isOutput("plan", value)));
}
