-- The ledger: one row for each request, with what the model saw. Opened while the model works, completed after the answer,
-- priced by the day's list. The training source from day one.

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
  provider text not null constraint slm_requests_provider check (provider in ('slm', 'cloud', 'rules', 'none')),
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
  status text not null default 'closed' constraint slm_requests_status check (status in ('open', 'closed', 'lost')),
  stage text,
  arm text,
  attempts jsonb not null default '[]',
  shadow jsonb,
  scrubbed jsonb not null default '{}',
  cloud_model text,
  cloud_input_tokens integer,
  cloud_output_tokens integer,
  alternative_input_tokens integer,
  alternative_output_tokens integer,
  cost_usd numeric(14, 9) not null default 0,
  alternative_usd numeric(14, 9),
  constraint slm_requests_answer_or_reason check (status <> 'closed' or output is not null or fallback_reason is not null)
);

comment on table public.slm_requests is
'One row for each request to the edge functions: what the model saw, what was answered, who answered it, why and at what cost.';
comment on column public.slm_requests.id is 'The request id that the answer carries in _meta or ai_metadata.';
comment on column public.slm_requests.user_id is 'The signed-in caller (auth.users.id).';
comment on column public.slm_requests.task_id is 'As the caller gave it; not checked against tasks.';
comment on column public.slm_requests.prompt_input is 'The closed input of the feature, as the model saw it. Titles and descriptions are the users'' own words, shortened; the caller''s name is not in it unless somebody typed it there.';
comment on column public.slm_requests.shortened is 'Fields of the input that were cut to the prompt''s budget.';
comment on column public.slm_requests.latency_ms is 'Milliseconds from the request''s arrival to the answer''s departure.';
comment on column public.slm_requests.model_ms is 'Milliseconds of that spent waiting for the inference service.';

comment on column public.slm_requests.status is 'open: the model works; closed: answered; lost: the worker died before it could say how it ended.';
comment on column public.slm_requests.stage is 'The rollout''s stage when the request came.';
comment on column public.slm_requests.arm is 'candidate: the private model was asked first; current: the cloud was; private: the organisation does not allow the cloud.';
comment on column public.slm_requests.attempts is 'Who was asked in turn: provider, cause of failure (null for the one that answered), milliseconds.';
comment on column public.slm_requests.shadow is 'What the private model would have answered in the shadow stage, and whether it agrees; null elsewhere.';
comment on column public.slm_requests.scrubbed is 'How many of each kind of personal data were taken out before a cloud model saw the input; never the values.';
comment on column public.slm_requests.cloud_input_tokens is 'As the cloud counted them, over all attempts; null when no cloud model was asked.';
comment on column public.slm_requests.alternative_input_tokens is 'What a cloud model would have counted for the same request.';
comment on column public.slm_requests.cost_usd is 'What cloud models were paid for this request, also where their answer was not used.';
comment on column public.slm_requests.alternative_usd is 'What the cheapest acceptable cloud model of that day would have cost.';
comment on column public.slm_requests.provider is 'slm: the private model; cloud: a cloud model; rules: deterministic rules from the metrics; none: an error was shown, or the request is still open.';
comment on column public.slm_requests.fallback_reason is 'Why the first provider asked did not answer; null when it did.';

create index if not exists slm_requests_by_time on public.slm_requests (created_at, id);
create index if not exists slm_requests_by_org on public.slm_requests (org_id, created_at);
create index if not exists slm_requests_open on public.slm_requests (created_at) where status = 'open';
create index if not exists slm_requests_guard on public.slm_requests (feature, created_at) where status = 'closed';

alter table public.slm_requests enable row level security;
revoke all on public.slm_requests from public, anon, authenticated;
grant select, insert, update, delete on public.slm_requests to service_role;
