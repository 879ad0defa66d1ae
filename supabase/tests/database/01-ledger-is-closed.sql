-- Nobody but the service role sees or writes the ledger and the settings.
begin;
select plan(24);

select ok(relrowsecurity, format('row level security is on for %s', relname))
from pg_class where relname in ('slm_requests', 'slm_org_settings') order by relname;
select is(
  (select count(*) from pg_class where relnamespace = 'public'::regnamespace and relname like 'slm%' and relkind = 'r' and not relrowsecurity),
  0::bigint, 'no table of ours is without row level security');
select is(
  (select count(*) from pg_class where relnamespace = 'public'::regnamespace and relname like 'slm%' and relkind = 'r' and obj_description(oid) is null),
  0::bigint, 'every table of ours says what it is for');
select is(
  (select count(*) from pg_proc where pronamespace = 'public'::regnamespace and proname like 'slm%' and not coalesce(proconfig::text like '%search_path=%', false)),
  0::bigint, 'every function of ours pins its search path');

insert into public.slm_requests (id, user_id, feature, prompt_input, output, provider, model, prompt_version, latency_ms)
values ('00000000-0000-4000-8000-000000000001', gen_random_uuid(), 'risk', '{}', '{}', 'slm', 'm', 'p', 1);

set local role anon;
select throws_ok('select 1 from public.slm_requests', '42501', null, 'a visitor cannot read the ledger');
select throws_ok($$insert into public.slm_requests (id) values (gen_random_uuid())$$, '42501', null, 'a visitor cannot write the ledger');
select throws_ok('update public.slm_requests set model = model', '42501', null, 'a visitor cannot change the ledger');
select throws_ok('delete from public.slm_requests', '42501', null, 'a visitor cannot empty the ledger');
select throws_ok('select 1 from public.slm_org_settings', '42501', null, 'a visitor cannot read the settings');
select throws_ok('update public.slm_org_settings set allow_cloud = true', '42501', null, 'a visitor cannot open the cloud');
select throws_ok($$select public.slm_similar_tasks(null, 'x', '{}')$$, '42501', null, 'a visitor cannot look up similar tasks');
reset role;

set local role authenticated;
select throws_ok('select 1 from public.slm_requests', '42501', null, 'a user cannot read the ledger');
select throws_ok($$insert into public.slm_requests (id) values (gen_random_uuid())$$, '42501', null, 'a user cannot write the ledger');
select throws_ok('update public.slm_requests set model = model', '42501', null, 'a user cannot change the ledger');
select throws_ok('delete from public.slm_requests', '42501', null, 'a user cannot empty the ledger');
select throws_ok('select 1 from public.slm_org_settings', '42501', null, 'a user cannot read the settings');
select throws_ok('update public.slm_org_settings set allow_cloud = true', '42501', null, 'a user cannot open the cloud');
select throws_ok($$select public.slm_similar_tasks(null, 'x', '{}')$$, '42501', null, 'a user cannot look up another organisation''s tasks');
reset role;

set local role service_role;
select is((select count(*) from public.slm_requests), 1::bigint, 'the service role reads the ledger');
select lives_ok($$update public.slm_requests set details = '{"seen": true}'$$, 'the service role completes a row');
select lives_ok('select * from public.slm_similar_tasks(null, ''x'', ''{}'')', 'the service role looks up similar tasks');
select lives_ok('delete from public.slm_requests', 'the service role removes rows');
reset role;

select is((select count(*) from pg_policies where tablename like 'slm%'), 0::bigint, 'there is no policy that could open a door');

select * from finish();
rollback;
