-- Only an operator sees the figures and moves a rollout, with a reason, and only from the stage that they looked at.
begin;
select plan(32);

create function pg_temp.act(p_id text) returns void language sql as $$ select set_config('request.jwt.claims', jsonb_build_object('sub', md5(p_id)::uuid, 'role', 'authenticated')::text, true) $$;
insert into public.profiles (id, full_name, role) values (md5('Olu')::uuid, 'Olu', 'developer'), (md5('Max')::uuid, 'Max', 'manager');
insert into public.slm_console_people (user_id, role, let_in_by) values (md5('Olu')::uuid, 'operator', 'test');
insert into public.slm_machine_prices (valid_from, usd_per_hour) values (current_date - 40, 0.1) on conflict do nothing;
insert into public.slm_requests (id, user_id, feature, prompt_input, output, provider, model, prompt_version, latency_ms, fallback_reason, alternative_usd, created_at)
select gen_random_uuid(), gen_random_uuid(), case when n % 3 = 0 then 'plan' else 'risk' end, '{}', '{}', case when n % 5 = 0 then 'rules' else 'slm' end, 'm', 'p', n, case when n % 5 = 0 then 'timeout' end,
  case when n % 5 > 0 then 0.001 end, now() - n * interval '3 hours'
from generate_series(1, 200) as n;
delete from public.slm_requests where created_at < now() - interval '20 days';

set local role authenticated;
select pg_temp.act('Max');
select throws_ok('select public.slm_operator_figures()', '42501', 'You may not do that (only an operator may)', 'a manager sees no figures');
select throws_ok($$select public.slm_operator_move('risk', 'rollback', 'because', 'full-100')$$, '42501', null, 'and moves nothing');
select pg_temp.act('Olu');
create temporary table figures as select public.slm_operator_figures(60) as body;
reset role;
select results_eq(
  $$select (day ->> 'day')::date, day ->> 'feature', (day ->> 'requests')::bigint, (day ->> 'by_slm')::bigint, (day ->> 'by_rules')::bigint, (day ->> 'p95_ms')::numeric from figures, jsonb_array_elements(body -> 'days') as day order by 1, 2$$,
  $$select day, feature, requests, by_slm, by_rules, p95_ms::numeric from public.slm_daily where day > current_date - 60 order by 1, 2$$, 'the kept days are those of slm_daily, removed rows included');
select results_eq(
  $$select r ->> 'feature', r ->> 'reason', (r ->> 'requests')::bigint from figures, jsonb_array_elements(body -> 'reasons') as r order by 1, 2$$,
  $$select feature, reason, sum(requests)::bigint from public.slm_fallback_reasons_daily group by 1, 2 order by 1, 2$$, 'the reasons too');
select results_eq(
  $$select (s ->> 'day')::date, (s ->> 'saved_usd')::numeric, (s ->> 'saved_low_usd')::numeric, (s ->> 'saved_so_far_usd')::numeric from figures, jsonb_array_elements(body -> 'savings') as s order by 1$$,
  $$select day, saved_usd, saved_low_usd, saved_so_far_usd from public.slm_savings_daily order by day$$, 'and the savings');
select is((select (body #>> '{break_even,break_even_requests_per_day}')::numeric from figures), (select break_even_requests_per_day from public.slm_break_even), 'and the break-even');
insert into public.slm_requests (id, user_id, feature, prompt_input, output, provider, model, prompt_version, latency_ms) values (gen_random_uuid(), gen_random_uuid(), 'risk', '{}', '{}', 'slm', 'm', 'p', 1);
update public.slm_rolled_days set rolled_at = rolled_at - interval '10 seconds' where day = (now() at time zone 'utc')::date;
select is(public.slm_roll_up(), (now() at time zone 'utc')::date, 'only today is counted anew');
update public.slm_rolled_days set rolled_at = rolled_at - interval '61 minutes';
select is(public.slm_roll_up(), (now() at time zone 'utc')::date - 2, 'and after a while the days before it, as late workers may have changed them');
select is((select sum(requests) from public.slm_rolled_days), (select sum(requests) from public.slm_daily), 'a new request is seen');
insert into public.slm_requests (id, user_id, feature, prompt_input, output, provider, model, prompt_version, latency_ms, cloud_input_tokens, cloud_output_tokens, alternative_input_tokens, alternative_output_tokens, created_at)
select md5('cloud ' || n)::uuid, gen_random_uuid(), 'risk', '{}', '{}', 'cloud', 'm', 'p', n, 100 + n, 50, 110, 45 + n, now() - n * interval '5 hours' from generate_series(1, 40) as n;
insert into public.slm_cloud_spending (request_id, day, usd) select md5('cloud ' || n)::uuid, ((now() - n * interval '5 hours') at time zone 'utc')::date, 0.01 * n from generate_series(1, 40) as n;
select public.slm_roll_up('2020-01-01');
select is((select array[requests::numeric, round(ratio::numeric, 9), round(half_width::numeric, 9)] from public.slm_rolled_ratio), (select array[requests::numeric, round(ratio::numeric, 9), round(half_width::numeric, 9)] from public.slm_token_ratio),
  'tokens compare as in slm_token_ratio');
set local role authenticated;
create temporary table dearer as select public.slm_operator_figures(60) as body;
reset role;
select results_eq(
  $$select (s ->> 'day')::date, (s ->> 'cloud_usd')::numeric, round((s ->> 'saved_so_far_usd')::numeric, 5) from dearer, jsonb_array_elements(body -> 'savings') as s order by 1$$,
  $$select day, cloud_usd, round(saved_so_far_usd, 5) from public.slm_savings_daily order by day$$, 'what the cloud cost is off the savings');

set local role authenticated;
select is(public.slm_operator_rollouts() #>> '{rollouts,0,feature}', 'risk', 'the rollouts are there');
select is(public.slm_operator_rollouts() #>> '{rollouts,0,next}', null, 'nothing comes after full');
select is(public.slm_operator_rollouts() #>> '{rollouts,0,previous,share}', '50', 'half the organisations come before it');
select is(array(select key from jsonb_object_keys(public.slm_operator_models()) as key order by 1), array['datasets', 'evaluations', 'models', 'runs'], 'training and models have their place before they have rows');
select is(public.slm_operator_report('data'), '{"known": [], "report": null}', 'so have the reports');
reset role;
insert into public.slm_datasets (id, feature, splits, manifest, created_at) values
(repeat('a', 64), 'risk', '{"train": 1}', '{"report": {"origins": {"human": 1}}}', now() - interval '1 day'), (repeat('b', 64), 'plan', '{}', '{"report": {}}', now() - interval '2 days');
insert into public.slm_eval_runs (id, feature, gold_sha256, n, models, summary) values
(md5('run')::uuid, 'risk', repeat('0', 64), 3, array['m'], '{"models": [{"metrics": {"accepted": {"mean": 1}}, "diversity": "large"}], "confidence": null}');
set local role authenticated;
select is(public.slm_operator_report('data') #>> '{report,manifest,report,origins,human}', '1', 'the newest data report opens first');
select is((select array[report #>> '{report,feature}', report #>> '{known,0,feature}', report #>> '{known,1,feature}'] from public.slm_operator_report('data', repeat('b', 64)) as report), array['plan', 'risk', 'plan'], 'an older one by its id, with all that there are');
select is(public.slm_operator_report('evaluation') #>> '{report,summary,models,0,diversity}', 'large', 'so do evaluations, whole');
select is((select array[found #>> '{evaluations,0,metrics,accepted,mean}', found #>> '{evaluations,0,summary}', found #>> '{datasets,0,manifest}'] from public.slm_operator_models() as found), array['1', null, null], 'whose lists hold only the first figures');
select throws_ok($$select public.slm_operator_report('secrets')$$, '22023', 'There is no report secrets', 'nothing else is a report');
select pg_temp.act('Max');
select throws_ok($$select public.slm_operator_report('data')$$, '42501', null, 'a manager opens none');
select pg_temp.act('Olu');
select throws_ok($$select public.slm_operator_move('risk', 'rollback', '  ', 'full-100')$$, '22023', null, 'a move needs a reason');
select throws_ok($$select public.slm_operator_move('risk', 'rollback', 'why not', 'canary-10')$$, '40001', 'The stage has changed meanwhile: it is full-100 now', 'and the stage that one saw');
select throws_ok($$select public.slm_operator_move('risk', 'advance', 'on', 'full-100')$$, 'P0001', 'full is the last stage', 'there is nothing after the last');
select throws_ok($$select public.slm_operator_move('risk', 'jump', 'on', 'full-100')$$, '22023', null, 'nor another action');
select throws_ok($$select public.slm_operator_move('leave', 'advance', 'on', 'full-100')$$, 'P0002', null, 'nor another feature');
select is(public.slm_operator_move('risk', 'rollback', 'too slow', 'full-100') #>> '{rollouts,0,share}', '50', 'a step back');
select is(public.slm_operator_move('risk', 'pin', 'look first', 'canary-50') #>> '{rollouts,0,is_pinned}', 'true', 'held there');
select is(public.slm_operator_move('risk', 'advance', 'good again', 'canary-50') #>> '{rollouts,0,stage}', 'full', 'and on again');
select is((select array_agg(event ->> 'by' || ' ' || (event ->> 'reason') order by (event ->> 'id')::integer) from jsonb_array_elements(public.slm_operator_rollouts() #> '{rollouts,0,events}') as event),
  array['Olu too slow', 'Olu pin: look first', 'Olu good again'], 'all of it is written down, with who and why');
select is((select rollout ->> 'stage' from jsonb_array_elements(public.slm_operator_rollouts() -> 'rollouts') as rollout where rollout ->> 'feature' = 'plan'), 'full', 'the other feature is where it was');

select * from finish();
rollback;
