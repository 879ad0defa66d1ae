-- The trainer knows of every row of the history, and sees every change.
begin;
select plan(9);

insert into public.orgs (id, name) values ('00000000-0000-4000-8000-00000000000a', 'A');
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

select * from finish();
rollback;
