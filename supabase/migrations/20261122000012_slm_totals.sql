-- Sums outlive rows: what retention and erasure remove from the ledger stays in the daily figures, without anybody's text or id.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists public.slm_removed_totals (
  day date not null,
  feature text not null,
  provider text not null,
  status text not null,
  fallback_reason text not null,
  requests bigint not null,
  latency_ms bigint not null,
  cost_usd numeric(14, 9) not null,
  alternative_usd numeric(14, 9) not null,
  primary key (day, feature, provider, status, fallback_reason)
);
comment on table public.slm_removed_totals is 'Sums of ledger rows that are no longer kept, by day (UTC). An empty fallback_reason means that there was none.';
alter table public.slm_removed_totals enable row level security;
revoke all on public.slm_removed_totals from public, anon, authenticated;
grant select, insert, update, delete on public.slm_removed_totals to service_role;

create or replace function public.slm_keep_totals() returns trigger
language plpgsql
security invoker
set search_path = ''
as $$
begin
  insert into public.slm_removed_totals as kept (day, feature, provider, status, fallback_reason, requests, latency_ms, cost_usd, alternative_usd)
  select (gone.created_at at time zone 'utc')::date, gone.feature, gone.provider, gone.status, coalesce(gone.fallback_reason, ''),
    count(*), sum(gone.latency_ms), sum(gone.cost_usd), coalesce(sum(gone.alternative_usd), 0)
  from gone where gone.status <> 'open'
  group by 1, 2, 3, 4, 5
  on conflict (day, feature, provider, status, fallback_reason) do update set
    requests = kept.requests + excluded.requests, latency_ms = kept.latency_ms + excluded.latency_ms,
    cost_usd = kept.cost_usd + excluded.cost_usd, alternative_usd = kept.alternative_usd + excluded.alternative_usd;
  return null;
end;
$$;
comment on function public.slm_keep_totals is 'Adds ledger rows that are being removed to the totals.';
create or replace trigger slm_keep_totals after delete on public.slm_requests referencing old table as gone
for each statement execute function public.slm_keep_totals();
revoke execute on function public.slm_keep_totals from public, anon, authenticated, service_role;

create or replace view public.slm_totals_daily with (security_invoker = true) as
select (request.created_at at time zone 'utc')::date as day, request.feature, request.provider, request.status, coalesce(request.fallback_reason, '') as fallback_reason,
  count(*) as requests, sum(request.latency_ms) as latency_ms, sum(request.cost_usd) as cost_usd, coalesce(sum(request.alternative_usd), 0) as alternative_usd
from public.slm_requests as request
where request.status <> 'open'
group by 1, 2, 3, 4, 5
union all
select removed.day, removed.feature, removed.provider, removed.status, removed.fallback_reason, removed.requests, removed.latency_ms, removed.cost_usd, removed.alternative_usd
from public.slm_removed_totals as removed;
comment on view public.slm_totals_daily is 'Requests of a day (UTC) by feature, who answered and why, whether the ledger still has their rows or not; several rows of one kind add up.';

create or replace view public.slm_daily with (security_invoker = true) as
with sums as (
  select total.day, total.feature,
    sum(total.requests)::bigint as requests,
    coalesce(sum(total.requests) filter (where total.provider = 'slm'), 0)::bigint as by_slm,
    coalesce(sum(total.requests) filter (where total.provider = 'cloud'), 0)::bigint as by_cloud,
    coalesce(sum(total.requests) filter (where total.provider = 'rules'), 0)::bigint as by_rules,
    coalesce(sum(total.requests) filter (where total.provider = 'none' and total.status = 'closed'), 0)::bigint as unanswered,
    coalesce(sum(total.requests) filter (where total.status = 'lost'), 0)::bigint as lost,
    round(sum(total.latency_ms) filter (where total.status = 'closed') / nullif(sum(total.requests) filter (where total.status = 'closed'), 0)) as mean_ms,
    sum(total.cost_usd) as cloud_usd,
    coalesce(sum(total.cost_usd) filter (where total.provider <> 'cloud'), 0) as spent_in_vain_usd,
    sum(total.alternative_usd) as alternative_usd
  from public.slm_totals_daily as total
  group by 1, 2
), waits as (
  select (request.created_at at time zone 'utc')::date as day, request.feature,
    round(percentile_cont(0.5) within group (order by request.latency_ms)) as p50_ms,
    round(percentile_cont(0.95) within group (order by request.latency_ms)) as p95_ms
  from public.slm_requests as request
  where request.status = 'closed'
  group by 1, 2
)
select sums.day, sums.feature, sums.requests, sums.by_slm, sums.by_cloud, sums.by_rules, sums.unanswered, sums.lost, sums.mean_ms, waits.p50_ms, waits.p95_ms,
  sums.cloud_usd, sums.spent_in_vain_usd, sums.alternative_usd
from sums left join waits using (day, feature);
comment on view public.slm_daily is
'Requests of a day (UTC) and feature: who answered, how fast (p50 and p95 of the rows still kept), what the cloud was paid, what of it bought no answer, and what the cheapest acceptable cloud model would have cost for those that a model answered.';

create or replace view public.slm_fallback_reasons_daily with (security_invoker = true) as
select total.day, total.feature, total.fallback_reason as reason, total.provider as answered_by, sum(total.requests)::bigint as requests
from public.slm_totals_daily as total
where total.fallback_reason <> ''
group by 1, 2, 3, 4;
comment on view public.slm_fallback_reasons_daily is 'Why the first provider did not answer, and who did instead.';

create or replace view public.slm_savings_daily with (security_invoker = true) as
with days as (
  select daily.day, sum(daily.requests) as requests, sum(daily.by_slm) as by_slm, sum(daily.spent_in_vain_usd) as spent_in_vain_usd, sum(daily.alternative_usd) as alternative_usd
  from public.slm_daily as daily group by daily.day
), bounds as (
  select least(
    (select min(day) from days), (select min(spending.day) from public.slm_cloud_spending as spending),
    (select min(expense.day) from public.slm_expenses as expense), (select min(price.valid_from) from public.slm_machine_prices as price)
  ) as first
), calendar as (
  select generate_series(bounds.first, greatest((now() at time zone 'utc')::date, (select max(day) from days)), interval '1 day')::date as day
  from bounds where bounds.first is not null
), costs as (
  select calendar.day, coalesce(days.requests, 0) as requests, coalesce(days.by_slm, 0) as by_slm,
    coalesce((select sum(spending.usd) from public.slm_cloud_spending as spending where spending.day = calendar.day), 0) as cloud_usd,
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
'Per day (UTC): what the cheapest acceptable cloud model would have cost, less what the cloud (reservations of dead workers included), the machine (all 24 hours) and the making of the model did cost, with an interval. Null while no machine price is entered; negative where nothing was saved.';

revoke all on public.slm_totals_daily, public.slm_daily, public.slm_fallback_reasons_daily, public.slm_savings_daily from public, anon, authenticated;
grant select on public.slm_totals_daily, public.slm_daily, public.slm_fallback_reasons_daily, public.slm_savings_daily to service_role;
