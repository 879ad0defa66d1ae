import type { Answered, Cause } from "./ask_inference.ts";
import type { Database } from "./database.ts";
import type { FeatureName } from "./features.gen.ts";
import type { Outputs } from "./validate_output.ts";

/** Where an answer comes from; goes into every answer and into the ledger. */
export type Provenance = {
  request_id: string;
  provider: "slm" | "rules" | "none";
  model: string;
  prompt_version: string;
  latency_ms: number;
  fallback?: Cause;
};

export type Prepared = { promptInput: unknown; shortened: string[]; taskId: string | null };

/** What is offered when the private model gave no usable answer. */
export type Fallback<F extends FeatureName> = {
  provider: "rules" | "none";
  model: string;
  output: Outputs[F] | null;
  confidence: number | null;
};

/** One feature at the edge: wire to prompt input, output to wire. Everything else is the same for all of them. */
export type Door<F extends FeatureName> = {
  feature: F;
  /** The status of every error: the contract fixes one for each function. */
  errorStatus: number;
  prepare(body: Record<string, unknown>, userId: string, database: Database): Promise<Prepared>;
  fallback(prepared: Prepared): Fallback<F>;
  succeed(answer: Pick<Answered<F>, "output" | "confidence">, provenance: Provenance): unknown;
  /** The body when not even the fallback has an answer. */
  fail(provenance: Provenance): unknown;
};
