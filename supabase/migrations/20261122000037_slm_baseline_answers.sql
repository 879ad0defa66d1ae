-- The baseline vault: what the model that we replace answered to the gold set, asked once, kept for good.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists public.slm_baseline_answers (
  example_id text not null references public.slm_examples (id) on delete cascade,
  model text not null,
  prompt_version text not null,
  feature text not null constraint slm_baseline_answers_feature check (feature in ('risk', 'plan')),
  asked_at timestamptz not null,
  provider text not null,
  model_snapshot text not null,
  said text not null,
  output jsonb,
  fault text,
  input_tokens integer not null,
  output_tokens integer not null,
  input_usd_per_million numeric(12, 6) not null,
  output_usd_per_million numeric(12, 6) not null,
  usd numeric(14, 9) not null,
  latency_ms integer not null,
  primary key (example_id, model, prompt_version),
  constraint slm_baseline_answers_answer_or_fault check ((output is null) <> (fault is null))
);
comment on table public.slm_baseline_answers is 'Answers of the baseline model to the gold set. Recorded once, so that later evaluations need neither key nor model.';
comment on column public.slm_baseline_answers.model is 'The model that was asked for.';
comment on column public.slm_baseline_answers.model_snapshot is 'The model that answered, as the API names it.';
comment on column public.slm_baseline_answers.said is 'The answer''s text, letter by letter.';
comment on column public.slm_baseline_answers.output is 'The answer in the feature''s shape; null when it has another, or the feature rejects it.';
comment on column public.slm_baseline_answers.fault is 'Why there is no output: refusal, cut off, not the shape, or what the feature rejects.';
comment on column public.slm_baseline_answers.usd is 'What the answer cost by the prices of that day, which stand beside it.';

create or replace function public.slm_record_baseline(p_answers jsonb)
returns integer
language sql
security invoker
set search_path = ''
as $$
  with added as (
    insert into public.slm_baseline_answers
    select answer.* from jsonb_populate_recordset(null::public.slm_baseline_answers, p_answers) as answer
    on conflict do nothing
    returning 1
  )
  select count(*)::integer from added;
$$;
comment on function public.slm_record_baseline is 'Puts answers into the vault and returns how many were new; an answer that is there stays.';

create or replace function public.slm_baseline(p_feature text, p_model text)
returns jsonb
language sql stable
security invoker
set search_path = ''
as $$
  -- One value, not rows: the server cuts rows at its limit without a word.
  select coalesce(jsonb_agg(to_jsonb(answer) order by answer.example_id), '[]')
  from public.slm_baseline_answers as answer where answer.feature = p_feature and answer.model = p_model;
$$;
comment on function public.slm_baseline is 'All recorded answers of a model to a feature''s gold set.';

alter table public.slm_baseline_answers enable row level security;
revoke all on public.slm_baseline_answers from public, anon, authenticated;
grant select, insert, update, delete on public.slm_baseline_answers to service_role;
revoke execute on function public.slm_record_baseline, public.slm_baseline from public, anon, authenticated;
grant execute on function public.slm_record_baseline, public.slm_baseline to service_role;
