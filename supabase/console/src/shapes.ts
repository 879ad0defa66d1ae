/** What the database's doors answer (migrations 60 to 66 of the first day, 61 and 63 of the second). Knows nothing of how it is shown. */
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
export type Next = { items: Pair[]; done: number; skipped: number; left: number };

export type Verdict = "a" | "b" | "both_good" | "both_bad" | "skip";
export const SCORES = ["correctness", "usefulness", "voice"] as const;
export type Score = typeof SCORES[number];
export type Review = {
  id: string;
  item_id: string;
  verdict: Verdict;
  reason: string | null;
  corrected: Answer | null;
  /** Whose text was corrected. */
  corrected_of: "a" | "b" | null;
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
  /** Unless two differ and a third is waited for. */
  is_settled: boolean;
  verdict: Choice | null;
  made_by: string;
  against: string;
  metrics: { first?: Record<string, number>; second?: Record<string, number> };
  votes: Vote[];
};
/** `left`: what the caller has still to judge; until it is 0 there are no pairs. `open`: by feature. */
export type Results = { scope: string; left: number; open: Record<string, number>; pairs: Judged[] };
export type Queue = {
  org: string | null;
  is_made_up: boolean;
  open: number;
  waiting_for_third: number;
  settled: number;
  reviewers: number;
};

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
  lease_until?: string | null;
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
  gates?: { gate: string; passed: boolean }[] | null;
  why?: string | null;
  promoted_at?: string | null;
  retired_at?: string | null;
};
export type Evaluation = {
  id: string;
  created_at: string;
  feature: string;
  run_id?: string | null;
  n?: number;
  models?: string[];
  /** Of the judged model. */
  metrics?: Record<string, Mean | null> | null;
  latency?: Latency | null;
  min_confidence?: number | null;
};
export type Dataset = {
  id: string;
  created_at: string;
  feature: string;
  status: string;
  splits: Record<string, number>;
  erased: number;
};
export type Models = { runs: Run[]; models: Model[]; evaluations: Evaluation[]; datasets: Dataset[] };

/** A mean with its 95 % interval, of `n` values. */
export type Mean = { mean: number; low: number; high: number; n: number };
export type Latency = { n: number; p50_ms: number | null; p95_ms: number | null };
export type Known = { id: string; created_at: string; feature: string };
export type Reported<T> = { known: Known[]; report: T | null };

/** What has an order comes as pairs: the database's objects forget it. */
export type Pairs<T = number> = [string, T][];
/** What the trainer's data report counts (trainer/data/report.py); a stage that has not run left its part out. */
export type DataFigures = {
  missing?: string[];
  numbers?: Pairs;
  origins_by_split?: Record<string, Record<string, number>>;
  balance_of?: string;
  balance_values?: string[];
  balance?: Record<string, Record<string, number>>;
  reasons?: Pairs;
  meanings?: Record<string, string>;
  by_source?: Record<string, Record<string, number>>;
  refused?: Pairs;
  grid?: {
    rows_are: string;
    columns_are: string;
    columns: string[];
    lines: Pairs<number[]>;
    most: number;
  } | null;
  cells?: string;
  axes?: Pairs<Pairs>;
  histogram?: Pairs | null;
  length?: string;
  leakage?: {
    grouped_by?: string[];
    groups?: number;
    largest_group?: number;
    left?: Record<string, unknown>;
    times?: { newest_in_training: string | null; oldest_in_test: string | null };
  };
  aside?: { kind: string; split: string; rows: number; meaning: string }[];
  wrote?: Pairs<string>;
};
export type DataReport = Dataset & { manifest: { report?: DataFigures } };

export type Bin = { confidence: number; right: Mean };
export type Reliability = { n: number; ece: number | null; bins: Bin[] };
export type Judgement = {
  name: string;
  n: number;
  metrics: Record<string, Mean | null>;
  refused: Record<string, number>;
  confusion: Record<string, Record<string, number>> | null;
  latency: Latency & { input_tokens: number | null; output_tokens: number | null };
  slices: Record<string, Record<string, Mean>>;
};
export type EvaluationReport = Known & {
  n: number;
  gold_sha256: string;
  models: string[];
  report: string | null;
  run_id: string | null;
  /** As the trainer sums it up (trainer/evaluation/evaluation.py); an older one may hold less. */
  summary: {
    made_up?: boolean;
    origins?: Record<string, number>;
    models?: Judgement[];
    comparisons?: {
      metric: string;
      ours: string;
      theirs: string;
      difference: Mean & { p: number; test: string };
      p_holm: number;
    }[];
    confidence?: {
      model: string;
      validation: number;
      calibration: { kind: string; temperature?: number };
      line: { min_confidence: number | null; why: string };
      before: Reliability;
      after: Reliability;
    } | null;
  };
};

export type Manager = {
  user_id: string;
  name: string | null;
  org: string | null;
  is_in: boolean;
  since: string | null;
};
