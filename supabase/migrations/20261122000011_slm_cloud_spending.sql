-- What cloud answers may cost and did cost: reserved before a question leaves, settled when its request is closed. A daily cap
-- holds also for a burst, and what a dead worker or an erased person spent stays in the books.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists public.slm_cloud_spending (
  request_id uuid primary key,
  day date not null,
  org_id uuid,
  usd numeric(14, 9) not null constraint slm_cloud_spending_positive check (usd >= 0),
  is_settled boolean not null default false
);
comment on table public.slm_cloud_spending is
'One row for each request that a cloud model was asked about: the most that it may cost until it is settled, then what it did cost. Holds no text and nobody''s id, and outlives its ledger row.';
create index if not exists slm_cloud_spending_by_day on public.slm_cloud_spending (day, org_id) include (usd);
create index if not exists slm_cloud_spending_open on public.slm_cloud_spending (day) where not is_settled;
alter table public.slm_cloud_spending enable row level security;
revoke all on public.slm_cloud_spending from public, anon, authenticated;
grant select, insert, update, delete on public.slm_cloud_spending to service_role;

insert into public.slm_cloud_spending (request_id, day, org_id, usd, is_settled)
select request.id, (request.created_at at time zone 'utc')::date, request.org_id, request.cost_usd, true
from public.slm_requests as request where request.cloud_model is not null
on conflict do nothing;

create or replace function public.slm_cloud_usd_today(p_org_id uuid)
returns numeric
language sql stable
security invoker
set search_path = ''
as $$
  select coalesce(sum(spending.usd), 0) from public.slm_cloud_spending as spending
  where spending.day = (now() at time zone 'utc')::date and (p_org_id is null or spending.org_id = p_org_id);
$$;
comment on function public.slm_cloud_usd_today is 'What cloud answers have cost since midnight UTC, reservations included, for one organisation or (null) for all.';

create or replace function public.slm_permit_cloud(p_request_id uuid, p_org_id uuid, p_model text, p_input integer, p_output integer)
returns jsonb
language plpgsql
security invoker
set search_path = ''
as $$
declare
  today date := (now() at time zone 'utc')::date;
  most numeric := public.slm_price(p_model, today, p_input, p_output);
begin
  -- One at a time, so that two requests cannot both have the last cent.
  perform pg_advisory_xact_lock(hashtextextended('slm_cloud_spending', 0));
  if most is null
    or most > coalesce((
      select case when settings.allow_cloud then settings.daily_cloud_usd else 0 end from public.slm_org_settings as settings
      where settings.org_id = p_org_id or settings.org_id is null order by settings.org_id nulls last limit 1
    ), 0) - public.slm_cloud_usd_today(p_org_id)
    or most > coalesce((select operator.daily_cloud_usd from public.slm_operator_settings as operator), 0) - public.slm_cloud_usd_today(null)
  then
    return null;
  end if;
  insert into public.slm_cloud_spending (request_id, day, org_id, usd) values (p_request_id, today, p_org_id, most) on conflict do nothing;
  return public.slm_names(p_org_id);
end;
$$;
comment on function public.slm_permit_cloud is
'Reserves the most that a question may cost (p_input, p_output: tokens at most) and gives the names to take out of it; null when a daily cap does not allow it.';

create or replace function public.slm_close(p_request jsonb)
returns void
language plpgsql
security invoker
set search_path = ''
as $$
declare
  r public.slm_requests := jsonb_populate_record(null::public.slm_requests, p_request);
  arrived timestamptz := coalesce(r.created_at, now());
  today date := (arrived at time zone 'utc')::date;
  cost numeric := coalesce(public.slm_price(r.cloud_model, today, r.cloud_input_tokens, r.cloud_output_tokens), 0);
begin
  if r.cloud_model is null then
    delete from public.slm_cloud_spending where request_id = r.id and not is_settled;
  else
    insert into public.slm_cloud_spending as spending (request_id, day, org_id, usd, is_settled) values (r.id, today, r.org_id, cost, true)
    on conflict (request_id) do update set usd = excluded.usd, is_settled = true where not spending.is_settled;
  end if;
  insert into public.slm_requests as kept (
    id, created_at, org_id, user_id, task_id, feature, prompt_input, output, provider, model, prompt_version, confidence, fallback_reason, shortened,
    input_tokens, output_tokens, latency_ms, model_ms, details, status, stage, arm, attempts, shadow, scrubbed, cloud_model, cloud_input_tokens,
    cloud_output_tokens, alternative_input_tokens, alternative_output_tokens, cost_usd, alternative_usd
  )
  values (
    r.id, arrived, r.org_id, r.user_id, r.task_id, r.feature, r.prompt_input, r.output, r.provider, r.model, r.prompt_version, r.confidence,
    r.fallback_reason, coalesce(r.shortened, '{}'), r.input_tokens, r.output_tokens, r.latency_ms, r.model_ms, coalesce(r.details, '{}'),
    'closed', r.stage, r.arm, coalesce(r.attempts, '[]'), r.shadow, coalesce(r.scrubbed, '{}'), r.cloud_model, r.cloud_input_tokens, r.cloud_output_tokens,
    r.alternative_input_tokens, r.alternative_output_tokens, cost,
    public.slm_alternative_usd(today, r.alternative_input_tokens, r.alternative_output_tokens)
  )
  on conflict (id) do update set
    output = excluded.output, provider = excluded.provider, model = excluded.model, prompt_version = excluded.prompt_version,
    confidence = excluded.confidence, fallback_reason = excluded.fallback_reason, input_tokens = excluded.input_tokens,
    output_tokens = excluded.output_tokens, latency_ms = excluded.latency_ms, model_ms = excluded.model_ms, details = excluded.details,
    status = 'closed', stage = excluded.stage, arm = excluded.arm, attempts = excluded.attempts, shadow = excluded.shadow,
    scrubbed = excluded.scrubbed, cloud_model = excluded.cloud_model, cloud_input_tokens = excluded.cloud_input_tokens,
    cloud_output_tokens = excluded.cloud_output_tokens, alternative_input_tokens = excluded.alternative_input_tokens,
    alternative_output_tokens = excluded.alternative_output_tokens, cost_usd = excluded.cost_usd, alternative_usd = excluded.alternative_usd
  where kept.status <> 'closed';
end;
$$;
comment on function public.slm_close is
'Completes a request''s ledger row, or writes it whole when it was never opened, and settles what the cloud is owed. A closed row stays as it is.';

create or replace function public.slm_sweep(p_older_than interval default '5 minutes')
returns integer
language plpgsql
security invoker
set search_path = ''
as $$
declare
  swept integer;
begin
  -- A reservation that arrived after its request was closed without the cloud is nobody's cost.
  delete from public.slm_cloud_spending as spending using public.slm_requests as request
  where not spending.is_settled and request.id = spending.request_id and request.status = 'closed' and request.cloud_model is null;
  update public.slm_requests as request set
    status = 'lost', fallback_reason = 'lost',
    cost_usd = coalesce((select spending.usd from public.slm_cloud_spending as spending where spending.request_id = request.id), 0)
  where request.status = 'open' and request.created_at < now() - p_older_than;
  get diagnostics swept = row_count;
  return swept;
end;
$$;
comment on function public.slm_sweep is
'Closes rows whose worker died as lost, at the most that the cloud may have cost; returns how many. A late worker may still complete them.';

revoke execute on function public.slm_permit_cloud from public, anon, authenticated;
grant execute on function public.slm_permit_cloud to service_role;
