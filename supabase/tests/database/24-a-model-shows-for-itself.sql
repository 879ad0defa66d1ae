-- What the guard saw of one model says nothing of the next; a model that nobody can reach fails; the way back has an end.
begin;
select plan(27);

create function pg_temp.serve(p_n integer, p_arm text, p_cause text, p_age interval) returns void language sql as $$
  insert into public.slm_requests (id, org_id, user_id, feature, prompt_input, output, provider, model, prompt_version, latency_ms, arm, attempts, created_at)
  select gen_random_uuid(), md5((n % 20)::text)::uuid, gen_random_uuid(), 'risk', '{}', '{}', 'slm', 'm', 'p', 900, p_arm,
    jsonb_build_array(jsonb_build_object('provider', case p_arm when 'current' then 'cloud' else 'slm' end, 'ms', 900, 'cause', p_cause)), clock_timestamp() - p_age + n * interval '1 millisecond'
  from generate_series(1, p_n) as n
$$;
create function pg_temp.enter(p_stage text, p_share integer) returns void language sql as $$
  delete from public.slm_requests;
  select public.slm_set_rollout('risk', p_stage, p_share, 'Asha', 'try');
  update public.slm_rollouts set since = clock_timestamp() - interval '1 hour' where feature = 'risk';
$$;
create function pg_temp.candidates() returns bigint language sql as $$ select (guard #>> '{metrics,fallback,candidate}')::bigint from public.slm_rollouts where feature = 'risk' $$;
create function pg_temp.model(p_name text, p_feature text default 'risk') returns void language sql as $$
  insert into public.slm_models (name, feature, prompt_version, bytes, min_confidence, created_at) values (p_name, p_feature, 'p', 1, 30, clock_timestamp())
$$;
create function pg_temp.active(p_feature text default 'risk') returns text language sql as $$ select name from public.slm_models where feature = p_feature and status = 'active' $$;
select pg_temp.model(name) from unnest(array['a', 'b', 'c', 'd']) as name;

-- Evidence.
select pg_temp.enter('canary', 10);
select pg_temp.serve(90, 'candidate', null, interval '30 minutes');
select is(public.slm_guard('risk') ->> 'reason', '90 of 100 requests', 'a model shows what it can');
select pg_temp.serve(300, 'candidate', null, interval '20 minutes');
create temporary table before on commit drop as select *, clock_timestamp() as at from public.slm_rollouts where feature = 'risk';
select ok(public.slm_put_to_work('a', 'risk'), 'another takes its place');
select ok((select rollout.since >= before.at and rollout.guard = '{}' from public.slm_rollouts as rollout, before where rollout.feature = 'risk'), 'with no evidence of its own');
select is((select stage || ' ' || share || ' ' || reason || ' ' || min_confidence from public.slm_rollouts where feature = 'risk'), 'canary 10 try 30', 'in the same stage');
select is(public.slm_guard('risk') ->> 'reason', '0 of 100 requests', 'which its predecessor''s record does not widen');
select is((select format('%s %s-%s %s-%s %s: %s', feature, from_stage, from_share, to_stage, to_share, by, reason) from public.slm_rollout_events order by id desc limit 1),
  'risk canary-10 canary-10 trainer: model a is put to work: the guard counts anew', 'and it is written down');
update public.slm_rollouts set since = clock_timestamp() - interval '10 minutes' where feature = 'risk';
select pg_temp.serve(80, 'candidate', null, interval '5 minutes');
select public.slm_guard('risk');
select is(pg_temp.candidates(), 80::bigint, 'what it does itself counts');
create temporary table same on commit drop as select since, guard, (select count(*) from public.slm_rollout_events) as events from public.slm_rollouts where feature = 'risk';
select ok(not public.slm_put_to_work('a', 'risk'), 'put to work again');
select results_eq($$select since, guard, (select count(*) from public.slm_rollout_events) from public.slm_rollouts where feature = 'risk'$$, 'select * from same', 'it keeps its evidence');
select ok(public.slm_put_to_work('b', 'risk'), 'the next one');
select matches((select reason from public.slm_rollout_events order by id desc limit 1), 'model b is put to work in place of a', 'names whom it replaces');
select is((select count(*) from public.slm_rollout_events where feature = 'plan'), 0::bigint, 'the other feature is not touched');

-- The way back.
select ok(public.slm_put_to_work('c', 'risk'), 'and one more');
select is(public.slm_former_model('risk'), 'b', 'one back from the third is the second');
select public.slm_put_to_work('b', 'risk');
select is(public.slm_former_model('risk'), 'a', 'one back from there is the first, not the one that was left');
select public.slm_put_to_work('d', 'risk');
select is(public.slm_former_model('risk'), 'b', 'a new one leads back to the one that it replaced, past the one that was left');
select public.slm_put_to_work('b', 'risk');
select public.slm_put_to_work('a', 'risk');
select is(public.slm_former_model('risk'), null, 'before the first there is none');
select public.slm_put_to_work('c', 'risk');
select is(public.slm_former_model('risk'), 'b', 'one that is called back knows what it once replaced');
select is(public.slm_former_model('plan'), null, 'a feature without a model has none either');

-- Whom nobody can reach.
select pg_temp.enter('canary', 10);
select pg_temp.serve(300, 'current', 'misconfigured', interval '30 minutes');
select is(public.slm_guard('risk') #>> '{metrics,fallback,control}', '0', 'a wrong key for the cloud is not the cloud model''s fault');
select is((select count(*) from public.slm_warnings where warning like '%INFERENCE_TOKEN%'), 0::bigint, 'nor the private model''s');
select pg_temp.serve(300, 'candidate', 'misconfigured', interval '30 minutes');
select is(public.slm_guard('risk') ->> 'action', 'rolled back', 'a private model that turns everybody away is rolled back');
select is((select count(*) from public.slm_guard_outcomes where metric = 'fallback' and is_candidate and is_bad), 300::bigint, 'each of them is an outcome');
select is((select count(*) from public.slm_guard_outcomes where not is_candidate), 0::bigint, 'and none of the cloud''s');
select is((select warning from public.slm_warnings where warning like '%INFERENCE_TOKEN%'), 'the private model''s service turned away 300 requests of the last hour: check INFERENCE_URL and INFERENCE_TOKEN', 'the operator is told');
update public.slm_requests set created_at = created_at - interval '1 hour';
select is((select count(*) from public.slm_warnings where warning like '%INFERENCE_TOKEN%'), 0::bigint, 'until it is mended');
insert into public.slm_requests (id, user_id, feature, prompt_input, output, provider, model, prompt_version, latency_ms, arm, attempts, shadow)
values (gen_random_uuid(), gen_random_uuid(), 'risk', '{}', '{}', 'cloud', 'm', 'p', 900, 'current', '[{"provider": "cloud", "cause": null, "ms": 9}]', '{"cause": "misconfigured", "ms": 9}');
select is((select count(*) from public.slm_warnings where warning like '%away 1 requests%'), 1::bigint, 'in the shadow too');

select * from finish();
rollback;
