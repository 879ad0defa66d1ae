import type { Asked, AskInference } from "./ask_inference.ts";
import type { Authenticate } from "./authenticate.ts";
import { cors } from "./cors.ts";
import type { Caller, Database, LedgerRow } from "./database.ts";
import type { Door, Fallback, Prepared, Provenance } from "./door.ts";
import { type FeatureName, features } from "./features.gen.ts";
import { readBody } from "./read_body.ts";
import { RequestError } from "./request_error.ts";
import { respond } from "./respond.ts";
import { Unauthorized } from "./unauthorized.ts";

/** What a door stands on; given by constructor, so that a test gives its own. */
export type Services = {
  authenticate: Authenticate;
  database: Database;
  askInference: AskInference;
  background: (work: Promise<unknown>) => void;
};

/**
 * The whole way of one request: who asks, what the model sees, who answers, what the app gets, what the ledger keeps.
 * `services` may throw when the settings are wrong; the caller then gets the contract's error shape, the log the reason.
 */
export function serveFeature<F extends FeatureName>(
  door: Door<F>,
  services: () => Services,
): (request: Request) => Promise<Response> {
  return async (request) => {
    if (request.method === "OPTIONS") return new Response("ok", { headers: cors });
    try {
      return await answer(door, services(), request);
    } catch (error) {
      if (error instanceof Unauthorized) return respond({ error: error.message }, 401);
      if (error instanceof RequestError) return respond({ error: error.message }, door.errorStatus);
      console.error(`${door.feature}: ${error instanceof Error ? error.message : String(error)}`);
      return respond({ error: "The service is not available" }, door.errorStatus);
    }
  };
}

async function answer<F extends FeatureName>(door: Door<F>, services: Services, request: Request): Promise<Response> {
  const arrived = performance.now();
  if (request.method !== "POST") throw new RequestError(`Cannot answer ${request.method}: send POST`);
  const userId = await services.authenticate(request.headers.get("authorization"));
  const body = await readBody(request);
  const prepared = await door.prepare(body, userId, services.database);

  const requestId = crypto.randomUUID();
  const asking = performance.now();
  const caller = callerOf(services.database, userId);
  const asked = await services.askInference(door.feature, prepared.promptInput, requestId);
  const modelMs = Math.round(performance.now() - asking);

  const given = "answer" in asked ? asked.answer : door.fallback(prepared);
  const provenance: Provenance = {
    request_id: requestId,
    provider: "answer" in asked ? "slm" : (given as Fallback<F>).provider,
    model: given.model,
    prompt_version: "answer" in asked ? asked.answer.promptVersion : features[door.feature].promptVersions.tag,
    latency_ms: Math.round(performance.now() - arrived),
    ...("cause" in asked ? { fallback: asked.cause } : {}),
  };
  const { output, confidence } = given;
  services.background(
    record(services.database, caller, ledgerRow(door.feature, prepared, asked, given, provenance, modelMs)),
  );
  return respond(
    output === null || confidence === null ? door.fail(provenance) : door.succeed({ output, confidence }, provenance),
  );
}

function ledgerRow<F extends FeatureName>(
  feature: F,
  prepared: Prepared,
  asked: Asked<F>,
  given: { output: unknown; confidence: number | null },
  provenance: Provenance,
  modelMs: number,
): LedgerRow {
  const answered = "answer" in asked ? asked.answer : null;
  return {
    id: provenance.request_id,
    task_id: prepared.taskId,
    feature,
    prompt_input: prepared.promptInput,
    output: given.output,
    provider: provenance.provider,
    model: provenance.model,
    prompt_version: provenance.prompt_version,
    confidence: given.confidence,
    fallback_reason: provenance.fallback ?? null,
    shortened: prepared.shortened,
    input_tokens: answered?.inputTokens ?? null,
    output_tokens: answered?.outputTokens ?? null,
    latency_ms: provenance.latency_ms,
    model_ms: modelMs,
    details: answered?.details ?? {},
  };
}

async function record(database: Database, caller: Promise<Caller>, row: LedgerRow): Promise<void> {
  const { userId, orgId } = await caller;
  await database.record({ ...row, user_id: userId, org_id: orgId });
}

/** The caller's organisation; when it cannot be had, the default policy holds, and the answer goes on. */
async function callerOf(database: Database, userId: string): Promise<Caller> {
  try {
    return await database.findCaller(userId);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return { userId, orgId: null };
  }
}
