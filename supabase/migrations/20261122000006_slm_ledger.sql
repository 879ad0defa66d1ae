-- How ledger rows come about and what they cost.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function public.slm_price(p_model text, p_day date, p_input integer, p_output integer)
returns numeric
language sql stable
security invoker
set search_path = ''
as $$
  select (p_input * price.input_usd_per_million + p_output * price.output_usd_per_million) / 1000000
  from public.slm_prices as price
  where price.model = p_model and price.valid_from <= p_day
  order by price.valid_from desc
  limit 1;
$$;
comment on function public.slm_price is 'US dollars for so many tokens of a model on a day; null when the list has no price.';

create or replace function public.slm_alternative_usd(p_day date, p_input integer, p_output integer)
returns numeric
language sql stable
security invoker
set search_path = ''
as $$
  select min(public.slm_price(model.model, p_day, p_input, p_output))
  from (
    select distinct on (price.model) price.model, price.is_alternative
    from public.slm_prices as price where price.valid_from <= p_day order by price.model, price.valid_from desc
  ) as model
  where model.is_alternative
    and exists (
      select from public.slm_providers as provider
      where provider.model = model.model and provider.starts_on <= p_day and (provider.ends_on is null or provider.ends_on > p_day)
    );
$$;
comment on function public.slm_alternative_usd is 'What the cheapest acceptable cloud model that could be had that day would have charged.';

create or replace function public.slm_open(p_request jsonb)
returns void
language sql
security invoker
set search_path = ''
as $$
  insert into public.slm_requests
  (id, org_id, user_id, task_id, feature, prompt_input, provider, model, prompt_version, latency_ms, shortened, status, stage, arm)
  select r.id, r.org_id, r.user_id, r.task_id, r.feature, r.prompt_input, 'none', 'none', r.prompt_version, 0, coalesce(r.shortened, '{}'), 'open', r.stage, r.arm
  from jsonb_populate_record(null::public.slm_requests, p_request) as r
  on conflict (id) do nothing;
$$;
comment on function public.slm_open is 'Opens a request''s ledger row while the model works. Again: changes nothing.';

create or replace function public.slm_close(p_request jsonb)
returns void
language sql
security invoker
set search_path = ''
as $$
  insert into public.slm_requests as kept (
    id, created_at, org_id, user_id, task_id, feature, prompt_input, output, provider, model, prompt_version, confidence, fallback_reason, shortened,
    input_tokens, output_tokens, latency_ms, model_ms, details, status, stage, arm, attempts, shadow, scrubbed, cloud_model, cloud_input_tokens,
    cloud_output_tokens, alternative_input_tokens, alternative_output_tokens, cost_usd, alternative_usd
  )
  select r.id, coalesce(r.created_at, now()), r.org_id, r.user_id, r.task_id, r.feature, r.prompt_input, r.output, r.provider, r.model, r.prompt_version, r.confidence,
    r.fallback_reason, coalesce(r.shortened, '{}'), r.input_tokens, r.output_tokens, r.latency_ms, r.model_ms, coalesce(r.details, '{}'),
    'closed', r.stage, r.arm, coalesce(r.attempts, '[]'), r.shadow, coalesce(r.scrubbed, '{}'), r.cloud_model, r.cloud_input_tokens, r.cloud_output_tokens,
    r.alternative_input_tokens, r.alternative_output_tokens,
    coalesce(public.slm_price(r.cloud_model, day.day, r.cloud_input_tokens, r.cloud_output_tokens), 0),
    public.slm_alternative_usd(day.day, r.alternative_input_tokens, r.alternative_output_tokens)
  from jsonb_populate_record(null::public.slm_requests, p_request) as r
  cross join lateral (select (coalesce(r.created_at, now()) at time zone 'utc')::date as day) as day
  on conflict (id) do update set
    output = excluded.output, provider = excluded.provider, model = excluded.model, prompt_version = excluded.prompt_version,
    confidence = excluded.confidence, fallback_reason = excluded.fallback_reason, input_tokens = excluded.input_tokens,
    output_tokens = excluded.output_tokens, latency_ms = excluded.latency_ms, model_ms = excluded.model_ms, details = excluded.details,
    status = 'closed', stage = excluded.stage, arm = excluded.arm, attempts = excluded.attempts, shadow = excluded.shadow,
    scrubbed = excluded.scrubbed, cloud_model = excluded.cloud_model, cloud_input_tokens = excluded.cloud_input_tokens,
    cloud_output_tokens = excluded.cloud_output_tokens, alternative_input_tokens = excluded.alternative_input_tokens,
    alternative_output_tokens = excluded.alternative_output_tokens, cost_usd = excluded.cost_usd, alternative_usd = excluded.alternative_usd
  where kept.status <> 'closed';
$$;
comment on function public.slm_close is 'Completes a request''s ledger row, or writes it whole when it was never opened. A closed row stays as it is.';

create or replace function public.slm_sweep(p_older_than interval default '5 minutes')
returns integer
language sql
security invoker
set search_path = ''
as $$
  with swept as (
    update public.slm_requests set status = 'lost', fallback_reason = 'lost'
    where status = 'open' and created_at < now() - p_older_than
    returning 1
  )
  select count(*)::integer from swept;
$$;
comment on function public.slm_sweep is 'Closes rows whose worker died as lost; returns how many. A late worker may still complete them.';

create or replace function public.slm_cloud_usd_today(p_org_id uuid)
returns numeric
language sql stable
security invoker
set search_path = ''
as $$
  select coalesce(sum(request.cost_usd), 0) from public.slm_requests as request
  where request.created_at >= date_trunc('day', now() at time zone 'utc') at time zone 'utc'
    and (p_org_id is null or request.org_id = p_org_id);
$$;
comment on function public.slm_cloud_usd_today is 'What cloud answers have cost since midnight UTC, for one organisation or (null) for all.';

revoke execute on function public.slm_price, public.slm_alternative_usd, public.slm_open, public.slm_close, public.slm_sweep, public.slm_cloud_usd_today
from public, anon, authenticated;
grant execute on function public.slm_price, public.slm_alternative_usd, public.slm_open, public.slm_close, public.slm_sweep, public.slm_cloud_usd_today
to service_role;
