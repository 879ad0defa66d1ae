import type { Answered } from "./ask_inference.ts";
import type { Wish } from "./database.ts";
import type { FeatureName, SimilarTask } from "./features.gen.ts";
import type { Cause } from "./policy.ts";
import type { Outputs } from "./validate_output.ts";

/** Where an answer comes from; goes into every answer and into the ledger. */
export type Provenance = {
  request_id: string;
  provider: "slm" | "cloud" | "rules" | "none";
  model: string;
  prompt_version: string;
  latency_ms: number;
  /** Why the first provider did not answer. */
  fallback?: Cause;
};

export type Prepared = { promptInput: unknown; shortened: string[]; taskId: string | null };

/** A request that has been read: what it wants to know of the database, and the prompt input made with that. */
export type Wanted = { similarTo: Wish | null; describe(similar: SimilarTask[]): Prepared };

/** What is offered when no model gave a usable answer. */
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
  /** Throws RequestError for a body that means nothing. */
  read(body: Record<string, unknown>): Wanted;
  fallback(prepared: Prepared): Fallback<F>;
  succeed(answer: Pick<Answered<F>, "output" | "confidence">, provenance: Provenance): unknown;
  /** The body when not even the fallback has an answer. */
  fail(provenance: Provenance): unknown;
};
