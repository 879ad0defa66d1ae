-- What an operator should know before users notice.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace view public.slm_warnings with (security_invoker = true) as
with today as (
  select (now() at time zone 'utc')::date as day
), enabled as (
  select provider.*, provider.starts_on <= today.day and (provider.ends_on is null or provider.ends_on > today.day) as in_date,
    exists (
      select from public.slm_prices as price where price.model = coalesce(provider.priced_as, provider.model) and price.valid_from <= greatest(today.day, provider.starts_on)
    ) as has_price
  from public.slm_providers as provider cross join today where provider.is_enabled
)
select 1 as rank, format('%s ended on %s: it is not asked any more', enabled.name, enabled.ends_on) as warning
from enabled cross join today where enabled.ends_on <= today.day
union all
select 2, format('%s ends on %s, in %s days', enabled.name, enabled.ends_on, enabled.ends_on - today.day)
from enabled cross join today where enabled.ends_on > today.day and enabled.ends_on <= today.day + 60
union all
select 3, format('%s has no price in slm_prices: it is not asked, because its spending could not be capped', enabled.name)
from enabled cross join today where not enabled.has_price and (enabled.ends_on is null or enabled.ends_on > today.day)
union all
select 0, 'no cloud model is in date: organisations that allow the cloud get the private model and rules only'
where not exists (select from enabled where enabled.in_date and enabled.has_price)
union all
select 4, format('%s requests are open for more than 15 minutes: schedule python -m trainer upkeep', count(*))
from public.slm_requests as request where request.status = 'open' and request.created_at < now() - interval '15 minutes' having count(*) > 0
union all
select 5, 'no machine price is entered in slm_machine_prices: no saving is shown'
where not exists (select from public.slm_machine_prices);
comment on view public.slm_warnings is 'What an operator should mend or know, the most urgent (lowest rank) first: ends of cloud models, missing prices, a sweep that does not run.';

revoke all on public.slm_warnings from public, anon, authenticated;
grant select on public.slm_warnings to service_role;
