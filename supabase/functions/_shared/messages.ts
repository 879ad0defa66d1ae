import { type FeatureName, features } from "./features.gen.ts";

export type Message = { role: "system" | "user"; content: string };

/** The messages that any model sees for a prompt input: the same bytes as `Feature.messages` makes in Python. */
export function messages(feature: FeatureName, promptInput: unknown, style: "tag" | "instructions"): Message[] {
  return [
    { role: "system", content: style === "tag" ? feature : features[feature].instructions },
    { role: "user", content: JSON.stringify(promptInput) },
  ];
}
