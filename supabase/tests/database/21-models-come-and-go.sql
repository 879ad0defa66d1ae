-- A candidate becomes the active model and the former one is retired, in one step; an answer knows the rows behind it.
begin;
select plan(31);

create temp table run on commit drop as select (public.slm_take_training_lease('a', '{risk,plan}', 'smollm2-135m', 60) ->> 'run')::uuid as id;
create function pg_temp.model(name text, feature text, sha text, rest jsonb default '{}') returns jsonb language sql as $$
  select jsonb_build_object('name', name, 'feature', feature, 'dataset_id', repeat('a', 64), 'base_sha256', 'b', 'adapter_sha256', sha, 'prompt_version', 'p', 'bytes', 5, 'min_confidence', 40) || rest;
$$;

select is(public.slm_register_model((select id from run), 1, pg_temp.model('m-1', 'risk', 'x')), 'candidate', 'a candidate');
select is(public.slm_register_model((select id from run), 1, pg_temp.model('m-1', 'risk', 'x', '{"metrics": {"n": 2}}')), 'candidate', 'written again by a run that was killed');
select is((select metrics from public.slm_models), '{"n": 2}'::jsonb, 'with what is known now');
select throws_ok($$select public.slm_register_model((select id from run), 1, pg_temp.model('m-1', 'risk', 'y'))$$, 'P0001', 'another model is called m-1 already', 'a name belongs to its files');
select throws_ok($$select public.slm_promote_model((select id from run), 1, 'm-1', '{plan,risk}')$$, 'P0002', 'there is no model m-1 for plan', 'for all its features or for none');
select is((select status from public.slm_models), 'candidate', 'nothing is half done');
select lives_ok($$select public.slm_register_model((select id from run), 1, pg_temp.model('m-1', 'plan', 'x', '{"min_confidence": 55}'))$$, 'for the plan too');
select is(public.slm_promote_model((select id from run), 1, 'm-1', '{risk,plan}'), '{plan,risk}', 'it is promoted');
select is(public.slm_promote_model((select id from run), 1, 'm-1', '{risk,plan}'), '{}', 'once: again changes nothing');
select is((select array_agg(min_confidence order by feature) from public.slm_rollouts), '{55,40}', 'its least confidence holds');
select is((public.slm_context('00000000-0000-4000-8000-000000000001', 'risk') ->> 'min_confidence')::integer, 40, 'and the edge sees it');
select is(public.slm_former_model('risk'), null, 'nothing answered before it');
select is(public.slm_register_model((select id from run), 1, pg_temp.model('m-1', 'risk', 'x', '{"metrics": {}}')), 'active', 'a model at work is not made a candidate again');

select lives_ok($$select public.slm_register_model((select id from run), 1, pg_temp.model('m-2', 'risk', 'z', '{"min_confidence": 10}'))$$, 'the next candidate');
select is(public.slm_promote_model((select id from run), 1, 'm-2', '{risk}'), '{risk}', 'for one feature');
select is((select array_agg(format('%s %s %s', feature, name, status) order by feature, name) from public.slm_models), array['plan m-1 active', 'risk m-1 retired', 'risk m-2 active'], 'the old one is retired there, and goes on elsewhere');
select throws_ok($$update public.slm_models set status = 'active' where name = 'm-1'$$, '23505', null, 'two cannot answer one feature');
select is(public.slm_former_model('risk'), 'm-1', 'the way back is known');
select ok(public.slm_put_to_work('m-1', 'risk'), 'and can be gone');
select is((select array_agg(format('%s %s %s', name, status, retired_at is null) order by name) from public.slm_models where feature = 'risk'), array['m-1 active t', 'm-2 retired f'], 'the former one answers again');
select is((select min_confidence from public.slm_rollouts where feature = 'risk'), 40, 'with its own least confidence');

select lives_ok($$select public.slm_register_model((select id from run), 1, pg_temp.model('m-3', 'risk', 'w', '{"status": "refused", "why": "parity"}'))$$, 'a gate says no');
select throws_ok($$select public.slm_put_to_work('m-3', 'risk')$$, 'P0001', 'model m-3 was refused for risk: parity', 'it cannot be put to work');
select is(public.slm_register_model((select id from run), 1, pg_temp.model('m-3', 'risk', 'w')), 'candidate', 'until it is judged anew');
select lives_ok($$select public.slm_refuse_model((select id from run), 1, 'm-3', '{risk}', 'self-test')$$, 'the service says no');
select is((select format('%s: %s', status, why) from public.slm_models where name = 'm-3'), 'refused: self-test', 'and why');

update public.slm_rollouts set stage = 'off', share = 0 where feature = 'risk';
select is(public.slm_raise_to_shadow('risk', 'trainer', 'm-1 is there') || public.slm_raise_to_shadow('plan', 'trainer', 'm-1 is there'), 'shadowfull', 'only what is off is raised');

insert into public.slm_datasets (id, feature, splits) values (repeat('a', 64), 'risk', '{}');
insert into public.slm_examples (id, feature, origin, prompt_version, prompt_input, output) values (repeat('1', 64), 'risk', 'ledger', 'p', '{}', '{}'), (repeat('2', 64), 'risk', 'template', 'p', '{}', '{}');
insert into public.slm_dataset_examples values (repeat('a', 64), repeat('1', 64), 'train'), (repeat('a', 64), repeat('2', 64), 'test');
insert into public.slm_example_sources (example_id, source_table, source_id, created_at, people) values (repeat('1', 64), 'slm_requests', 'r1', now(), array['00000000-0000-4000-8000-000000000001']::uuid[]);
insert into public.slm_requests (id, user_id, feature, prompt_input, output, provider, model, prompt_version, latency_ms) values ('00000000-0000-4000-8000-0000000000ff', '00000000-0000-4000-8000-000000000002', 'risk', '{}', '{}', 'slm', 'm-2', 'p', 1);
select is(
  (select array_agg(format('%s %s %s', split, origin, source_id) order by split) from public.slm_answer_lineage where request_id = '00000000-0000-4000-8000-0000000000ff'),
  array['test template ', 'train ledger r1'], 'from an answer to every row behind its model');
select is(
  (select array_agg(model order by model) from public.slm_model_lineage where source_table = 'slm_requests' and source_id = 'r1' and feature = 'risk'),
  array['m-1', 'm-2', 'm-3'], 'from a row to every model');
select is((select count(*) from public.slm_answer_lineage where source_id = 'r1'), 1::bigint, 'and to the answers');
select is(public.slm_erase_user('00000000-0000-4000-8000-000000000001') -> 'models', '["m-1", "m-2", "m-3"]'::jsonb, 'who is forgotten hears which models learned from them');

select * from finish();
rollback;
