-- Who may answer: cloud models as dated configuration, prices, rollout stages, circuit breakers; and one look at all of them.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists public.slm_operator_settings (
  id boolean primary key default true constraint slm_operator_settings_one_row check (id),
  daily_cloud_usd numeric(12, 6) not null default 5,
  local_share_goal numeric not null default 0.9 constraint slm_operator_settings_goal check (local_share_goal between 0 and 1),
  updated_at timestamptz not null default now()
);
comment on table public.slm_operator_settings is 'One row: what holds for the whole installation.';
comment on column public.slm_operator_settings.daily_cloud_usd is 'The most that all cloud answers together may cost in a day (UTC), in US dollars.';
comment on column public.slm_operator_settings.local_share_goal is 'The share of requests that the private model should answer.';
insert into public.slm_operator_settings (id) values (true) on conflict do nothing;

create table if not exists public.slm_providers (
  name text primary key,
  api text not null default 'openai' constraint slm_providers_api check (api in ('openai', 'azure')),
  endpoint text not null,
  api_version text,
  model text not null,
  priced_as text,
  key_name text not null default 'OPENAI_API_KEY',
  starts_on date not null default '2024-01-01',
  ends_on date,
  rank integer not null default 100,
  is_enabled boolean not null default true
);
comment on table public.slm_providers is 'Cloud models that may answer where an organisation allows it. The first by rank whose days include today is asked.';
comment on column public.slm_providers.api is 'openai: POST endpoint/chat/completions with a bearer key. azure: POST endpoint/openai/deployments/model/chat/completions?api-version with an api-key header.';
comment on column public.slm_providers.priced_as is 'The model''s name in slm_prices, where it is called otherwise (an Azure deployment); null for the same name. A model without a price is not asked: its spending could not be capped.';
comment on column public.slm_providers.key_name is 'Name of the edge functions'' secret that holds the key; the key itself is never in the database.';
comment on column public.slm_providers.ends_on is 'The first day on which the model no longer answers (UTC); null when no end is announced.';
insert into public.slm_providers (name, endpoint, model, starts_on, ends_on, rank) values
('openai-gpt-4o-mini', 'https://api.openai.com/v1', 'gpt-4o-mini', '2024-07-18', '2027-01-14', 10),
('openai-gpt-6-luna', 'https://api.openai.com/v1', 'gpt-6-luna', '2027-01-14', null, 20)
on conflict do nothing;

create table if not exists public.slm_prices (
  model text not null,
  valid_from date not null,
  input_usd_per_million numeric(12, 6) not null,
  output_usd_per_million numeric(12, 6) not null,
  is_alternative boolean not null default true,
  primary key (model, valid_from)
);
comment on table public.slm_prices is 'Dated price list of cloud models: a price holds from its day until the next row of the same model.';
comment on column public.slm_prices.is_alternative is 'Whether the model is good enough to be what a private answer would otherwise have cost: the cheapest of these counts.';
insert into public.slm_prices (model, valid_from, input_usd_per_million, output_usd_per_million) values
('gpt-4o-mini', '2024-07-18', 0.15, 0.60),
('gpt-6-luna', '2026-01-01', 0.10, 0.50)
on conflict do nothing;

create table if not exists public.slm_rollouts (
  feature text primary key constraint slm_rollouts_feature check (feature in ('risk', 'plan')),
  stage text not null default 'full' constraint slm_rollouts_stage check (stage in ('off', 'shadow', 'canary', 'full')),
  share integer not null default 100 constraint slm_rollouts_share check (share in (0, 1, 10, 50, 100)),
  min_confidence integer not null default 0 constraint slm_rollouts_confidence check (min_confidence between 0 and 100),
  is_paused boolean not null default false,
  is_pinned boolean not null default false,
  since timestamptz not null default now(),
  reason text not null default 'the private model answers from the start',
  guard jsonb not null default '{}',
  constraint slm_rollouts_share_of_stage check (
    case stage when 'full' then share = 100 when 'canary' then share in (1, 10, 50) else share = 0 end
  )
);
comment on table public.slm_rollouts is
'How far each feature has moved from the cloud to the private model. off: the cloud answers; shadow: the cloud answers, the private model too, unseen; canary: a share of the organisations gets the private model; full: all do.';
comment on column public.slm_rollouts.min_confidence is 'Answers of the private model under this confidence go on to the next provider; from the active model''s record.';
comment on column public.slm_rollouts.is_paused is 'The guard neither promotes nor rolls back.';
comment on column public.slm_rollouts.is_pinned is 'A person has set the stage: the guard does not promote, but still rolls back.';
comment on column public.slm_rollouts.guard is 'What the guard last saw: counts and evidence per metric.';
insert into public.slm_rollouts (feature) values ('risk'), ('plan') on conflict do nothing;

create table if not exists public.slm_rollout_events (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  feature text not null,
  from_stage text not null,
  from_share integer not null,
  to_stage text not null,
  to_share integer not null,
  by text not null,
  reason text not null
);
comment on table public.slm_rollout_events is 'Every change of a rollout: by the guard or by a person, and why.';

create table if not exists public.slm_breakers (
  provider text primary key,
  failures integer not null default 0,
  open_until timestamptz,
  is_probing boolean not null default false,
  failed_probes integer not null default 0,
  last_cause text,
  updated_at timestamptz not null default now()
);
comment on table public.slm_breakers is 'Circuit breakers, shared by all edge instances: after some failures in a row nobody asks the provider until open_until, then one caller probes it.';

create or replace function public.slm_report(p_provider text, p_cause text)
returns void
language sql
security invoker
set search_path = ''
as $$
  -- 3 failures in a row, none older than a minute, open the breaker for 10 s, each failed probe for twice as long as before, up to 160 s. Failures of
  -- requests that were under way when it opened change nothing.
  insert into public.slm_breakers as breaker (provider, failures, last_cause)
  values (p_provider, case when p_cause is null then 0 else 1 end, p_cause)
  on conflict (provider) do update set
    failures = case when p_cause is null then 0 when breaker.updated_at < clock_timestamp() - interval '1 minute' then 1 else breaker.failures + 1 end,
    failed_probes = case when p_cause is null then 0 when breaker.is_probing then breaker.failed_probes + 1 else breaker.failed_probes end,
    open_until = case
      when p_cause is null then null
      when breaker.is_probing then clock_timestamp() + interval '10 seconds' * power(2, least(breaker.failed_probes + 1, 4))
      when breaker.open_until is null and breaker.failures + 1 >= 3 and breaker.updated_at >= clock_timestamp() - interval '1 minute' then clock_timestamp() + interval '10 seconds'
      else breaker.open_until
    end,
    is_probing = false,
    last_cause = coalesce(p_cause, breaker.last_cause),
    updated_at = clock_timestamp();
$$;
comment on function public.slm_report is 'Tells a breaker how a provider did: null for well, else why not.';

create or replace function public.slm_claim_probe(p_provider text)
returns boolean
language plpgsql
security invoker
set search_path = ''
as $$
begin
  update public.slm_breakers set open_until = clock_timestamp() + interval '30 seconds', is_probing = true
  where provider = p_provider and open_until <= clock_timestamp();
  return found;
end;
$$;
comment on function public.slm_claim_probe is 'True for exactly one caller when a breaker is due: that one asks the provider and reports. When it dies without a word, the next one may 30 s later.';

revoke all on
public.slm_operator_settings, public.slm_providers, public.slm_prices, public.slm_rollouts, public.slm_rollout_events, public.slm_breakers
from public, anon, authenticated;
revoke all on sequence public.slm_rollout_events_id_seq from public, anon, authenticated;
alter table public.slm_operator_settings enable row level security;
alter table public.slm_providers enable row level security;
alter table public.slm_prices enable row level security;
alter table public.slm_rollouts enable row level security;
alter table public.slm_rollout_events enable row level security;
alter table public.slm_breakers enable row level security;
grant select, insert, update, delete on
public.slm_operator_settings, public.slm_providers, public.slm_prices, public.slm_rollouts, public.slm_rollout_events, public.slm_breakers
to service_role;

revoke execute on function public.slm_report, public.slm_claim_probe from public, anon, authenticated;
grant execute on function public.slm_report, public.slm_claim_probe to service_role;
