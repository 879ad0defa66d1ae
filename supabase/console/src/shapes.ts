/** What the database's doors answer (migrations 60 to 63). Knows nothing of how it is shown. */
import type { PlanInput, PlanOutput, RiskInput, RiskOutput } from "../../functions/_shared/features.gen.ts";

export type { PlanInput, PlanOutput, RiskInput, RiskOutput };

export type Me = {
  name: string | null;
  org: string | null;
  is_manager: boolean;
  may_review: boolean;
  is_operator: boolean;
};

/** A pair as its reviewer sees it: nothing in it tells who made A or B. */
export type Pair =
  | { id: string; feature: "risk"; prompt_input: RiskInput; a: RiskOutput; b: RiskOutput }
  | { id: string; feature: "plan"; prompt_input: PlanInput; a: PlanOutput; b: PlanOutput };
export type Answer = RiskOutput | PlanOutput;
export type Next = { items: Pair[]; done: number; left: number };

export type Verdict = "a" | "b" | "both_good" | "both_bad" | "skip";
export const SCORES = ["correctness", "usefulness", "voice"] as const;
export type Score = typeof SCORES[number];
export type Review = {
  id: string;
  item_id: string;
  verdict: Verdict;
  reason: string | null;
  corrected: Answer | null;
  seconds: number;
} & Record<Score, number | null>;

export type Choice = "first" | "second" | "both_good" | "both_bad";
export type Vote =
  & { reviewer: number; verdict: Choice; seconds: number; corrected: boolean }
  & Record<Score, number | null>;
export type Judged = {
  feature: string;
  stratum: string;
  is_gold: boolean;
  verdict: Choice | null;
  made_by: string;
  against: string;
  metrics: { first?: Record<string, number>; second?: Record<string, number> };
  votes: Vote[];
};
export type Results = { scope: string; open: number; pairs: Judged[] };

export type Day = {
  day: string;
  feature: string;
  requests: number;
  by_slm: number;
  by_cloud: number;
  by_rules: number;
  unanswered: number;
  lost: number;
  p50_ms: number | null;
  p95_ms: number | null;
};
export type Reason = { feature: string; reason: string; answered_by: string; requests: number };
export type Saving = {
  day: string;
  requests: number;
  by_slm: number;
  cloud_usd: number;
  spent_in_vain_usd: number;
  alternative_usd: number;
  machine_usd: number | null;
  expenses_usd: number;
  saved_usd: number | null;
  saved_low_usd: number | null;
  saved_high_usd: number | null;
  saved_so_far_usd: number | null;
};
export type Figures = {
  at: string;
  goal: number;
  days: Day[];
  reasons: Reason[];
  savings: Saving[];
  break_even: {
    fixed_usd_per_day: number | null;
    requests_per_day: number | null;
    break_even_requests_per_day: number | null;
  } | null;
  token_ratio: { requests: number; ratio: number; half_width: number } | null;
};

export type Place = { stage: string; share: number };
export type Metric = {
  candidate: number;
  candidate_bad: number;
  control: number;
  control_bad: number;
  stock?: number;
  stock_bad?: number;
  line: number;
  evidence_worse: number;
  evidence_good: number;
};
export type Rollout = Place & {
  feature: string;
  min_confidence: number;
  is_paused: boolean;
  is_pinned: boolean;
  since: string;
  reason: string;
  guard: { at?: string; metrics?: Record<string, Metric> };
  next: Place | null;
  previous: Place | null;
  events: {
    id: number;
    at: string;
    from_stage: string;
    from_share: number;
    to_stage: string;
    to_share: number;
    by: string;
    reason: string;
  }[];
};
export type Provider = {
  name: string;
  model: string;
  starts_on: string;
  ends_on: string | null;
  days_left: number | null;
  is_enabled: boolean;
  rank: number;
};
export type Breaker = { provider: string; failures: number; open_until: string | null; last_cause: string | null };
export type Rollouts = { rollouts: Rollout[]; breakers: Breaker[]; providers: Provider[]; warnings: string[] };
export type Action = "advance" | "rollback" | "pin" | "unpin" | "pause" | "resume";

/** The trainer's tables may hold more than is shown, or less: each field may be missing. */
export type Run = {
  id: string;
  created_at: string;
  features?: string[];
  preset?: string;
  status?: string;
  stage?: string | null;
  progress?: { step?: number; steps?: number; loss?: number; tokens_per_s?: number; at?: string } | null;
  holder?: string | null;
  heartbeat_at?: string | null;
  dataset_ids?: string[] | null;
  why?: string | null;
  ended_at?: string | null;
};
export type Model = {
  name: string;
  feature: string;
  created_at: string;
  status?: string;
  run_id?: string | null;
  dataset_id?: string | null;
  base_sha256?: string | null;
  adapter_sha256?: string | null;
  weights_sha256?: string | null;
  quantisation?: string | null;
  prompt_version?: string | null;
  bytes?: number | null;
  calibration?: { kind?: string; x?: number[]; y?: number[]; temperature?: number } | null;
  min_confidence?: number | null;
  metrics?: Record<string, unknown> | null;
  why?: string | null;
  promoted_at?: string | null;
  retired_at?: string | null;
};
export type Evaluation = {
  id: string;
  created_at: string;
  feature: string;
  n?: number;
  models?: string[];
  summary?: Record<string, unknown> | null;
  report?: string | null;
};
export type Dataset = {
  id: string;
  created_at: string;
  feature: string;
  status: string;
  splits: Record<string, number>;
  manifest: Record<string, unknown>;
  erased: number;
};
export type Models = { runs: Run[]; models: Model[]; evaluations: Evaluation[]; datasets: Dataset[] };

export type Manager = {
  user_id: string;
  name: string | null;
  org: string | null;
  is_in: boolean;
  since: string | null;
};
