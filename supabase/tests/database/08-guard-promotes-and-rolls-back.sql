-- The guard promotes what is no worse, rolls back what is, and leaves a person's decision alone.
begin;
select plan(40);

-- Organisations by their place in the shares, as slm_context has it.
create temporary table places as
select feature, md5(n::text)::uuid as id, ('x' || substr(md5(md5(n::text)::uuid::text || '/' || feature), 1, 8))::bit(32)::bigint % 100 as place
from generate_series(1, 500) as n, unnest(array['risk', 'plan']) as feature;
create function pg_temp.orgs(p_feature text, p_from integer, p_to integer, p_n integer) returns uuid[]
language sql as $$ select array_agg(id) from (select id from places where feature = p_feature and place >= p_from and place < p_to order by id limit p_n) as o $$;
create function pg_temp.serve(p_n integer, p_arm text, p_bad integer, p_orgs uuid[], p_age interval default '30 minutes', p_shadow boolean default false, p_feature text default 'risk', p_cause text default 'rejected') returns void
language sql as $$
  insert into public.slm_requests (id, org_id, user_id, feature, prompt_input, output, provider, model, prompt_version, latency_ms, arm, attempts, shadow, created_at)
  select gen_random_uuid(), p_orgs[1 + n % cardinality(p_orgs)], gen_random_uuid(), p_feature, '{}', '{}', 'slm', 'm', 'p', 900, p_arm,
    jsonb_build_array(jsonb_build_object('provider', case p_arm when 'current' then 'cloud' else 'slm' end, 'ms', 900,
      'cause', case when not p_shadow and n * p_bad / p_n > (n - 1) * p_bad / p_n then p_cause end)),
    case when p_shadow then jsonb_strip_nulls(jsonb_build_object('agrees', case p_feature when 'risk' then true end)) || jsonb_build_object('ms', 900, 'cause', case when n * p_bad / p_n > (n - 1) * p_bad / p_n then p_cause end) end,
    clock_timestamp() - p_age + n * interval '1 second'
  from generate_series(1, p_n) as n
$$;
-- A stage that began an hour ago, with nothing in it yet.
create function pg_temp.enter(p_feature text, p_stage text, p_share integer) returns void
language sql as $$
  delete from public.slm_requests where feature = p_feature and created_at >= clock_timestamp() - interval '1 hour';
  select public.slm_set_rollout(p_feature, p_stage, p_share, 'Asha', 'try');
  update public.slm_rollouts set since = clock_timestamp() - interval '1 hour' where feature = p_feature;
$$;
create function pg_temp.stage() returns text language sql as $$ select stage || ' ' || share from public.slm_rollouts where feature = 'risk' $$;

select cmp_ok(public.slm_evidence_worse('{f,f,f,f}', array_fill(false, array[20])), '<', 2::double precision, 'nothing bad is no evidence');
select cmp_ok(public.slm_evidence_worse(array_fill(true, array[20]), array_fill(false, array[20])), '>', 1000::double precision, 'all bad against all good is');
select cmp_ok(public.slm_evidence_worse(array_fill(true, array[20]), array_fill(true, array[20])), '<', 2::double precision, 'as bad as the control is none');
select is(public.slm_evidence_worse('{}', '{}'), 1::double precision, 'no outcomes, no evidence');
select is(public.slm_evidence_worse(null, null), 1::double precision, 'nor without arrays');
select is(public.slm_evidence_worse(array_fill(true, array[20]), null, null, array_fill(false, array[300])), 1::double precision, 'what only teaches the rate is no control');
select is(public.slm_evidence_worse('{t,f,t}', '{f,f,f,f,t,t}', '{2,2,4}'), public.slm_evidence_worse('{t,f,t}', '{f,f,f,f}', '{2,2,4}'), 'control outcomes of no block change nothing');
select is(public.slm_evidence_worse('{t,f,t}', '{f,f,f,f}', '{2,2,4}'), public.slm_evidence_worse('{t,t}', '{f,f,f,f}', '{2,4}'), 'a candidate outcome without control says nothing');
select cmp_ok(public.slm_evidence_worse(array_fill(true, array[20]), array_fill(false, array[60]), array(select 3 * n from generate_series(1, 20) as n)), '>',
  public.slm_evidence_worse(array_fill(true, array[20]), array_fill(false, array[20])), 'more control, more evidence');
select cmp_ok(public.slm_evidence_above(array_fill(true, array[10]), 0.1), '>', 1000::double precision, 'over the line');
select cmp_ok(public.slm_evidence_below(array_fill(false, array[100]), 0.1), '>', 20::double precision, 'under the line');
select cmp_ok(public.slm_evidence_below(array_fill(true, array[100]), 0.1), '<=', 1::double precision, 'and not under it');
select cmp_ok(public.slm_evidence_above(array_fill(true, array[20000]), 0.1), '>', 1000::double precision, 'twenty thousand outcomes are not too many');
select cmp_ok(public.slm_evidence_below(array_fill(false, array[20000]), 0.1), '>', 1000::double precision, 'nor for the other');

select is(public.slm_guard('risk') ->> 'reason', '0 of 100 requests', 'without requests it waits');
select public.slm_set_rollout('risk', 'off', 0, 'Asha', 'begin');
select is(public.slm_guard('risk') ->> 'reason', 'off', 'off is off');
select pg_temp.serve(1200, 'current', 24, pg_temp.orgs('risk', 0, 100, 100), interval '2 days', p_cause => 'failed');
select pg_temp.enter('risk', 'shadow', 0);
select pg_temp.serve(60, 'current', 1, pg_temp.orgs('risk', 0, 100, 100), p_shadow => true);
select is(public.slm_guard('risk') ->> 'reason', '60 of 100 requests', 'a few are not enough');
select results_eq(
  $$select metric, (seen ->> 'candidate')::bigint, (seen ->> 'candidate_bad')::bigint, (seen ->> 'control')::bigint, (seen ->> 'control_bad')::bigint
    from public.slm_rollouts, jsonb_each(guard -> 'metrics') as m (metric, seen) where feature = 'risk' order by metric$$,
  $$select metric, count(*) filter (where is_candidate), count(*) filter (where is_candidate and is_bad), count(*) filter (where not is_candidate), count(*) filter (where not is_candidate and is_bad)
    from public.slm_guard_outcomes where feature = 'risk' and created_at > now() - interval '1 hour' group by metric order by metric$$,
  'it counts what slm_guard_outcomes shows');
select pg_temp.serve(300, 'current', 5, pg_temp.orgs('risk', 0, 100, 100), interval '10 seconds', p_shadow => true);
select is(public.slm_guard('risk') ->> 'reason', '60 of 100 requests', 'requests of the last minute are not looked at: slow ones among them are still open');
select pg_temp.serve(240, 'current', 3, pg_temp.orgs('risk', 0, 100, 100), p_shadow => true);
select is(public.slm_guard('risk') ->> 'action', 'promoted', 'a shadow that is no worse becomes a canary');
select is(pg_temp.stage(), 'canary 1', 'of one in a hundred');

select pg_temp.enter('risk', 'canary', 10);
update public.slm_rollouts set is_pinned = true where feature = 'risk';
select pg_temp.serve(900, 'current', 18, pg_temp.orgs('risk', 0, 10, 10), interval '2 days');
select pg_temp.serve(300, 'current', 6, pg_temp.orgs('risk', 10, 100, 50));
select pg_temp.serve(300, 'candidate', 6, pg_temp.orgs('risk', 0, 10, 10));
select is(public.slm_guard('risk') ->> 'reason', 'pinned', 'a pinned stage is not promoted');
update public.slm_rollouts set is_paused = true where feature = 'risk';
select pg_temp.serve(200, 'candidate', 120, pg_temp.orgs('risk', 0, 10, 10), interval '20 minutes');
select is(public.slm_guard('risk') ->> 'reason', 'paused', 'a paused guard does nothing');
update public.slm_rollouts set is_paused = false where feature = 'risk';
select pg_temp.serve(200, 'current', 4, pg_temp.orgs('risk', 10, 100, 50), interval '20 minutes');
select is(public.slm_guard('risk') ->> 'action', 'rolled back', 'a model that got much worse on the way is rolled back, pinned or not');
select is(pg_temp.stage(), 'shadow 0', 'to the shadow');
select matches((select reason from public.slm_rollouts where feature = 'risk'), '(fallback|rejected): ', 'and it says why');
select is((select by from public.slm_rollout_events order by id desc limit 1), 'guard', 'with who did it');
select is((select stage from public.slm_rollouts where feature = 'plan'), 'full', 'the other feature is not touched');

select pg_temp.enter('risk', 'canary', 10);
select pg_temp.serve(300, 'current', 6, pg_temp.orgs('risk', 10, 100, 50));
select pg_temp.serve(300, 'candidate', 60, pg_temp.orgs('risk', 0, 10, 10));
select is(public.slm_guard('risk') ->> 'action', 'rolled back', 'a canary that is worse than the same organisations were under the cloud');
select pg_temp.enter('risk', 'canary', 10);
select pg_temp.serve(300, 'current', 60, pg_temp.orgs('risk', 10, 100, 50));
select pg_temp.serve(300, 'candidate', 60, pg_temp.orgs('risk', 0, 10, 10));
select is(public.slm_guard('risk') ->> 'action', 'none', 'but not when the cloud became as bad at the same time');

delete from public.slm_requests where feature = 'risk';
select pg_temp.serve(900, 'current', 180, pg_temp.orgs('risk', 0, 10, 10), interval '2 days');
select pg_temp.enter('risk', 'canary', 10);
select pg_temp.serve(300, 'current', 6, pg_temp.orgs('risk', 10, 100, 50));
select pg_temp.serve(300, 'candidate', 60, pg_temp.orgs('risk', 0, 10, 10));
select is(public.slm_guard('risk') ->> 'action', 'none', 'organisations that the cloud serves as badly are not held against the model');

delete from public.slm_requests where feature = 'risk';
select pg_temp.enter('risk', 'canary', 10);
select pg_temp.serve(300, 'candidate', 120, pg_temp.orgs('risk', 0, 10, 10));
select is(public.slm_guard('risk') ->> 'action', 'rolled back', 'without any past the line holds');

select pg_temp.enter('plan', 'shadow', 0);
select pg_temp.serve(300, 'current', 3, pg_temp.orgs('plan', 0, 100, 100), p_shadow => true, p_feature => 'plan');
select is(public.slm_guard('plan') ->> 'action', 'promoted', 'a plan has no level to agree on, and is promoted all the same');
select pg_temp.serve(900, 'current', 9, pg_temp.orgs('plan', 0, 50, 50), interval '2 days', p_feature => 'plan');
select pg_temp.enter('plan', 'canary', 50);
select pg_temp.serve(300, 'candidate', 40, pg_temp.orgs('plan', 0, 50, 50), p_feature => 'plan');
select is(public.slm_guard('plan') ->> 'action', 'rolled back', 'a canary without any control beside it is held against the past');
select pg_temp.enter('plan', 'full', 100);
select pg_temp.serve(300, 'candidate', 40, pg_temp.orgs('plan', 0, 50, 50), p_feature => 'plan');
select is(public.slm_guard('plan') ->> 'action', 'rolled back', 'and so is the last stage');
select is(pg_temp.stage() || ' ' || (select stage from public.slm_rollouts where feature = 'plan'), 'shadow 0 shadow', 'both are in the shadow now');
select throws_ok($$select public.slm_guard('leave')$$, 'P0002', null, 'an unknown feature is an error');
select throws_ok($$select public.slm_set_rollout('risk', 'canary', 42, 'x', 'x')$$, '23514', null, 'so is a share that is none');
select is((select count(*) from public.slm_rollout_events where feature = 'plan'), 6::bigint, 'every change is written down');
select is((select string_agg(n.stage || ' ' || n.share, ', ') from (values ('off', 0), ('shadow', 0), ('canary', 1), ('canary', 10), ('canary', 50)) as s (stage, share), lateral public.slm_next_stage(s.stage, s.share) as n),
  'shadow 0, canary 1, canary 10, canary 50, full 100', 'the stages in order');

select * from finish();
rollback;
