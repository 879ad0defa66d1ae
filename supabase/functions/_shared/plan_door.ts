import { describePlan, readPlanWish } from "./describe_plan.ts";
import type { Door } from "./door.ts";

/** The only text of an error that the app shows a person: status 200 with `error` (contract.md 2.5, trap T15). */
const BUSY = "The planning assistant cannot answer right now. Please try again in a minute.";
/** The same text would get the same answer: trying again would not help, other words may. */
const OTHER_WORDS = "The planning assistant found no good plan for this text. Please describe the task in other words.";

/** The planning assistant (contract.md section 2): errors are 500. */
export const planDoor: Door<"plan"> = {
  feature: "plan",
  errorStatus: 500,
  read(body) {
    const wish = readPlanWish(body);
    return { similarTo: wish, describe: (similar) => ({ ...describePlan(wish, similar), taskId: null }) };
  },
  fallback() {
    return { provider: "none", model: "none", output: null, confidence: null };
  },
  succeed({ output, confidence }, provenance) {
    return {
      suggested_plan: output.suggested_plan,
      ai_metadata: {
        overall_risks: output.overall_risks,
        assumptions: output.assumptions,
        confidence,
        generated_at: new Date().toISOString(),
        ...provenance,
      },
    };
  },
  fail({ fallback }) {
    const itsText = fallback === "rejected" || fallback === "schema" || fallback === "refused" ||
      fallback === "refusal";
    return { error: itsText ? OTHER_WORDS : BUSY };
  },
};
