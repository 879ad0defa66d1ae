import { Validator } from "@cfworker/json-schema";
import { isUnclean } from "./clean_text.ts";
import { type FeatureName, features, type PlanOutput, type RiskOutput } from "./features.gen.ts";

export type Outputs = { risk: RiskOutput; plan: PlanOutput };

const validators = {
  risk: new Validator(features.risk.outputSchema as unknown as object, "2020-12"),
  plan: new Validator(features.plan.outputSchema as unknown as object, "2020-12"),
};

/** Whether a value is an output of the feature: the service has checked it too, and the edge believes nobody. */
export function isOutput<F extends FeatureName>(feature: F, value: unknown): value is Outputs[F] {
  return validators[feature].validate(value).valid && !texts(value).some(isUnclean);
}

function texts(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(texts) : [];
}
