/** What keeps a corrected answer from being kept: its shape must hold; what the wording rules dislike is only said. */
import { features } from "../../../functions/_shared/features.gen.ts";
import { reject } from "../../../functions/_shared/reject.ts";
import type { Answer, Pair } from "../shapes.ts";
import { Validator } from "@cfworker/json-schema";

const validators = {
  risk: new Validator(features.risk.outputSchema as unknown as object, "2020-12", false),
  plan: new Validator(features.plan.outputSchema as unknown as object, "2020-12", false),
};

const SAID: Record<string, string> = {
  level: "The level is more than one step from what the figures say",
  milestone: "No reason names the milestone",
  figure: "A percentage is not in the task",
  "cut off": "A sentence does not end with . ! or ?",
  repeats: "Two sentences say the same",
  order: "The phases are not in their order",
  "no sentence": "One text is no sentence",
  spaces: "A title has spaces around it",
};

export type Faults = { shape: string[]; wording: string[] };

export function faultsOf(pair: Pair, answer: Answer): Faults {
  const { errors } = validators[pair.feature].validate(answer);
  const shape = errors.filter((it) => !["properties", "items", "$ref"].includes(it.keyword)).map((it) =>
    `${where(it.instanceLocation)}: ${what(it.keyword, it.error)}`
  );
  if (shape.length > 0) return { shape, wording: [] };
  return {
    shape,
    wording: [...new Set(reject(pair.feature, pair.prompt_input, answer).map((fault) => SAID[fault] ?? fault))],
  };
}

function where(location: string): string {
  return location.replace(/^#\/?/, "").split("/").map((part) =>
    /^\d+$/.test(part) ? String(Number(part) + 1) : part.replaceAll("_", " ")
  ).join(" ") || "answer";
}

function what(keyword: string, error: string): string {
  if (keyword === "minLength") return "too short";
  if (keyword === "maxLength") return "too long";
  if (keyword === "minItems") return "at least one is needed";
  if (keyword === "maxItems") return "too many";
  if (keyword === "pattern") return "begins with a space";
  return error;
}
