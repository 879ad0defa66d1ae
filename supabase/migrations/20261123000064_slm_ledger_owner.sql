-- Whose a ledger row is, and what it cost, also where the edge could not say: its organisation's rules apply to its text, and
-- a cloud answer that broke off stays as dear as it may have been.

set lock_timeout = '5s';
set statement_timeout = '60s';

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
      where coalesce(provider.priced_as, provider.model) = model.model and provider.starts_on <= p_day and (provider.ends_on is null or provider.ends_on > p_day)
        -- Whoever has switched the whole cloud off still saves what it would have cost.
        and (provider.is_enabled or not exists (select from public.slm_providers as other where other.is_enabled))
    );
$$;
comment on function public.slm_alternative_usd is
'What the cheapest acceptable cloud model that could be had that day would have charged: of the enabled ones, as slm_prices calls them; where none is enabled, of all.';

create or replace function public.slm_open(p_request jsonb)
returns void
language sql
security invoker
set search_path = ''
as $$
  -- While the policy could not be looked up, the edge did not know the organisation: it is the caller's all the same.
  insert into public.slm_requests
  (id, org_id, user_id, task_id, feature, prompt_input, provider, model, prompt_version, latency_ms, shortened, status, stage, arm)
  select r.id, coalesce(r.org_id, (select profile.org_id from public.profiles as profile where profile.id = r.user_id)), r.user_id, r.task_id, r.feature, r.prompt_input,
    'none', 'none', r.prompt_version, 0, coalesce(r.shortened, '{}'), 'open', r.stage, r.arm
  from jsonb_populate_record(null::public.slm_requests, p_request) as r
  on conflict (id) do nothing;
$$;
comment on function public.slm_open is 'Opens a request''s ledger row while the model works; without an organisation it gets its caller''s. Again: changes nothing.';

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
  cost numeric := 0;
begin
  -- While the policy could not be looked up, the edge did not know the organisation: it is the caller's all the same.
  if r.org_id is null then
    select profile.org_id into r.org_id from public.profiles as profile where profile.id = r.user_id;
  end if;
  if r.cloud_model is null then
    delete from public.slm_cloud_spending where request_id = r.id and not is_settled;
  else
    -- Where the cloud did not say what it counted, what was reserved is the least that is sure to cover it.
    cost := coalesce(
      public.slm_price(r.cloud_model, today, r.cloud_input_tokens, r.cloud_output_tokens),
      (select spending.usd from public.slm_cloud_spending as spending where spending.request_id = r.id), 0
    );
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
    org_id = coalesce(kept.org_id, excluded.org_id),
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
'Completes a request''s ledger row, or writes it whole when it was never opened, and settles what the cloud is owed: at the day''s price of the tokens that it counted, or, where it did not say, at what slm_permit_cloud reserved. A row without an organisation gets its caller''s. A closed row stays as it is.';

comment on column public.slm_requests.org_id is 'The caller''s organisation, whose rules apply to the text (slm_org_settings); null: they belonged to none.';
comment on column public.slm_requests.cloud_input_tokens is 'As the cloud counted them, over all attempts; null when no cloud model was asked, or it did not say.';
comment on column public.slm_requests.cost_usd is
'What cloud models were paid for this request, also where their answer was not used; where the cloud did not say what it counted, the most that it may be.';
comment on table public.slm_cloud_spending is
'One row for each request that a cloud model was asked about: the most that it may cost until it is settled, then what it did cost (the most, where the cloud did not say). Holds no text and nobody''s id, and outlives its ledger row.';

-- Rows from before, and what was learned from them: the operator's default was taken for their organisation's rules.
update public.slm_requests as request set org_id = profile.org_id
from public.profiles as profile
where request.org_id is null and profile.id = request.user_id and profile.org_id is not null;
update public.slm_example_sources as source set org_id = profile.org_id
from public.profiles as profile
where source.org_id is null and source.source_table = 'slm_requests' and profile.id = source.user_id and profile.org_id is not null;
