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
  const told = new Map<string, string>();
  // One fault for each place: what is empty is also too short and begins with nothing.
  for (const { keyword, error, instanceLocation } of errors) {
    if (["properties", "items", "$ref"].includes(keyword)) continue;
    const place = where(instanceLocation);
    told.set(place, valueAt(answer, instanceLocation) === "" ? "is empty" : told.get(place) ?? what(keyword, error));
  }
  const shape = [...told].map(([place, fault]) => `${place}: ${fault}`);
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

function valueAt(answer: Answer, location: string): unknown {
  return location.replace(/^#\/?/, "").split("/").reduce<unknown>(
    (value, part) => typeof value === "object" && value !== null ? (value as Record<string, unknown>)[part] : undefined,
    answer,
  );
}

function what(keyword: string, error: string): string {
  if (keyword === "minLength") return "too short";
  if (keyword === "maxLength") return "too long";
  if (keyword === "minItems") return "at least one is needed";
  if (keyword === "maxItems") return "too many";
  if (keyword === "pattern") return "begins with a space";
  return error;
}
