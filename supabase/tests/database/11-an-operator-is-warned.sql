-- An operator hears of an end before users do.
begin;
select plan(8);

create function pg_temp.warned(p_like text) returns bigint language sql as $$ select count(*) from public.slm_warnings where warning like p_like $$;

update public.slm_providers set starts_on = '2024-01-01', ends_on = null;
select is(pg_temp.warned('%end%'), 0::bigint, 'nothing ends, nothing is said');
update public.slm_providers set ends_on = (now() at time zone 'utc')::date + 10 where model = 'gpt-4o-mini';
select is(pg_temp.warned('openai-gpt-4o-mini ends on %, in 10 days'), 1::bigint, 'an end that is near is announced');
update public.slm_providers set ends_on = (now() at time zone 'utc')::date;
select is(pg_temp.warned('% ended on %'), 2::bigint, 'an end that is past is named');
select is((select warning from public.slm_warnings order by rank limit 1), 'no cloud model is in date: organisations that allow the cloud get the private model and rules only', 'and so is that no model is left, first');
update public.slm_providers set is_enabled = false where model = 'gpt-4o-mini';
select is(pg_temp.warned('% ended on %'), 1::bigint, 'a model that is switched off worries nobody');
update public.slm_providers set ends_on = null, priced_as = 'nobody knows', is_enabled = true;
select is(pg_temp.warned('%has no price%'), 2::bigint, 'a model without a price is named');
insert into public.slm_requests (id, user_id, feature, prompt_input, provider, model, prompt_version, latency_ms, status, created_at)
values (gen_random_uuid(), gen_random_uuid(), 'risk', '{}', 'none', 'none', 'p', 0, 'open', now() - interval '1 hour');
select is(pg_temp.warned('1 requests are open%'), 1::bigint, 'a sweep that does not run is noticed');
insert into public.slm_machine_prices (valid_from, usd_per_hour) values ('2026-01-01', 0.5);
select is(pg_temp.warned('%machine price%'), 0::bigint, 'a machine price that is there is not missed');

select * from finish();
rollback;
