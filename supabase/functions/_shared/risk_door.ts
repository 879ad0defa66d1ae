import type { Door } from "./door.ts";
import { describeTask } from "./describe_task.ts";
import type { RiskInput } from "./features.gen.ts";
import { RULES, RULES_CONFIDENCE, rulesRisk } from "./rules_risk.ts";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** The risk coach (contract.md section 1): errors are 400, and a valid answer comes whatever happens (trap T10). */
export const riskDoor: Door<"risk"> = {
  feature: "risk",
  errorStatus: 400,
  read(body) {
    const { promptInput, shortened } = describeTask(body);
    return { similarTo: null, describe: () => ({ promptInput, shortened, taskId: taskId(body.metrics) }) };
  },
  fallback({ promptInput }) {
    return {
      provider: "rules",
      model: RULES,
      output: rulesRisk(promptInput as RiskInput),
      confidence: RULES_CONFIDENCE,
    };
  },
  succeed({ output, confidence }, provenance) {
    return {
      risk_level: output.risk_level,
      confidence,
      reasons: output.reasons,
      recommended_actions: output.recommended_actions,
      _meta: provenance,
    };
  },
  fail() {
    throw new Error("Cannot happen: the rules always have an answer");
  },
};

function taskId(metrics: unknown): string | null {
  const id = typeof metrics === "object" && metrics !== null && "task_id" in metrics ? metrics.task_id : null;
  return typeof id === "string" && UUID.test(id) ? id : null;
}
