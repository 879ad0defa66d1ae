-- The frontend's call works with the latest metrics, and the snapshot says who really made it.
begin;
select plan(18);

insert into public.orgs (id, name) values ('00000000-0000-4000-8000-00000000000a', 'A');
insert into public.tasks (id, title, org_id, allocated_hours, assigned_by)
values ('00000000-0000-4000-8000-000000000001', 'T', '00000000-0000-4000-8000-00000000000a', 8, gen_random_uuid()),
  ('00000000-0000-4000-8000-000000000002', 'No budget', '00000000-0000-4000-8000-00000000000a', null, null);

create function pg_temp.save(p_elapsed numeric, p_progress numeric, p_raw jsonb, p_task uuid default '00000000-0000-4000-8000-000000000001') returns public.task_risk_snapshots
language plpgsql as $$
declare
  saved jsonb;
  snapshot public.task_risk_snapshots;
begin
  saved := public.rpc_insert_task_risk_snapshot(
    p_org_id => '00000000-0000-4000-8000-00000000000a', p_task_id => p_task, p_elapsed_hours => p_elapsed, p_steps_completed => 1, p_total_steps => 2,
    p_progress_ratio => p_progress, p_predicted_delay_hours => 0, p_risk_level => 'low', p_confidence => 80, p_reasons => '{a}', p_actions => '{b}',
    p_model => 'gpt-4o-mini', p_raw_response => p_raw);
  select * into snapshot from public.task_risk_snapshots where id = (saved ->> 'snapshot_id')::uuid;
  return snapshot;
end;
$$;

set local role authenticated;
select lives_ok($$select public.rpc_insert_task_risk_snapshot(
  p_org_id => '00000000-0000-4000-8000-00000000000a', p_task_id => '00000000-0000-4000-8000-000000000001', p_elapsed_hours => 1, p_steps_completed => 1, p_total_steps => 2,
  p_progress_ratio => 0.5, p_predicted_delay_hours => 0, p_risk_level => 'low', p_confidence => 80, p_reasons => '{a}', p_actions => '{b}', p_model => 'm', p_raw_response => '{}')$$,
  'a user saves a snapshot without p_predicted_total_hours (trap T1)');
reset role;
set local role anon;
select throws_ok($$select public.rpc_insert_task_risk_snapshot(
  p_org_id => null::uuid, p_task_id => null::uuid, p_elapsed_hours => 1, p_steps_completed => 1, p_total_steps => 2,
  p_progress_ratio => 0.5, p_predicted_delay_hours => 0, p_risk_level => 'low', p_confidence => 80, p_reasons => '{a}', p_actions => '{b}', p_model => 'm', p_raw_response => '{}')$$,
  '42501', null, 'a visitor does not');
reset role;

select is((pg_temp.save(4, 0.5, '{}')).predicted_total_hours, 8.00, 'half done after 4 hours makes 8 in all');
select is((pg_temp.save(3, 0, '{}')).predicted_total_hours, 8.00, 'nothing done within the budget makes the budget');
select is((pg_temp.save(9, 0, '{}')).predicted_total_hours, 17.00, 'nothing done past the budget makes both together');
select is((pg_temp.save(9, 0.5, '{}', '00000000-0000-4000-8000-000000000002')).predicted_total_hours, null, 'without a budget there is no prediction');
select is((pg_temp.save(1, 0.5, '{"_meta": {"model": "small-1"}}')).model_used, 'small-1', 'the answer''s own model replaces the frontend''s literal (trap T22)');
select is((pg_temp.save(1, 0.5, '{"risk_level": "low"}')).model_used, 'gpt-4o-mini', 'an answer that does not say keeps the literal');
select is((pg_temp.save(1, 0.5, '{"_meta": {"model": {"x": 1}}}')).model_used, 'gpt-4o-mini', 'a model that is no text changes nothing');
select is((pg_temp.save(1, 0.5, '[]')).model_used, 'gpt-4o-mini', 'a list changes nothing');
select is((pg_temp.save(1, 0.5, null)).model_used, 'gpt-4o-mini', 'no answer at all changes nothing');

select lives_ok($$select public.rpc_insert_task_risk_snapshot('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-000000000001', 1, 1, 2, 0.5, 2, 0, 'high', 80, '{a}', '{b}', 'gpt-4o-mini', '{"_meta": {"model": "small-1"}}')$$,
  'the app''s own call with 14 arguments works as before');
select is((select count(*) from public.notifications where type = 'ai_risk_alert'), 1::bigint, 'and still alerts the manager of a high risk');

insert into public.profiles (id, org_id) values ('00000000-0000-4000-8000-0000000000aa', '00000000-0000-4000-8000-00000000000a');
insert into public.tasks (id, title, assigned_to) values ('00000000-0000-4000-8000-000000000003', 'Without an organisation', '00000000-0000-4000-8000-0000000000aa');
select lives_ok($$select public.rpc_insert_task_risk_snapshot(
  p_org_id => null::uuid, p_task_id => '00000000-0000-4000-8000-000000000003', p_elapsed_hours => 1, p_steps_completed => 1, p_total_steps => 2,
  p_progress_ratio => 0.5, p_predicted_delay_hours => 0, p_risk_level => 'low', p_confidence => 80, p_reasons => '{a}', p_actions => '{b}', p_model => 'm', p_raw_response => '{}')$$,
  'a task without an organisation keeps its snapshot: the person it is assigned to has one (trap T18)');
-- Versions 1 to 3 of the metrics: 14 arguments, the app's own function.
create function pg_temp.org_of(p_task text) returns uuid language plpgsql as $$
declare
  saved jsonb := public.rpc_insert_task_risk_snapshot(null, p_task::uuid, 1, 1, 2, 0.5, 2, 0, 'low', 80, '{a}', '{b}', 'gpt-4o-mini', '{"_meta": {"model": "small-1"}}');
begin
  return (select org_id from public.task_risk_snapshots where id = (saved ->> 'snapshot_id')::uuid);
end;
$$;
insert into public.tasks (id, title, org_id, assigned_to) values ('00000000-0000-4000-8000-000000000004', 'With one', '00000000-0000-4000-8000-00000000000a', null);
insert into public.tasks (id, title) values ('00000000-0000-4000-8000-000000000005', 'Nobody''s');
set local role authenticated;
select lives_ok($$select public.rpc_insert_task_risk_snapshot(null, '00000000-0000-4000-8000-000000000003', 1, 1, 2, 0.5, 2, 0, 'low', 80, '{a}', '{b}', 'gpt-4o-mini', '{}')$$,
  'so it does under versions 1 to 3 of the metrics, which call the app''s own function');
reset role;
select is(pg_temp.org_of('00000000-0000-4000-8000-000000000003'), '00000000-0000-4000-8000-00000000000a', 'with that person''s organisation');
select is(pg_temp.org_of('00000000-0000-4000-8000-000000000004'), '00000000-0000-4000-8000-00000000000a', 'or the task''s own, where the call does not say');
select throws_ok($$select pg_temp.org_of('00000000-0000-4000-8000-000000000005')$$, '23502', null, 'a task of nobody''s fails as before: there is no organisation to write down');

select * from finish();
rollback;
