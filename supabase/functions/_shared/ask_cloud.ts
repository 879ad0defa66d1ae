import type { Answered, Asked } from "./ask_inference.ts";
import type { Cloud } from "./database.ts";
import { type FeatureName, features } from "./features.gen.ts";
import { messages } from "./messages.ts";
import type { Cause } from "./policy.ts";
import { isOutput } from "./validate_output.ts";

/** Tokens as the cloud counted them: what is paid for, whether the answer is used or not. Null: it did not say. */
export type Paid = { input: number | null; output: number | null };

/** `paid` is null when nothing is owed: the cloud never answered, or refused with an error. */
export type AskedCloud<F extends FeatureName> = Asked<F> & { paid: Paid | null };

export type AskCloud = <F extends FeatureName>(
  cloud: Cloud,
  feature: F,
  promptInput: unknown,
  timeMs: number,
) => Promise<AskedCloud<F>>;

/** Longest answer that is read, in bytes. */
const MAX_BYTES = 256 * 1024;
/** Well over the longest answer of either feature; bounds what a model that rambles may cost. */
const MAX_TOKENS = 2_000;
const UNCOUNTED: Paid = { input: null, output: null };

/** The most tokens that a question and its answer may be counted as: none is shorter than a byte. */
export function mostTokens(feature: FeatureName, promptInput: unknown): { input: number; output: number } {
  const schema = JSON.stringify(features[feature].outputSchema);
  const said = messages(feature, promptInput, "instructions").map(({ content }) => content).join("");
  return { input: 2 * new TextEncoder().encode(said + schema).length, output: MAX_TOKENS };
}

/**
 * Asks an OpenAI-compatible model once, with structured outputs. Never throws: whatever goes wrong has a name.
 * Knows nothing of who may ask, and expects its input scrubbed.
 */
export function cloudClient(key: (name: string) => string | undefined): AskCloud {
  return async <F extends FeatureName>(cloud: Cloud, feature: F, promptInput: unknown, timeMs: number) => {
    let response: Response | undefined;
    try {
      const { url, headers } = address(cloud, key(cloud.keyName) ?? "");
      response = await fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: JSON.stringify(question(cloud, feature, promptInput)),
        signal: AbortSignal.timeout(timeMs),
        redirect: "error",
      });
      const body = await bounded(response);
      return response.ok ? read(cloud, feature, body) : { cause: causeOf(response.status, body), paid: null };
    } catch (error) {
      const timeout = error instanceof DOMException && error.name === "TimeoutError";
      // What broke off on the way is owed all the same, and so may be what took too long.
      return { cause: timeout ? "timeout" : "unreachable", paid: timeout || response?.ok ? UNCOUNTED : null };
    }
  };
}

function address(cloud: Cloud, key: string): { url: string; headers: Record<string, string> } {
  const base = cloud.endpoint.replace(/\/+$/, "");
  if (cloud.api === "openai") {
    return { url: `${base}/chat/completions`, headers: { authorization: `Bearer ${key}` } };
  }
  const version = encodeURIComponent(cloud.apiVersion ?? "2024-10-21");
  const deployment = encodeURIComponent(cloud.model);
  return {
    url: `${base}/openai/deployments/${deployment}/chat/completions?api-version=${version}`,
    headers: { "api-key": key },
  };
}

function question(cloud: Cloud, feature: FeatureName, promptInput: unknown): unknown {
  return {
    model: cloud.model,
    messages: messages(feature, promptInput, "instructions"),
    max_completion_tokens: MAX_TOKENS,
    response_format: {
      type: "json_schema",
      json_schema: { name: feature, strict: true, schema: withConfidence(strict(features[feature].outputSchema)) },
    },
  };
}

/** Keywords that structured outputs do not take; our own validation holds the answer to them afterwards. */
const UNSUPPORTED = new Set(["minLength", "maxLength", "pattern", "title", "description", "default", "uniqueItems"]);

function strict(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(strict);
  if (typeof schema !== "object" || schema === null) return schema;
  return Object.fromEntries(
    Object.entries(schema).flatMap(([key, value]) => {
      if (key === "properties" || key === "$defs") {
        const inner = Object.entries(value as object).map(([name, one]) => [name, strict(one)]);
        return [[key, Object.fromEntries(inner)]];
      }
      return UNSUPPORTED.has(key) ? [] : [[key, strict(value)]];
    }),
  );
}

/** A cloud model is asked how sure it is, as the app does today: its probabilities are not ours to measure. */
function withConfidence(schema: unknown): unknown {
  const whole = schema as { properties: Record<string, unknown>; required: string[] };
  return {
    ...whole,
    properties: { ...whole.properties, confidence: { type: "integer" } },
    required: [...whole.required, "confidence"],
  };
}

async function bounded(response: Response): Promise<unknown> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of response.body ?? []) {
    size += part.length;
    if (size > MAX_BYTES) return undefined;
    parts.push(part);
  }
  try {
    return JSON.parse(new TextDecoder().decode(await new Blob(parts as BlobPart[]).arrayBuffer()));
  } catch {
    return undefined;
  }
}

function causeOf(status: number, body: unknown): Cause {
  const error = field(body, "error");
  if (field(error, "code") === "content_filter") return "refusal";
  if (status === 429 || status === 503 || status === 529) return "overloaded";
  if (status === 408 || status === 504) return "timeout";
  if (status === 413 || status === 422) return "refused";
  // A wrong key, model or address is the operator's to mend: the log says it, never with the key.
  if (status < 500) console.error(`The cloud answered ${status}: check slm_providers and its key`);
  return status < 500 ? "misconfigured" : "failed";
}

function read<F extends FeatureName>(cloud: Cloud, feature: F, body: unknown): AskedCloud<F> {
  const usage = field(body, "usage");
  const paid = { input: count(field(usage, "prompt_tokens")), output: count(field(usage, "completion_tokens")) };
  const choices = field(body, "choices");
  const choice = Array.isArray(choices) ? choices[0] : undefined;
  const message = field(choice, "message");
  if (body === undefined || message === undefined) return { cause: "invalid_json", paid };
  if (field(message, "refusal") || field(choice, "finish_reason") === "content_filter") {
    return { cause: "refusal", paid };
  }
  const parsed = parse(field(message, "content"));
  if (parsed === undefined) return { cause: "invalid_json", paid };
  const { confidence, ...output } = parsed;
  if (!isOutput(feature, output)) return { cause: "schema", paid };
  const answer: Answered<F> = {
    output,
    confidence: percent(confidence),
    model: String(field(body, "model") ?? cloud.model),
    promptVersion: features[feature].promptVersions.instructions,
    inputTokens: paid.input,
    outputTokens: paid.output,
    details: { confidence: "self-reported", provider: cloud.name },
  };
  return { answer, paid };
}

function parse(content: unknown): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(String(content));
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? value as Record<string, unknown>
      : undefined;
  } catch {
    return undefined;
  }
}

function percent(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? Math.round(Math.min(100, Math.max(0, value))) : 0;
}

function count(value: unknown): number | null {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 ? value : null;
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
