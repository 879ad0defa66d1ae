-- An evaluation is written once, whatever is repeated, and what models said about a person's work goes with that person.
begin;
select plan(14);

create temp table batch on commit drop as
select jsonb_agg(jsonb_build_object(
  'id', lpad(n::text, 64, '0'), 'feature', 'risk', 'origin', 'ledger', 'prompt_version', 'risk-1/tag', 'prompt_input', jsonb_build_object('n', n), 'output', '{}'::jsonb,
  'seed_id', null, 'cell', null, 'copies', 1, 'quality', '{}'::jsonb,
  'sources', jsonb_build_array(jsonb_build_object('table', 'slm_requests', 'id', 'e' || n, 'org_id', null, 'user_id', '00000000-0000-4000-8000-00000000e00' || n, 'task_id', null, 'created_at', '2026-11-01T00:00:00.000000Z'))
) order by n) as rows from generate_series(1, 2) as n;
create temp table run on commit drop as
select jsonb_build_object(
  'id', '00000000-0000-4000-8000-0000000000e1', 'created_at', '2026-11-23T00:00:00+00:00', 'feature', 'risk', 'gold_sha256', repeat('a', 64), 'n', 2,
  'models', jsonb_build_array('new', 'old'), 'summary', '{"n": 2}'::jsonb, 'report', 'report.html'
) as run;
create temp table results on commit drop as
select jsonb_agg(jsonb_build_object(
  'eval_run_id', '00000000-0000-4000-8000-0000000000e1', 'example_id', lpad(n::text, 64, '0'), 'model', model, 'accepted', n = 1, 'output', case n when 1 then '{"risk_level": "low"}'::jsonb end,
  'fault', case n when 2 then 'it makes no sense' end, 'scores', jsonb_build_object('accepted', 2 - n), 'confidence', case n when 1 then 90 end, 'raw', '{}'::jsonb, 'latency_ms', 812.25, 'input_tokens', 100, 'output_tokens', 60
)) as results from generate_series(1, 2) as n, unnest(array['new', 'old']) as model;

select is(public.slm_write_eval((select run from run), (select rows from batch), (select results from results)), 4, 'two models answered two examples');
select is(public.slm_write_eval((select run from run), (select rows from batch), (select results from results)), 0, 'the same again adds nothing');
select is((select models from public.slm_eval_runs), array['new', 'old'], 'the judged model first');
select is((select count(*) from public.slm_eval_results where accepted), 2::bigint, 'refused answers are results too');
select is((select run_id from public.slm_eval_runs), null, 'a person started it');

select throws_ok(
  $$select public.slm_write_eval((select run || '{"id": "00000000-0000-4000-8000-0000000000e2"}' from run), '[]', (select jsonb_set(jsonb_path_query_array(results, '$[0]'), '{0,output}', 'null') from results))$$,
  '23514', null, 'an accepted answer says something'
);
select throws_ok(
  $$select public.slm_write_eval((select run || '{"id": "00000000-0000-4000-8000-0000000000e3"}' from run), '[]', (select jsonb_path_query_array(results, '$[0]') || jsonb_build_array(jsonb_set(results -> 1, '{example_id}', to_jsonb(repeat('f', 64)))) from results))$$,
  '23503', null, 'a result is of an example that is there'
);
select is((select count(*) from public.slm_eval_runs), 1::bigint, 'of a batch that fails nothing is left');

select is(public.slm_erase_user('00000000-0000-4000-8000-00000000e001') -> 'examples', '1', 'a person is forgotten');
select is((select array_agg(distinct example_id) from public.slm_eval_results), array[lpad('2', 64, '0')], 'and what models said about their work');
select is((select n from public.slm_eval_runs), 2, 'the figures stay: nobody wrote them');
select throws_ok(
  $$select public.slm_write_eval((select run from run), (select rows from batch), (select results from results))$$,
  'P0001', 'rows of a person who asked to be forgotten are among them (extract again)', 'nor does it come back'
);
delete from public.slm_eval_runs;
select is((select count(*) from public.slm_eval_results), 0::bigint, 'results go with their evaluation');
select is((select count(*) from public.slm_examples where id = lpad('2', 64, '0')), 1::bigint, 'examples stay');

select * from finish();
rollback;
