-- One look at the database tells the edge who may answer; breakers open, are probed once, and close.
begin;
select plan(33);

insert into public.orgs (id, name) values ('00000000-0000-4000-8000-00000000000a', 'A'), ('00000000-0000-4000-8000-00000000000b', 'B');
insert into public.profiles (id, full_name, org_id) values
  ('00000000-0000-4000-8000-0000000000aa', 'Asha Rao', '00000000-0000-4000-8000-00000000000a'), ('00000000-0000-4000-8000-0000000000bb', 'Bo Li', '00000000-0000-4000-8000-00000000000b');

create function pg_temp.look(p_user uuid default '00000000-0000-4000-8000-0000000000aa', p_feature text default 'risk') returns jsonb
language sql as $$ select public.slm_context(p_user, p_feature) $$;

select is(pg_temp.look() ->> 'allow_cloud', 'false', 'nobody allows the cloud by default');
select is(pg_temp.look() -> 'cloud', 'null'::jsonb, 'and no cloud model is even named');
select is(pg_temp.look() ->> 'stage', 'full', 'the private model answers from the start');
select is(pg_temp.look() ->> 'org_id', '00000000-0000-4000-8000-00000000000a', 'the organisation is the caller''s own');
select is(pg_temp.look('00000000-0000-4000-8000-0000000000cc') ->> 'allow_cloud', 'false', 'a user without a profile gets the default');

insert into public.slm_org_settings (org_id, allow_cloud) values ('00000000-0000-4000-8000-00000000000a', true);
select is(pg_temp.look() -> 'cloud' ->> 'model', 'gpt-4o-mini', 'an organisation that allows it gets the cloud model of the day');
select is(pg_temp.look('00000000-0000-4000-8000-0000000000bb') -> 'cloud', 'null'::jsonb, 'another one still does not');
update public.slm_org_settings set allow_cloud = true where org_id is null;
select is(pg_temp.look('00000000-0000-4000-8000-0000000000bb') ->> 'allow_cloud', 'true', 'the operator''s default holds for all others');
insert into public.slm_org_settings (org_id, allow_cloud) values ('00000000-0000-4000-8000-00000000000b', false);
select is(pg_temp.look('00000000-0000-4000-8000-0000000000bb') ->> 'allow_cloud', 'false', 'an organisation''s own no is stronger than the default');

update public.slm_providers set ends_on = (now() at time zone 'utc')::date where model = 'gpt-4o-mini';
select is(pg_temp.look() -> 'cloud', 'null'::jsonb, 'a model is not asked on the day it ends');
update public.slm_providers set starts_on = (now() at time zone 'utc')::date where model = 'gpt-6-luna';
select is(pg_temp.look() -> 'cloud' ->> 'model', 'gpt-6-luna', 'its successor is, from its first day');
update public.slm_providers set is_enabled = false where model = 'gpt-6-luna';
select is(pg_temp.look() -> 'cloud', 'null'::jsonb, 'unless it is switched off');
update public.slm_providers set is_enabled = true where model = 'gpt-6-luna';

select is((pg_temp.look() -> 'cloud' ->> 'usd_left')::numeric, 1::numeric, 'a dollar a day may be spent for an organisation');
insert into public.slm_cloud_spending (request_id, day, org_id, usd) values
  (gen_random_uuid(), (now() at time zone 'utc')::date, '00000000-0000-4000-8000-00000000000a', 0.4), (gen_random_uuid(), (now() at time zone 'utc')::date, '00000000-0000-4000-8000-00000000000b', 4.5);
select is((pg_temp.look() -> 'cloud' ->> 'usd_left')::numeric, 0.1::numeric, 'what all together have spent counts too: 5 dollars a day');
update public.slm_cloud_spending set day = day - 1;
select is((pg_temp.look() -> 'cloud' ->> 'usd_left')::numeric, 1::numeric, 'yesterday''s money is not today''s');

update public.slm_rollouts set stage = 'canary', share = 10;
select is(
  (select count(*)::integer from generate_series(1, 2000) as n where (public.slm_context(('00000000-0000-4000-9000-' || lpad(n::text, 12, '0'))::uuid, 'risk') ->> 'in_share')::boolean) between 150 and 250,
  true, 'about a tenth is in a share of 10');
select is((select count(distinct pg_temp.look() ->> 'in_share') from generate_series(1, 20)), 1::bigint, 'and who is in stays in');

select is(pg_temp.look() ->> 'slm_breaker', 'closed', 'a breaker that nobody told anything is closed');
select public.slm_report('slm', 'timeout');
select public.slm_report('slm', 'timeout');
select is(pg_temp.look() ->> 'slm_breaker', 'closed', 'two failures do not open it');
select public.slm_report('slm', 'unreachable');
select is(pg_temp.look() ->> 'slm_breaker', 'open', 'three do, when it answered nobody meanwhile');
select public.slm_report('slm', 'timeout') from generate_series(1, 20);
select ok((select open_until < clock_timestamp() + interval '11 seconds' from public.slm_breakers where provider = 'slm'), 'requests under way do not make it longer');
select ok(not public.slm_claim_probe('slm'), 'while it is open nobody probes');
update public.slm_breakers set open_until = clock_timestamp() - interval '1 second' where provider = 'slm';
select is(pg_temp.look() ->> 'slm_breaker', 'due', 'then it is due');
select is((select array_agg(public.slm_claim_probe('slm')) from generate_series(1, 3)), '{t,f,f}', 'and exactly one caller probes');
select public.slm_report('slm', 'timeout');
select ok((select open_until between clock_timestamp() + interval '15 seconds' and clock_timestamp() + interval '20 seconds' from public.slm_breakers where provider = 'slm'), 'a failed probe doubles the wait');
update public.slm_breakers set open_until = clock_timestamp() - interval '1 second' where provider = 'slm';
select ok(public.slm_claim_probe('slm'), 'the next probe');
select public.slm_report('slm', null);
select is(pg_temp.look() ->> 'slm_breaker', 'closed', 'a good one closes it');
select is((select failures + failed_probes from public.slm_breakers where provider = 'slm'), 0, 'and all is forgotten');
select is(public.slm_names('00000000-0000-4000-8000-00000000000a'), '["Asha Rao"]', 'names are the organisation''s own');

insert into public.slm_requests (id, user_id, feature, prompt_input, output, provider, model, prompt_version, latency_ms, created_at)
select gen_random_uuid(), gen_random_uuid(), 'risk', '{}', '{}', 'slm', 'm', 'p', 1, clock_timestamp() + interval '1 second' from generate_series(1, 4);
select public.slm_report('slm', 'timeout') from generate_series(1, 4);
select is(pg_temp.look() ->> 'slm_breaker', 'closed', 'a provider that answers as many as it fails is not shut out');
select public.slm_report('slm', 'timeout');
select is(pg_temp.look() ->> 'slm_breaker', 'open', 'one that fails more often is');
update public.slm_breakers set open_until = null, failures = 2, first_failure_at = clock_timestamp() - interval '61 seconds' where provider = 'slm';
select public.slm_report('slm', 'timeout');
select is((select failures from public.slm_breakers where provider = 'slm'), 1, 'failures of a minute ago are forgotten');

select public.slm_report('cloud:x', null);
select is((select failures from public.slm_breakers where provider = 'cloud:x'), 0, 'good news of an unknown provider does no harm');

select * from finish();
rollback;
