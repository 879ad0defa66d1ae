-- What the private model saved, to be audited: every figure from the ledger, dated prices and entered costs. A private answer is
-- never free: the machine costs money day and night.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists public.slm_machine_prices (
  valid_from date primary key,
  usd_per_hour numeric(12, 6) not null constraint slm_machine_prices_positive check (usd_per_hour >= 0)
);
comment on table public.slm_machine_prices is 'What the serving machine costs for each hour from this day on, idle or not, power included. Without a row no saving is shown.';

create table if not exists public.slm_expenses (
  id bigint generated always as identity primary key,
  day date not null,
  kind text not null constraint slm_expenses_kind check (kind in ('training', 'synthetic', 'labelling', 'other')),
  usd numeric(12, 6) not null,
  note text not null default ''
);
comment on table public.slm_expenses is 'Money spent on making the model: training machines, synthetic data, labelling.';

create or replace view public.slm_daily with (security_invoker = true) as
select
  (request.created_at at time zone 'utc')::date as day,
  request.feature,
  count(*) as requests,
  count(*) filter (where request.provider = 'slm') as by_slm,
  count(*) filter (where request.provider = 'cloud') as by_cloud,
  count(*) filter (where request.provider = 'rules') as by_rules,
  count(*) filter (where request.provider = 'none' and request.status = 'closed') as unanswered,
  count(*) filter (where request.status = 'lost') as lost,
  round(avg(request.latency_ms) filter (where request.status = 'closed')) as mean_ms,
  round(percentile_cont(0.5) within group (order by request.latency_ms) filter (where request.status = 'closed')) as p50_ms,
  round(percentile_cont(0.95) within group (order by request.latency_ms) filter (where request.status = 'closed')) as p95_ms,
  sum(request.cost_usd) as cloud_usd,
  coalesce(sum(request.cost_usd) filter (where request.provider <> 'cloud'), 0) as spent_in_vain_usd,
  coalesce(sum(request.alternative_usd), 0) as alternative_usd
from public.slm_requests as request
where request.status <> 'open'
group by 1, 2;
comment on view public.slm_daily is
'Requests of a day (UTC) and feature: who answered, how fast, what the cloud was paid, what of it bought no answer, and what the cheapest acceptable cloud model would have cost for those that a model answered.';

create or replace view public.slm_fallback_reasons_daily with (security_invoker = true) as
select (request.created_at at time zone 'utc')::date as day, request.feature, request.fallback_reason as reason, request.provider as answered_by, count(*) as requests
from public.slm_requests as request
where request.fallback_reason is not null
group by 1, 2, 3, 4;
comment on view public.slm_fallback_reasons_daily is 'Why the first provider did not answer, and who did instead.';

create or replace view public.slm_local_share_daily with (security_invoker = true) as
select daily.day, sum(daily.by_slm) as by_slm, sum(daily.requests) as requests,
  round(sum(daily.by_slm) / nullif(sum(daily.requests), 0), 4) as local_share,
  (select operator.local_share_goal from public.slm_operator_settings as operator) as goal
from public.slm_daily as daily group by daily.day;
comment on view public.slm_local_share_daily is 'The share of a day''s requests that the private model answered, beside the goal.';

create or replace view public.slm_token_ratio with (security_invoker = true) as
select
  count(*) as requests,
  coalesce(sum(request.cloud_input_tokens + request.cloud_output_tokens)::double precision
    / nullif(sum(request.alternative_input_tokens + request.alternative_output_tokens), 0), 1) as ratio,
  case when count(*) >= 30 then coalesce(
    1.96 * stddev_samp((request.cloud_input_tokens + request.cloud_output_tokens)::double precision
      / nullif(request.alternative_input_tokens + request.alternative_output_tokens, 0)) / sqrt(count(*)), 0.25)
    else 0.25
  end as half_width
from public.slm_requests as request
where request.provider = 'cloud' and request.created_at > now() - interval '90 days'
  and request.cloud_input_tokens > 0 and request.alternative_input_tokens > 0;
comment on view public.slm_token_ratio is
'How the cloud''s own token counts compare with ours for the same requests, with a 95 % half width; 25 % while fewer than 30 requests can be compared.';

create or replace view public.slm_savings_daily with (security_invoker = true) as
with days as (
  select daily.day, sum(daily.requests) as requests, sum(daily.by_slm) as by_slm, sum(daily.cloud_usd) as cloud_usd,
    sum(daily.spent_in_vain_usd) as spent_in_vain_usd, sum(daily.alternative_usd) as alternative_usd
  from public.slm_daily as daily group by daily.day
), bounds as (
  select least(min(day), (select min(expense.day) from public.slm_expenses as expense), (select min(price.valid_from) from public.slm_machine_prices as price)) as first
  from days
), calendar as (
  select generate_series(first, greatest((now() at time zone 'utc')::date, (select max(day) from days)), interval '1 day')::date as day from bounds where first is not null
), costs as (
  select calendar.day, coalesce(days.requests, 0) as requests, coalesce(days.by_slm, 0) as by_slm, coalesce(days.cloud_usd, 0) as cloud_usd,
    coalesce(days.spent_in_vain_usd, 0) as spent_in_vain_usd, coalesce(days.alternative_usd, 0) as alternative_usd,
    coalesce(
      (select 24 * price.usd_per_hour from public.slm_machine_prices as price where price.valid_from <= calendar.day order by price.valid_from desc limit 1),
      (select 0 from public.slm_machine_prices limit 1)
    ) as machine_usd,
    coalesce((select sum(expense.usd) from public.slm_expenses as expense where expense.day = calendar.day), 0) as expenses_usd
  from calendar left join days on days.day = calendar.day
)
select costs.*,
  costs.cloud_usd + costs.machine_usd + costs.expenses_usd as actual_usd,
  round((costs.alternative_usd * token.ratio - costs.cloud_usd - costs.machine_usd - costs.expenses_usd)::numeric, 6) as saved_usd,
  round((costs.alternative_usd * greatest(token.ratio - token.half_width, 0) - costs.cloud_usd - costs.machine_usd - costs.expenses_usd)::numeric, 6) as saved_low_usd,
  round((costs.alternative_usd * (token.ratio + token.half_width) - costs.cloud_usd - costs.machine_usd - costs.expenses_usd)::numeric, 6) as saved_high_usd,
  round(sum(costs.alternative_usd * token.ratio - costs.cloud_usd - costs.machine_usd - costs.expenses_usd) over (order by costs.day)::numeric, 6) as saved_so_far_usd
from costs cross join public.slm_token_ratio as token;
comment on view public.slm_savings_daily is
'Per day (UTC): what the cheapest acceptable cloud model would have cost, less what the cloud, the machine (all 24 hours) and the making of the model did cost, with an interval. Null while no machine price is entered; negative where nothing was saved. Days whose ledger rows retention has removed count no requests.';

create or replace view public.slm_break_even with (security_invoker = true) as
select
  sum(savings.machine_usd + savings.expenses_usd) / nullif(count(*), 0) as fixed_usd_per_day,
  sum(savings.alternative_usd) / nullif(sum(savings.requests), 0) as alternative_usd_per_request,
  sum(savings.requests) / nullif(count(*), 0) as requests_per_day,
  ceil((sum(savings.machine_usd + savings.expenses_usd) / nullif(count(*), 0)) / nullif(sum(savings.alternative_usd) / nullif(sum(savings.requests), 0), 0)) as break_even_requests_per_day
from public.slm_savings_daily as savings
where savings.day > (now() at time zone 'utc')::date - 30;
comment on view public.slm_break_even is 'Over 30 days: from how many requests a day the private model is cheaper than the cheapest acceptable cloud model.';

alter table public.slm_machine_prices enable row level security;
alter table public.slm_expenses enable row level security;
revoke all on
public.slm_machine_prices, public.slm_expenses, public.slm_daily, public.slm_fallback_reasons_daily, public.slm_local_share_daily,
public.slm_token_ratio, public.slm_savings_daily, public.slm_break_even
from public, anon, authenticated;
revoke all on sequence public.slm_expenses_id_seq from public, anon, authenticated;
grant select, insert, update, delete on public.slm_machine_prices, public.slm_expenses to service_role;
grant select on
public.slm_daily, public.slm_fallback_reasons_daily, public.slm_local_share_daily, public.slm_token_ratio, public.slm_savings_daily, public.slm_break_even
to service_role;
