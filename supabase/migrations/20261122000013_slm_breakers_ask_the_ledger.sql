-- A breaker opens when a provider fails, not when a busy one fails now and then: the ledger knows who was answered meanwhile.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table public.slm_breakers add column if not exists first_failure_at timestamptz;
comment on column public.slm_breakers.first_failure_at is 'When the failures that are being counted began; a minute later the count begins anew.';

create or replace function public.slm_report(p_provider text, p_cause text)
returns void
language plpgsql
security invoker
set search_path = ''
as $$
declare
  breaker public.slm_breakers;
  answered bigint;
begin
  insert into public.slm_breakers (provider) values (p_provider) on conflict do nothing;
  select * into breaker from public.slm_breakers where provider = p_provider for update;
  breaker.updated_at := clock_timestamp();
  if p_cause is null then
    breaker.failures := 0;
    breaker.failed_probes := 0;
    breaker.open_until := null;
  elsif breaker.is_probing then
    breaker.failed_probes := breaker.failed_probes + 1;
    breaker.open_until := clock_timestamp() + interval '10 seconds' * power(2, least(breaker.failed_probes, 4));
  elsif breaker.open_until is null then -- failures of requests that were under way when it opened change nothing
    if breaker.failures = 0 or breaker.first_failure_at < clock_timestamp() - interval '1 minute' then
      breaker.failures := 0;
      breaker.first_failure_at := clock_timestamp();
    end if;
    breaker.failures := breaker.failures + 1;
    if breaker.failures >= 3 then
      select count(*) into answered from public.slm_requests as request
      where request.created_at >= breaker.first_failure_at and request.status = 'closed' and request.provider = split_part(p_provider, ':', 1);
      if breaker.failures > answered then
        breaker.open_until := clock_timestamp() + interval '10 seconds';
      end if;
    end if;
  end if;
  update public.slm_breakers set
    failures = breaker.failures, failed_probes = breaker.failed_probes, open_until = breaker.open_until, is_probing = false,
    first_failure_at = breaker.first_failure_at, last_cause = coalesce(p_cause, last_cause), updated_at = breaker.updated_at
  where provider = p_provider;
end;
$$;
comment on function public.slm_report is
'Tells a breaker how a provider did: null for well, else why not. From 3 failures within a minute it opens for 10 s, if the ledger has fewer answers by that provider since the first of them; each failed probe keeps it open for twice as long as before, up to 160 s.';
comment on table public.slm_breakers is
'Circuit breakers, shared by all edge instances: while one is open nobody asks its provider; when open_until has passed, one caller probes it.';
