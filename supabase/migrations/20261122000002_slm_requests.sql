-- The ledger: one row for each answer, with what the model saw. The training source from day one.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists public.slm_requests (
  id uuid primary key,
  created_at timestamptz not null default now(),
  org_id uuid,
  user_id uuid not null,
  task_id uuid,
  feature text not null constraint slm_requests_feature check (feature in ('risk', 'plan')),
  prompt_input jsonb not null,
  output jsonb,
  provider text not null constraint slm_requests_provider check (provider in ('slm', 'rules', 'none')),
  model text not null,
  prompt_version text not null,
  confidence integer constraint slm_requests_confidence check (confidence between 0 and 100),
  fallback_reason text,
  shortened text[] not null default '{}',
  input_tokens integer,
  output_tokens integer,
  latency_ms integer not null,
  model_ms integer,
  details jsonb not null default '{}',
  constraint slm_requests_answer_or_reason check (output is not null or fallback_reason is not null)
);

comment on table public.slm_requests is
'One row for each answer of the edge functions: what the model saw, what was answered, who answered it and why. Written after the answer is sent.';
comment on column public.slm_requests.id is 'The request id that the answer carries in _meta or ai_metadata.';
comment on column public.slm_requests.user_id is 'The signed-in caller (auth.users.id).';
comment on column public.slm_requests.task_id is 'As the caller gave it; not checked against tasks.';
comment on column public.slm_requests.prompt_input is 'The closed input of the feature, as the model saw it. Titles and descriptions are the users'' own words, shortened; the caller''s name is not in it unless somebody typed it there.';
comment on column public.slm_requests.provider is 'slm: the private model; rules: deterministic rules from the metrics; none: an error was shown.';
comment on column public.slm_requests.fallback_reason is 'Why the private model did not answer; null when it did.';
comment on column public.slm_requests.shortened is 'Fields of the input that were cut to the prompt''s budget.';
comment on column public.slm_requests.latency_ms is 'Milliseconds from the request''s arrival to the answer''s departure.';
comment on column public.slm_requests.model_ms is 'Milliseconds of that spent waiting for the inference service.';

create index if not exists slm_requests_by_time on public.slm_requests (created_at, id);
create index if not exists slm_requests_by_org on public.slm_requests (org_id, created_at);

alter table public.slm_requests enable row level security;
revoke all on public.slm_requests from public, anon, authenticated;
grant select, insert, update, delete on public.slm_requests to service_role;
