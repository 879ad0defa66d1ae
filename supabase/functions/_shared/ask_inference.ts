import type { FeatureName } from "./features.gen.ts";
import type { Cause } from "./policy.ts";
import type { Ids } from "./trace.ts";
import { isOutput, type Outputs } from "./validate_output.ts";

export type Answered<F extends FeatureName> = {
  output: Outputs[F];
  confidence: number;
  model: string;
  promptVersion: string;
  /** Null where the server did not count. */
  inputTokens: number | null;
  outputTokens: number | null;
  details: Record<string, unknown>;
};

export type Asked<F extends FeatureName> = { answer: Answered<F> } | { cause: Cause };

export type AskInference = <F extends FeatureName>(
  feature: F,
  promptInput: unknown,
  ids: Ids,
  timeMs: number,
) => Promise<Asked<F>>;

/** Asks the inference service once, within `timeMs`. Never throws: whatever goes wrong has a name. No url: asks nobody. */
export function inferenceClient(url: string, token: string): AskInference {
  return async (feature, promptInput, ids, timeMs) => {
    if (!url) return { cause: "misconfigured" };
    try {
      const response = await fetch(`${url.replace(/\/+$/, "")}/v1/features/${feature}`, {
        method: "POST",
        headers: {
          "authorization": `Bearer ${token}`,
          "content-type": "application/json",
          "x-deadline-ms": String(timeMs),
          "x-request-id": ids.request,
          "traceparent": ids.traceparent,
        },
        body: JSON.stringify(promptInput),
        signal: AbortSignal.timeout(timeMs),
      });
      const body = await json(response);
      return response.ok ? read(feature, body) : { cause: causeOf(response.status, body) };
    } catch (error) {
      return { cause: isTimeout(error) ? "timeout" : "unreachable" };
    }
  };
}

function isTimeout(error: unknown): boolean {
  return error instanceof DOMException && error.name === "TimeoutError";
}

/** The body, or undefined when it is no JSON; a broken connection throws. */
async function json(response: Response): Promise<unknown> {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function causeOf(status: number, body: unknown): Cause {
  const code = field(field(body, "error"), "code");
  if (code === "rejected") return "rejected";
  if (code === "invalid_output" || code === "truncated") return "schema";
  if (status === 503 || status === 429) return "overloaded";
  if (status === 504) return "timeout";
  if (status === 413 || status === 422) return "refused";
  // A wrong token or address is the operator's to mend, not the caller's: the log says it.
  if (status < 500) console.error(`The inference service answered ${status}: check INFERENCE_URL and INFERENCE_TOKEN`);
  return status < 500 ? "misconfigured" : "failed";
}

function read<F extends FeatureName>(feature: F, body: unknown): Asked<F> {
  if (body === undefined) return { cause: "invalid_json" };
  const [output, confidence, model, usage] = ["output", "confidence", "model", "usage"].map((name) =>
    field(body, name)
  );
  if (!isOutput(feature, output) || !isPercent(confidence)) return { cause: "schema" };
  return {
    answer: {
      output,
      confidence,
      model: String(field(model, "name") ?? "unknown"),
      promptVersion: String(field(body, "prompt_version") ?? "unknown"),
      inputTokens: Number(field(usage, "prompt_tokens") ?? 0),
      outputTokens: Number(field(usage, "output_tokens") ?? 0),
      details: { raw: field(body, "details"), timings: field(body, "timings"), usage, model },
    },
  };
}

function isPercent(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 100;
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
