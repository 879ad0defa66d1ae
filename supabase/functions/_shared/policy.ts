import type { Context } from "./database.ts";

/** Why a provider gave no usable answer, or was not asked: the names that the ledger keeps. */
export type Cause =
  | "unreachable"
  | "timeout"
  | "overloaded"
  | "refused"
  | "misconfigured"
  | "invalid_json"
  | "schema"
  | "rejected"
  | "failed"
  | "refusal"
  | "low_confidence"
  | "breaker_open"
  | "over_budget"
  | "no_key"
  | "no_names"
  | "no_time";

/** A provider that is a model. The deterministic rules are not: they stand behind every chain. */
export type ModelProvider = "slm" | "cloud";

/** Whose answers a request counts for when the guard compares: private requests count for neither. */
export type Arm = "candidate" | "current" | "private";

export type Chain = {
  arm: Arm;
  /** Whose turn it would be, in order. */
  order: ModelProvider[];
  /** Who of them is asked. */
  ask: ModelProvider[];
  /** Who would have been asked, and why not. */
  skipped: { provider: ModelProvider; cause: Cause }[];
  /** Whether the private model answers too, unseen. */
  shadow: boolean;
};

/** Causes that say something about a provider's health; the others are about one answer. */
const OUTAGES: ReadonlySet<Cause> = new Set<Cause>(["unreachable", "timeout", "overloaded", "failed"]);

/** Milliseconds that a provider leaves to the one behind it. */
const RESERVE_MS = 6_000;
/** With less time than this nobody is asked any more. */
const LEAST_MS = 300;

/** Who may answer this request, in which order. Pure: the same context and key always give the same chain. */
export function chain(context: Context, hasKey: boolean): Chain {
  const order = wanted(context);
  const skipped: Chain["skipped"] = [];
  const ask = order.filter((provider) => {
    const cause = provider === "slm" ? slmFault(context) : cloudFault(context, hasKey);
    if (cause) skipped.push({ provider, cause });
    return !cause;
  });
  const private_ = !context.allowCloud;
  return {
    arm: private_ ? "private" : order[0] === "slm" ? "candidate" : "current",
    order,
    ask,
    skipped,
    shadow: !private_ && context.stage === "shadow" && context.slmBreaker === "closed",
  };
}

/** An organisation that does not allow the cloud takes no part in the rollout: it has the private model. */
function wanted({ allowCloud, stage, inShare }: Context): ModelProvider[] {
  if (!allowCloud) return ["slm"];
  if (stage === "off" || stage === "shadow") return ["cloud"];
  return stage === "full" || inShare ? ["slm", "cloud"] : ["cloud", "slm"];
}

function slmFault(context: Context): Cause | null {
  return context.slmBreaker === "open" ? "breaker_open" : null;
}

function cloudFault({ cloud, orgId }: Context, hasKey: boolean): Cause | null {
  if (cloud === null) return "unreachable";
  if (orgId === null) return "no_names";
  if (!hasKey) return "no_key";
  if (cloud.breaker === "open") return "breaker_open";
  return cloud.usdLeft > 0 ? null : "over_budget";
}

/** Milliseconds that the next provider may take, or null when it is too late to ask. One deadline covers the whole chain. */
export function timeFor(behind: ModelProvider[], leftMs: number): number | null {
  const reserve = behind.length > 0 ? Math.min(RESERVE_MS, leftMs / 2) : 0;
  const time = Math.floor(leftMs - reserve);
  return time >= LEAST_MS ? time : null;
}

export function isOutage(cause: Cause): boolean {
  return OUTAGES.has(cause);
}

/** A cloud model that declines has answered: nobody else is asked the same. */
export function isFinal(provider: ModelProvider, cause: Cause): boolean {
  return provider === "cloud" && cause === "refusal";
}
