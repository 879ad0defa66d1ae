-- Evaluations: what each model answered to the gold set, how it was scored, and the figures that a verdict was made of.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists public.slm_eval_runs (
  id uuid primary key,
  created_at timestamptz not null default now(),
  run_id uuid,
  feature text not null constraint slm_eval_runs_feature check (feature in ('risk', 'plan')),
  gold_sha256 text not null constraint slm_eval_runs_gold check (gold_sha256 ~ '^[0-9a-f]{64}$'),
  n integer not null constraint slm_eval_runs_n check (n > 0),
  models text[] not null,
  summary jsonb not null,
  report text
);
create index if not exists slm_eval_runs_by_feature on public.slm_eval_runs (feature, created_at desc);
comment on table public.slm_eval_runs is 'One row for each evaluation of a feature: which models were judged by which gold set, with all figures and intervals.';
comment on column public.slm_eval_runs.run_id is 'The training run that asked for it; null for one that a person started.';
comment on column public.slm_eval_runs.gold_sha256 is 'Hash of the sorted ids of the gold examples: the same set has the same hash.';
comment on column public.slm_eval_runs.models is 'The judged model first, then those that it is held against.';
comment on column public.slm_eval_runs.summary is 'Figures alone, nothing that anybody wrote: it outlives an erasure.';
comment on column public.slm_eval_runs.report is 'Where the HTML report was written.';

create table if not exists public.slm_eval_results (
  eval_run_id uuid not null references public.slm_eval_runs (id) on delete cascade,
  example_id text not null references public.slm_examples (id) on delete cascade,
  model text not null,
  accepted boolean not null,
  output jsonb,
  fault text,
  scores jsonb not null,
  confidence integer constraint slm_eval_results_confidence check (confidence between 0 and 100),
  raw jsonb not null default '{}',
  latency_ms numeric(12, 2),
  input_tokens integer,
  output_tokens integer,
  primary key (eval_run_id, example_id, model),
  constraint slm_eval_results_answer_or_fault check (accepted = (output is not null) and accepted = (fault is null))
);
create index if not exists slm_eval_results_by_example on public.slm_eval_results (example_id);
comment on table public.slm_eval_results is 'One model''s answer to one gold example, with its scores. It goes when its example goes: an erasure reaches it.';
comment on column public.slm_eval_results.raw is 'The probabilities behind the confidence.';
comment on column public.slm_eval_results.latency_ms is 'What a caller waits, nobody else asking.';

create or replace function public.slm_write_eval(p_run jsonb, p_rows jsonb, p_results jsonb)
returns integer
language plpgsql
security invoker
set search_path = ''
as $$
declare
  added integer;
begin
  -- The examples first: erasing a person then reaches what models said about their work, and what is erased already is refused.
  perform public.slm_put_examples(p_rows);
  insert into public.slm_eval_runs (id, created_at, run_id, feature, gold_sha256, n, models, summary, report)
  select run.id, run.created_at, run.run_id, run.feature, run.gold_sha256, run.n, run.models, run.summary, run.report
  from jsonb_populate_record(null::public.slm_eval_runs, p_run) as run
  on conflict (id) do nothing;
  insert into public.slm_eval_results
  select result.* from jsonb_populate_recordset(null::public.slm_eval_results, p_results) as result
  order by result.eval_run_id, result.example_id, result.model
  on conflict do nothing;
  get diagnostics added = row_count;
  return added;
end;
$$;
comment on function public.slm_write_eval is
'Writes a batch of an evaluation''s results, with the examples that they are about; returns how many were new. All of it or nothing; again: changes nothing. Refuses rows that an erased person is involved in.';

alter table public.slm_eval_runs enable row level security;
alter table public.slm_eval_results enable row level security;
revoke all on public.slm_eval_runs, public.slm_eval_results from public, anon, authenticated;
grant select, insert, update, delete on public.slm_eval_runs, public.slm_eval_results to service_role;
revoke execute on function public.slm_write_eval from public, anon, authenticated;
grant execute on function public.slm_write_eval to service_role;
