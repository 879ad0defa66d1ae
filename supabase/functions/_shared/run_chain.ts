import { type AskCloud, mostTokens, type Paid } from "./ask_cloud.ts";
import type { Answered, Asked } from "./ask_inference.ts";
import type { Context, Database } from "./database.ts";
import { OWN_WORDS } from "./describe_task.ts";
import type { FeatureName } from "./features.gen.ts";
import { type Cause, type Chain, isFinal, isOutage, type ModelProvider, timeFor } from "./policy.ts";
import { reject } from "./reject.ts";
import { type Counts, scrub } from "./scrub.ts";
import { isOutput } from "./validate_output.ts";

/** One provider's turn: what became of it (null: it answered) and how long it took. */
export type Attempt = { provider: ModelProvider; cause: Cause | null; ms: number };

export type Outcome<F extends FeatureName> = {
  /** The answer and who gave it; null when every model failed. */
  given: { provider: ModelProvider; answer: Answered<F> } | null;
  attempts: Attempt[];
  /** What the cloud is owed, whether its answer was used or not; null when nothing is. */
  paid: Paid & { model: string } | null;
  scrubbed: Counts;
};

/** What the chain stands on. */
export type Providers<F extends FeatureName> = {
  database: Pick<Database, "permit" | "claimProbe" | "report">;
  askSlm: (timeMs: number) => Promise<Asked<F>>;
  /** Whether the private model is at work already, with a deadline of its own: its answer is taken however late it is. */
  slmIsAsked: boolean;
  askCloud: AskCloud;
  background: (work: Promise<unknown>) => void;
};

/**
 * Asks each provider of the chain in turn until one answers, within one deadline. Knows nothing of why the chain is as
 * it is, nor of what the caller gets.
 */
export async function runChain<F extends FeatureName>(
  { order, ask, skipped }: Chain,
  context: Context,
  request: { id: string; feature: F; promptInput: unknown; deadline: number },
  providers: Providers<F>,
): Promise<Outcome<F>> {
  const attempts: Attempt[] = [];
  let paid: Outcome<F>["paid"] = null;
  let scrubbed: Counts = {};
  let unsure: Answered<F> | null = null;
  for (const provider of order) {
    const passedOver = skipped.find((one) => one.provider === provider);
    if (passedOver) {
      attempts.push({ ...passedOver, ms: 0 });
      continue;
    }
    const began = performance.now();
    const turn = await takeTurn(provider, ask.slice(ask.indexOf(provider) + 1));
    const cause = "cause" in turn ? turn.cause : null;
    attempts.push({ provider, cause, ms: Math.round(performance.now() - began) });
    if ("answer" in turn) return { given: { provider, answer: turn.answer }, attempts, paid, scrubbed };
    if (isFinal(provider, turn.cause)) break;
  }
  // An answer that the model was not sure of is still better than none.
  return { given: unsure && { provider: "slm", answer: unsure }, attempts, paid, scrubbed };

  async function takeTurn(
    provider: ModelProvider,
    behind: ModelProvider[],
  ): Promise<Asked<F>> {
    const breaker = provider === "slm" ? "slm" : `cloud:${context.cloud!.name}`;
    const state = provider === "slm" ? context.slmBreaker : context.cloud!.breaker;
    if (state === "due" && !await mayProbe(breaker)) return { cause: "breaker_open" };
    const timeMs = timeFor(behind, request.deadline - performance.now()) ??
      (provider === "slm" && providers.slmIsAsked ? 0 : null);
    if (timeMs === null) return { cause: "no_time" };
    const asked = provider === "slm" ? await askSlm(timeMs) : await askCloud(timeMs);
    const cause = "cause" in asked ? asked.cause : null;
    if (cause === "no_names" || cause === "over_budget") return asked; // Nobody was asked: the breaker learns nothing.
    const outage = cause !== null && isOutage(cause);
    if (outage || state !== "closed") {
      providers.background(providers.database.report(breaker, outage ? cause : null));
    }
    return asked;
  }

  async function askSlm(timeMs: number): Promise<Asked<F>> {
    const asked = await providers.askSlm(timeMs);
    if ("answer" in asked && asked.answer.confidence < context.minConfidence) {
      unsure = asked.answer;
      return { cause: "low_confidence" };
    }
    return asked;
  }

  async function askCloud(timeMs: number): Promise<Asked<F>> {
    const began = performance.now();
    const cloud = context.cloud!;
    let names: string[] | null;
    try {
      const most = mostTokens(request.feature, request.promptInput);
      const question = { requestId: request.id, orgId: context.orgId!, model: cloud.pricedAs, ...most };
      names = await providers.database.permit(question);
    } catch (error) {
      // Without the names to take out, nothing may leave.
      console.error(error instanceof Error ? error.message : String(error));
      return { cause: "no_names" };
    }
    if (names === null) return { cause: "over_budget" };
    const clean = scrub(request.promptInput, names, OWN_WORDS);
    scrubbed = clean.counts;
    const asked = await providers.askCloud(
      cloud,
      request.feature,
      clean.value,
      Math.max(1, timeMs - Math.ceil(performance.now() - began)),
    );
    paid = asked.paid && { ...asked.paid, model: cloud.pricedAs };
    if ("cause" in asked) return { cause: asked.cause };
    // A placeholder may stand for a longer text than its field takes: then the placeholder stays.
    const restored = clean.restore(asked.answer.output);
    const output = isOutput(request.feature, restored) ? restored : asked.answer.output;
    if (reject(request.feature, request.promptInput, output).length > 0) return { cause: "rejected" };
    return { answer: { ...asked.answer, output } };
  }

  async function mayProbe(breaker: string): Promise<boolean> {
    try {
      return await providers.database.claimProbe(breaker);
    } catch {
      return false;
    }
  }
}
