-- The guard promotes what is no worse, rolls back what is, and leaves a person's decision alone.
begin;
select plan(28);

create function pg_temp.serve(p_n integer, p_arm text, p_bad integer, p_cause text default 'rejected', p_age interval default '0', p_shadow boolean default false, p_feature text default 'risk') returns void
language sql as $$
  insert into public.slm_requests (id, user_id, feature, prompt_input, output, provider, model, prompt_version, latency_ms, arm, attempts, shadow, created_at)
  select gen_random_uuid(), gen_random_uuid(), p_feature, '{}', '{}', 'slm', 'm', 'p', 900, p_arm,
    jsonb_build_array(jsonb_build_object('provider', case p_arm when 'current' then 'cloud' else 'slm' end, 'ms', 900,
      'cause', case when not p_shadow and n * p_bad / p_n > (n - 1) * p_bad / p_n then p_cause end)),
    case when p_shadow then jsonb_strip_nulls(jsonb_build_object('agrees', case p_feature when 'risk' then true end)) || jsonb_build_object('ms', 900, 'cause', case when n * p_bad / p_n > (n - 1) * p_bad / p_n then p_cause end) end,
    clock_timestamp() - p_age + n * interval '1 microsecond'
  from generate_series(1, p_n) as n
$$;
create function pg_temp.stage() returns text language sql as $$ select stage || ' ' || share from public.slm_rollouts where feature = 'risk' $$;

select cmp_ok(public.slm_evidence_worse('{f,f,f,f}', array_fill(false, array[20])), '<', 2::double precision, 'nothing bad is no evidence');
select cmp_ok(public.slm_evidence_worse(array_fill(true, array[20]), array_fill(false, array[20])), '>', 1000::double precision, 'all bad against all good is');
select cmp_ok(public.slm_evidence_worse(array_fill(true, array[20]), array_fill(true, array[20])), '<', 2::double precision, 'as bad as the control is none');
select is(public.slm_evidence_worse('{}', '{}'), 1::double precision, 'no outcomes, no evidence');
select is(public.slm_evidence_worse(null, null), 1::double precision, 'nor without arrays');
select cmp_ok(public.slm_evidence_worse(array_fill(true, array[20]), null, null, array_fill(false, array[300])), '>', 1000::double precision, 'a stock alone shows it too');
select cmp_ok(public.slm_evidence_above(array_fill(true, array[10]), 0.1), '>', 1000::double precision, 'over the line');
select cmp_ok(public.slm_evidence_below(array_fill(false, array[100]), 0.1), '>', 20::double precision, 'under the line');
select cmp_ok(public.slm_evidence_below(array_fill(true, array[100]), 0.1), '<=', 1::double precision, 'and not under it');

select is(public.slm_guard('risk') ->> 'reason', '0 of 100 requests', 'without requests it waits');
select public.slm_set_rollout('risk', 'off', 0, 'Asha', 'begin');
select is(public.slm_guard('risk') ->> 'reason', 'off', 'off is off');
select pg_temp.serve(400, 'current', 8, 'failed', interval '1 hour');
select public.slm_set_rollout('risk', 'shadow', 0, 'Asha', 'try');
select pg_temp.serve(60, 'current', 1, 'rejected', '0', true);
select is(public.slm_guard('risk') ->> 'reason', '60 of 100 requests', 'a few are not enough');
select pg_temp.serve(240, 'current', 3, 'rejected', '0', true);
select is(public.slm_guard('risk') ->> 'action', 'promoted', 'a shadow that is no worse becomes a canary');
select is(pg_temp.stage(), 'canary 1', 'of one in a hundred');
select public.slm_set_rollout('risk', 'canary', 10, 'Asha', 'pinned here', true);
select pg_temp.serve(300, 'current', 6);
select pg_temp.serve(300, 'candidate', 6);
select is(public.slm_guard('risk') ->> 'reason', 'pinned', 'a pinned stage is not promoted');
update public.slm_rollouts set is_paused = true where feature = 'risk';
select pg_temp.serve(200, 'current', 4);
select pg_temp.serve(200, 'candidate', 60);
select is(public.slm_guard('risk') ->> 'reason', 'paused', 'a paused guard does nothing');
update public.slm_rollouts set is_paused = false where feature = 'risk';
select is(public.slm_guard('risk') ->> 'action', 'rolled back', 'a model that got worse is rolled back, pinned or not');
select is(pg_temp.stage(), 'shadow 0', 'to the shadow');
select matches((select reason from public.slm_rollouts where feature = 'risk'), '(fallback|rejected): ', 'and it says why');
select is((select count(*) from public.slm_rollout_events where feature = 'risk'), 5::bigint, 'every change is written down');
select is((select by from public.slm_rollout_events order by id desc limit 1), 'guard', 'with who did it');
select is((select stage from public.slm_rollouts where feature = 'plan'), 'full', 'the other feature is not touched');
select public.slm_set_rollout('plan', 'shadow', 0, 'Asha', 'try');
select pg_temp.serve(300, 'current', 3, 'rejected', '0', true, 'plan');
select is(public.slm_guard('plan') ->> 'action', 'promoted', 'a plan has no level to agree on, and is promoted all the same');
select public.slm_set_rollout('plan', 'canary', 50, 'Asha', 'alone');
select pg_temp.serve(300, 'candidate', 120, 'rejected', '0', false, 'plan');
select is(public.slm_guard('plan') ->> 'action', 'rolled back', 'a canary without any control beside it is held against the stock');
select public.slm_set_rollout('plan', 'full', 100, 'Asha', 'all');
select pg_temp.serve(300, 'candidate', 150, 'rejected', '0', false, 'plan');
select is(public.slm_guard('plan') ->> 'action', 'rolled back', 'and so is the last stage');
select throws_ok($$select public.slm_guard('leave')$$, 'P0002', null, 'an unknown feature is an error');
select throws_ok($$select public.slm_set_rollout('risk', 'canary', 42, 'x', 'x')$$, '23514', null, 'so is a share that is none');
select is((select string_agg(n.stage || ' ' || n.share, ', ') from (values ('off', 0), ('shadow', 0), ('canary', 1), ('canary', 10), ('canary', 50)) as s (stage, share), lateral public.slm_next_stage(s.stage, s.share) as n),
  'shadow 0, canary 1, canary 10, canary 50, full 100', 'the stages in order');

select * from finish();
rollback;
