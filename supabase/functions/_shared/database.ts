import { PostgrestClient } from "@supabase/postgrest-js";
import type { SimilarTask } from "./features.gen.ts";

/** closed: ask; open: do not; due: ask if `claimProbe` says yes. */
export type BreakerState = "closed" | "open" | "due";

/** The cloud model of the day, as the operator configured it. */
export type Cloud = {
  name: string;
  api: "openai" | "azure";
  endpoint: string;
  apiVersion: string | null;
  model: string;
  /** The name under which the price list knows it. */
  pricedAs: string;
  keyName: string;
  breaker: BreakerState;
  /** US dollars that the organisation, and all together, may still spend today. */
  usdLeft: number;
};

/** What must be known of a caller before an answer. */
export type Context = {
  orgId: string | null;
  allowCloud: boolean;
  stage: "off" | "shadow" | "canary" | "full";
  /** Whether the caller's organisation is in the rollout's share. */
  inShare: boolean;
  minConfidence: number;
  slmBreaker: BreakerState;
  cloud: Cloud | null;
  similar: SimilarTask[];
};

/** What holds when the database cannot be asked: nothing leaves, the private model answers. */
export const PRIVATE: Context = {
  orgId: null,
  allowCloud: false,
  stage: "full",
  inShare: true,
  minConfidence: 0,
  slmBreaker: "closed",
  cloud: null,
  similar: [],
};

/** One row of `slm_requests`. */
export type LedgerRow = Record<string, unknown> & { id: string };

/** A wish for similar tasks of the caller's own organisation. */
export type Wish = { title: string; skills: string[] };

/** A question to the cloud, by its price: tokens are the most that may be counted. */
export type Question = { requestId: string; orgId: string; model: string; input: number; output: number };

/** What the edge functions ask of the database. Each call may reject; none is needed for an answer. */
export type Database = {
  context(userId: string, feature: string, wish: Wish | null): Promise<Context>;
  /**
   * Reserves what a question to the cloud may cost at most. Gives the full names of the organisation's people, to be
   * taken out of a text that may leave; null when a daily cap does not allow the question.
   */
  permit(question: Question): Promise<string[] | null>;
  claimProbe(provider: string): Promise<boolean>;
  /** Tells a breaker how a provider did: null for well after a probe, else why not. */
  report(provider: string, cause: string | null): Promise<void>;
  open(row: LedgerRow): Promise<void>;
  close(row: LedgerRow): Promise<void>;
};

/** How long an answer waits for the policy before the private one holds, and for a permit before nothing leaves. */
const LOOK_MS = 1_500;
/** How long a write may take: nobody waits for it. */
const WRITE_MS = 5_000;
const SIMILAR_TASKS = 2;

/** The project's database over its REST interface, as the service role. */
export function database(supabaseUrl: string, secretKey: string): Database {
  const client = new PostgrestClient(new URL("/rest/v1", supabaseUrl).href, {
    headers: { apikey: secretKey, ...(secretKey.startsWith("sb_") ? {} : { Authorization: `Bearer ${secretKey}` }) },
  });
  const call = async (name: string, parameters: Record<string, unknown>, timeMs = WRITE_MS): Promise<unknown> => {
    const { data, error } = await client.rpc(name, parameters).abortSignal(AbortSignal.timeout(timeMs));
    if (error) throw new Error(`Cannot call ${name}: ${error.message}`);
    return data;
  };
  return {
    async context(userId, feature, wish) {
      const about = wish ? { p_title: wish.title, p_skills: wish.skills, p_similar: SIMILAR_TASKS } : {};
      return read(
        await call("slm_context", { p_user_id: userId, p_feature: feature, ...about }, LOOK_MS) as ContextRow,
      );
    },
    async permit({ requestId, orgId, model, input, output }) {
      const question = { p_request_id: requestId, p_org_id: orgId, p_model: model, p_input: input, p_output: output };
      return await call("slm_permit_cloud", question, LOOK_MS) as string[] | null;
    },
    async claimProbe(provider) {
      return await call("slm_claim_probe", { p_provider: provider }, LOOK_MS) === true;
    },
    async report(provider, cause) {
      await call("slm_report", { p_provider: provider, p_cause: cause });
    },
    async open(row) {
      await call("slm_open", { p_request: row });
    },
    async close(row) {
      await call("slm_close", { p_request: row });
    },
  };
}

/** What slm_context answers; a database story holds it to this. */
type ContextRow = {
  org_id: string | null;
  allow_cloud: boolean;
  stage: Context["stage"];
  in_share: boolean;
  min_confidence: number;
  slm_breaker: BreakerState;
  cloud: {
    name: string;
    api: Cloud["api"];
    endpoint: string;
    api_version: string | null;
    model: string;
    priced_as: string;
    key_name: string;
    breaker: BreakerState;
    usd_left: number;
  } | null;
  similar: SimilarTask[];
};

function read(data: ContextRow): Context {
  const cloud = data.cloud;
  return {
    orgId: data.org_id,
    allowCloud: data.allow_cloud === true,
    stage: data.stage,
    inShare: data.in_share === true,
    minConfidence: data.min_confidence,
    slmBreaker: data.slm_breaker,
    cloud: cloud && {
      name: cloud.name,
      api: cloud.api,
      endpoint: cloud.endpoint,
      apiVersion: cloud.api_version,
      model: cloud.model,
      pricedAs: cloud.priced_as,
      keyName: cloud.key_name,
      breaker: cloud.breaker,
      usdLeft: Number(cloud.usd_left),
    },
    similar: data.similar,
  };
}
