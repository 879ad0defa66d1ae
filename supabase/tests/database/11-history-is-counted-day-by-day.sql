-- The trainer knows of every row of the history that it may read, sees every change, and is shown nothing else.
begin;
select plan(25);

insert into public.orgs (id, name) values ('00000000-0000-4000-8000-00000000000a', 'A');
insert into public.slm_org_settings (org_id, allow_training) values ('00000000-0000-4000-8000-00000000000a', true);
insert into public.tasks (id, title, org_id, created_at) values
('00000000-0000-4000-8000-000000000001', 'One', '00000000-0000-4000-8000-00000000000a', '2026-03-01 23:59:59.999999+00'),
('00000000-0000-4000-8000-000000000002', 'Two', '00000000-0000-4000-8000-00000000000a', '2026-03-02 00:00:00+00'),
('00000000-0000-4000-8000-000000000003', 'Three', '00000000-0000-4000-8000-00000000000a', '2026-03-02 00:00:00+00'),
('00000000-0000-4000-8000-000000000004', 'Never', '00000000-0000-4000-8000-00000000000a', '-infinity'),
('00000000-0000-4000-8000-000000000005', 'Tomorrow', '00000000-0000-4000-8000-00000000000a', now() + interval '1 day');

create function pg_temp.days(until timestamptz default null) returns jsonb language sql as $$ select public.slm_history_days('tasks', until) $$;

select is(pg_temp.days() -> 'days' -> '2026-03-01' ->> 0, '1', 'a day ends with its last microsecond');
select is(pg_temp.days() -> 'days' -> '2026-03-02' ->> 0, '2', 'rows with the same time are counted one by one');
select is(pg_temp.days() -> 'days' -> 'undated' ->> 0, '1', 'a row without a place in the calendar is counted too');
select is(pg_temp.days() ->> 'later', '1', 'a row dated in the future is counted apart');
select is((select count(*) from jsonb_object_keys(pg_temp.days('2026-03-01 23:59:59.999999+00') -> 'days')), 2::bigint, 'nothing after the given time is counted');

create temp table before as select pg_temp.days() as days;
update public.tasks set title = 'Two, mended' where id = '00000000-0000-4000-8000-000000000002';
select isnt(pg_temp.days() -> 'days' -> '2026-03-02', (select days -> 'days' -> '2026-03-02' from before), 'a change of any column changes the day''s sum');
select is(pg_temp.days() -> 'days' -> '2026-03-01', (select days -> 'days' -> '2026-03-01' from before), 'other days keep theirs');
select throws_like($$ select public.slm_history_days('profiles') $$, 'Cannot count profiles%', 'only the history is counted');
select is(public.slm_history_days('task_steps') -> 'days', '{}'::jsonb, 'an empty table has no days');

-- Whose history it is: B allows nothing, X asked to be forgotten.
insert into public.orgs (id, name) values ('00000000-0000-4000-8000-00000000000b', 'B');
insert into public.slm_erasures (user_id) values ('00000000-0000-4000-8000-0000000000ee');
insert into public.tasks (id, title, org_id, assigned_to, assigned_by, created_at) values
('00000000-0000-4000-8000-000000000011', 'Secret of B', '00000000-0000-4000-8000-00000000000b', null, null, '2026-03-05'),
('00000000-0000-4000-8000-000000000012', 'Work of X', '00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-0000000000ee', null, '2026-03-05'),
('00000000-0000-4000-8000-000000000013', 'Given by X', '00000000-0000-4000-8000-00000000000a', null, '00000000-0000-4000-8000-0000000000ee', '2026-03-05'),
('00000000-0000-4000-8000-000000000014', 'Open', '00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-0000000000a2', '2026-03-05');
insert into public.task_steps (id, org_id, task_id, stage_id, step_title, created_by, created_at)
select ('00000000-0000-4000-8001-' || right(task.id::text, 12))::uuid, task.org_id, task.id, 'deployment', 'Step of ' || task.title, null, '2026-03-05' from public.tasks as task where task.created_at = '2026-03-05';
insert into public.task_steps (id, org_id, task_id, stage_id, step_title, created_by, created_at) values
('00000000-0000-4000-8002-000000000014', '00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-000000000014', 'deployment', 'Written by X', '00000000-0000-4000-8000-0000000000ee', '2026-03-05');
insert into public.task_risk_snapshots (id, org_id, task_id, computed_at, elapsed_hours, raw_llm_response)
select ('00000000-0000-4000-8003-' || right(task.id::text, 12))::uuid, task.org_id, task.id, '2026-03-05', ('1' || repeat('0', 4999))::numeric, jsonb_build_object('long', repeat('x', 100000)) from public.tasks as task where task.created_at = '2026-03-05';
insert into public.slm_requests (id, org_id, user_id, task_id, feature, prompt_input, output, provider, model, prompt_version, latency_ms, created_at)
select ('00000000-0000-4000-8004-' || right(task.id::text, 12))::uuid, task.org_id, '00000000-0000-4000-8000-0000000000a3', task.id, 'risk', '{}', '{}', 'cloud', 'm', 'p', 1, '2026-03-05' from public.tasks as task where task.created_at = '2026-03-05';

create function pg_temp.page(relation text, day date default '2026-03-05', bytes integer default 4194304, after_at timestamptz default null, after_id uuid default null) returns jsonb
language sql as $$ select public.slm_history_page(relation, now(), day, after_at, after_id, 1000, bytes) $$;
create function pg_temp.ids(page jsonb) returns text[] language sql as $$ select array_agg(right(row ->> 'id', 2)) from jsonb_array_elements(page) as row $$;

select is(pg_temp.ids(pg_temp.page('tasks')), array['14'], 'a task of an organisation that does not allow it, or of a forgotten person, does not leave');
select is(pg_temp.ids(pg_temp.page('task_steps')), array['14', '14'], 'nor do its steps');
select is(pg_temp.ids(pg_temp.page('task_risk_snapshots')), array['14'], 'nor its snapshots');
select is(pg_temp.ids(pg_temp.page('slm_requests')), array['14'], 'nor what was asked about it');
select is(public.slm_history_days('tasks') -> 'days' -> '2026-03-05' ->> 0, '1', 'the count is of what may be read');
select is(public.slm_history_days('tasks') ->> 'withheld', '3', 'and the rest is counted apart');
select is(pg_temp.page('task_steps') -> 1 -> 'step_title', 'null', 'a forgotten person''s step is a gap');
select is(pg_temp.page('task_steps') -> 1 ->> 'is_forgotten', 'true', 'that says so');
select is(pg_temp.page('task_risk_snapshots') -> 0 -> 'people', '["00000000-0000-4000-8000-0000000000a1", "00000000-0000-4000-8000-0000000000a2"]', 'a snapshot names the people of its task');
select is(pg_temp.page('slm_requests') -> 0 -> 'people' -> 2, '"00000000-0000-4000-8000-0000000000a3"', 'a request names who asked beside them');
select is(length(pg_temp.page('task_risk_snapshots') -> 0 ->> 'raw_llm_response'), 65537, 'an answer of any size is cut');
select is(length(pg_temp.page('task_risk_snapshots') -> 0 ->> 'elapsed_hours'), 40, 'a number of any length too');
select is(jsonb_array_length(pg_temp.page('task_steps', bytes => 10)), 1, 'a page holds a single row where bytes are short');
select is(pg_temp.ids(pg_temp.page('tasks', null, after_id => '00000000-0000-4000-8000-000000000003')), array['04', '14'], 'a whole table goes by id, undated rows with it');
select is(pg_temp.page('tasks', after_at => '2026-03-05', after_id => '00000000-0000-4000-8000-000000000014'), '[]', 'an empty page is the last');
update public.slm_org_settings set allow_training = false where org_id = '00000000-0000-4000-8000-00000000000a';
select is(public.slm_history_days('tasks') -> 'days', '{}', 'consent that is taken back leaves nothing');

select * from finish();
rollback;
