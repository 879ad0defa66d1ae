import type { AskCloud } from "./ask_cloud.ts";
import type { AskInference } from "./ask_inference.ts";
import type { Authenticate } from "./authenticate.ts";
import { cors } from "./cors.ts";
import { countAlternative } from "./count_tokens.ts";
import { type Context, type Database, type LedgerRow, PRIVATE } from "./database.ts";
import type { Door, Prepared, Provenance } from "./door.ts";
import { type FeatureName, features } from "./features.gen.ts";
import type { Ledger } from "./ledger.ts";
import { type Chain, chain, type ModelProvider, timeFor } from "./policy.ts";
import { readBody } from "./read_body.ts";
import { RequestError } from "./request_error.ts";
import { respond } from "./respond.ts";
import { type Outcome, runChain } from "./run_chain.ts";
import { type Ids, traceparent } from "./trace.ts";
import { Unauthorized } from "./unauthorized.ts";
import { warnOnce } from "./warn_once.ts";

/** What a door stands on; given by constructor, so that a test gives its own. */
export type Services = {
  authenticate: Authenticate;
  database: Database;
  ledger: Ledger;
  askInference: AskInference;
  askCloud: AskCloud;
  /** Whether there is a key by this name. */
  hasKey: (name: string) => boolean;
  /** Milliseconds that all providers together may take. */
  deadlineMs: number;
  background: (work: Promise<unknown>) => void;
};

/** How long an answer waits for its ledger row to be opened, in milliseconds: it had all the model's time before. */
const OPEN_GRACE_MS = 250;

/**
 * The whole way of one request: who asks, what the model sees, who answers, what the app gets, what the ledger keeps.
 * `services` may throw when the settings are wrong; the caller then gets the contract's error shape, the log the reason.
 */
export function serveFeature<F extends FeatureName>(
  door: Door<F>,
  services: () => Services,
): (request: Request) => Promise<Response> {
  const last: Memory = new Map();
  return async (request) => {
    if (request.method === "OPTIONS") return new Response("ok", { headers: cors });
    try {
      return await answer(door, services(), last, request);
    } catch (error) {
      if (error instanceof Unauthorized) return respond({ error: error.message }, 401);
      if (error instanceof RequestError) return respond({ error: error.message }, door.errorStatus);
      console.error(`${door.feature}: ${error instanceof Error ? error.message : String(error)}`);
      return respond({ error: "The service is not available" }, door.errorStatus);
    }
  };
}

async function answer<F extends FeatureName>(
  door: Door<F>,
  services: Services,
  last: Memory,
  request: Request,
): Promise<Response> {
  const arrived = performance.now();
  if (request.method !== "POST") throw new RequestError(`Cannot answer ${request.method}: send POST`);
  const userId = await services.authenticate(request.headers.get("authorization"));
  const wanted = door.read(await readBody(request));

  const id = crypto.randomUUID();
  const deadline = arrived + services.deadlineMs;
  const ids = { request: id, traceparent: traceparent(request.headers.get("traceparent"), id) };
  const askSlm = (promptInput: unknown, timeMs: number) =>
    services.askInference(door.feature, promptInput, ids, timeMs);
  // Asking the private model gives nothing away, so a caller who went there last time need not wait for the policy.
  const behind = wanted.similarTo === null ? last.get(userId) : undefined;
  let asking = performance.now();
  const time = behind && timeFor(behind, deadline - performance.now());
  const early = time ? askSlm(wanted.describe([]).promptInput, time) : null;
  const context = await look(services.database, userId, door.feature, wanted.similarTo);
  const prepared = wanted.describe(context.similar);
  const order = chain(context, context.cloud !== null && services.hasKey(context.cloud.keyName));
  remember(last, userId, order, context.slmBreaker);
  if (context.allowCloud && context.cloud === null) warnOnce("No cloud model is in date: check slm_providers");

  if (!early) asking = performance.now();
  const started = {
    id,
    created_at: new Date(Date.now() - (performance.now() - arrived)).toISOString(),
    org_id: context.orgId,
    user_id: userId,
    task_id: prepared.taskId,
    feature: door.feature,
    prompt_input: prepared.promptInput,
    shortened: prepared.shortened,
    prompt_version: features[door.feature].promptVersions.terse,
    stage: context.stage,
    arm: order.arm,
  };
  const opened = services.ledger.open(started);
  const { promptInput } = prepared;
  const outcome = await runChain(order, context, { id, feature: door.feature, promptInput, deadline }, {
    ...services,
    slmIsAsked: early !== null,
    askSlm: (timeMs) => early ?? askSlm(promptInput, timeMs),
  });

  const fallback = outcome.given ? null : door.fallback(prepared);
  const said = outcome.given?.answer ?? fallback!;
  const cause = outcome.attempts[0]?.cause ?? null;
  const provenance: Provenance = {
    request_id: id,
    provider: outcome.given?.provider ?? fallback!.provider,
    model: said.model,
    prompt_version: outcome.given?.answer.promptVersion ?? started.prompt_version,
    latency_ms: Math.round(performance.now() - arrived),
    ...(cause ? { fallback: cause } : {}),
  };
  const { output, confidence } = said;
  const modelMs = Math.round(performance.now() - asking);
  services.background(close(services, door.feature, ids, prepared, order, outcome, {
    ...started,
    output,
    confidence,
    provider: provenance.provider,
    model: provenance.model,
    prompt_version: provenance.prompt_version,
    fallback_reason: cause,
    input_tokens: outcome.given?.answer.inputTokens ?? null,
    output_tokens: outcome.given?.answer.outputTokens ?? null,
    latency_ms: provenance.latency_ms,
    model_ms: modelMs,
    details: outcome.given?.answer.details ?? {},
    attempts: outcome.attempts,
    scrubbed: outcome.scrubbed,
  }));
  await Promise.race([opened, new Promise((resolve) => setTimeout(resolve, OPEN_GRACE_MS))]);
  return respond(
    output === null || confidence === null ? door.fail(provenance) : door.succeed({ output, confidence }, provenance),
  );
}

/** What happens after the answer: the shadow's turn, the count of tokens, the ledger row's completion. */
async function close<F extends FeatureName>(
  services: Services,
  feature: F,
  ids: Ids,
  prepared: Prepared,
  order: Chain,
  outcome: Outcome<F>,
  row: LedgerRow & { output: unknown },
): Promise<void> {
  const shadow = order.shadow ? await castShadow(services, feature, ids, prepared, row) : null;
  const answered = row.provider === "slm" || row.provider === "cloud";
  const alternative = await counted(feature, prepared.promptInput, row.output);
  await services.ledger.close({
    ...row,
    shadow,
    cloud_model: outcome.paid?.model ?? null,
    // An answer that broke off is owed all the same: without counts it costs what was reserved for it.
    cloud_input_tokens: outcome.paid?.input ?? null,
    cloud_output_tokens: outcome.paid?.output ?? null,
    alternative_input_tokens: answered ? alternative?.input ?? null : null,
    alternative_output_tokens: answered ? alternative?.output ?? null : null,
  });
}

/** Tokens of the alternative, or null when they cannot be counted: the ledger row matters more. */
async function counted(feature: FeatureName, promptInput: unknown, output: unknown) {
  try {
    return await countAlternative(feature, promptInput, output);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return null;
  }
}

/** The private model's answer that nobody sees, and whether its risk level is the one that was given. */
async function castShadow<F extends FeatureName>(
  services: Services,
  feature: F,
  ids: Ids,
  prepared: Prepared,
  row: LedgerRow & { output: unknown },
): Promise<unknown> {
  const began = performance.now();
  const asked = await services.askInference(feature, prepared.promptInput, ids, services.deadlineMs);
  const ms = Math.round(performance.now() - began);
  if ("cause" in asked) return { cause: asked.cause, ms };
  const { output, confidence, model } = asked.answer;
  const [said, shown] = [level(output), level(row.output)];
  const comparable = row.provider === "cloud" && said && shown;
  return { cause: null, ms, output, confidence, model, ...(comparable ? { agrees: said === shown } : {}) };
}

function level(output: unknown): unknown {
  return typeof output === "object" && output !== null && "risk_level" in output ? output.risk_level : null;
}

/** The caller's policy; when it cannot be had, the private one holds, and the answer goes on. */
async function look(
  database: Database,
  userId: string,
  feature: FeatureName,
  similarTo: Parameters<Database["context"]>[2],
): Promise<Context> {
  try {
    return await database.context(userId, feature, similarTo);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return PRIVATE;
  }
}

/** By caller, where the last request went to a healthy private model first: who stood behind it. Losing it costs a little time. */
type Memory = Map<string, ModelProvider[]>;
const MOST_REMEMBERED = 10_000;

function remember(last: Memory, userId: string, { ask, skipped }: Chain, slm: Context["slmBreaker"]): void {
  // A private model that is in trouble gets no head start from anybody.
  if (last.size >= MOST_REMEMBERED || slm !== "closed") last.clear();
  if (ask[0] === "slm" && skipped.length === 0 && slm === "closed") last.set(userId, ask.slice(1));
  else last.delete(userId);
}
