import { type FeatureName } from "./features.gen.ts";
import { messages } from "./messages.ts";

/** What a chat request costs on top of its texts, in tokens: three for each message, three to begin the answer. */
const PER_MESSAGE = 3;

/**
 * The tokens that a cloud model (o200k_base) would have counted for the same request and answer: what the private
 * model saved. The vocabulary is loaded at the first count, after an answer is sent.
 */
export async function countAlternative(
  feature: FeatureName,
  promptInput: unknown,
  output: unknown,
): Promise<{ input: number; output: number }> {
  const { countTokens } = await import("gpt-tokenizer/encoding/o200k_base");
  const count = (text: string) => countTokens(text, { allowedSpecial: new Set(), disallowedSpecial: new Set() });
  const asked = messages(feature, promptInput, "instructions");
  return {
    input: asked.reduce((sum, { role, content }) => sum + PER_MESSAGE + count(role) + count(content), PER_MESSAGE),
    output: output === null ? 0 : count(JSON.stringify(output)),
  };
}
