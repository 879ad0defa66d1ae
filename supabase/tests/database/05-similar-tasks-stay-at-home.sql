-- Similar tasks come from one organisation only, in lifecycle order, and a title is text, not a pattern (trap T12).
begin;
select plan(9);

insert into public.orgs (id, name) values ('00000000-0000-4000-8000-00000000000a', 'A'), ('00000000-0000-4000-8000-00000000000b', 'B');
insert into public.profiles (id, org_id) values ('00000000-0000-4000-8000-0000000000aa', '00000000-0000-4000-8000-00000000000a'), ('00000000-0000-4000-8000-0000000000bb', '00000000-0000-4000-8000-00000000000b');
insert into public.tasks (id, title, org_id, skills, created_at) values
  ('00000000-0000-4000-8000-000000000001', 'Career page', '00000000-0000-4000-8000-00000000000a', '{React}', now() - interval '1 day'),
  ('00000000-0000-4000-8000-000000000002', 'Secret of B', '00000000-0000-4000-8000-00000000000b', '{React}', now()),
  ('00000000-0000-4000-8000-000000000003', '100% coverage', '00000000-0000-4000-8000-00000000000a', '{}', now()),
  ('00000000-0000-4000-8000-000000000004', 'Old page', '00000000-0000-4000-8000-00000000000a', '{React}', now() - interval '7 months'),
  ('00000000-0000-4000-8000-000000000005', 'No steps', '00000000-0000-4000-8000-00000000000a', '{React}', now());
insert into public.task_steps (org_id, task_id, stage_id, step_title, order_index) values
  ('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-000000000001', 'deployment', 'Release', 0),
  ('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-000000000001', 'build_guidance', 'Build two', 1),
  ('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-000000000001', 'build_guidance', 'Build one', 0),
  ('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-000000000001', 'odd_phase', 'Odd', 0),
  ('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-000000000001', 'requirement_refiner', 'Ask', 0),
  ('00000000-0000-4000-8000-00000000000b', '00000000-0000-4000-8000-000000000002', 'build_guidance', 'Secret step', 0),
  ('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-000000000003', 'build_guidance', 'Cover', 0),
  ('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-000000000004', 'build_guidance', 'Long ago', 0);

create function pg_temp.found(p_title text, p_skills text[], p_user uuid default '00000000-0000-4000-8000-0000000000aa') returns text
language sql as $$ select string_agg(title, ', ' order by title) from public.slm_similar_tasks(p_user, p_title, p_skills, 9) $$;

select is(pg_temp.found('New', '{React}'), 'Career page', 'a shared skill finds recent tasks with steps of the own organisation');
select is(pg_temp.found('New', '{React}', '00000000-0000-4000-8000-0000000000bb'), 'Secret of B', 'a user of the other organisation finds its own');
select is(pg_temp.found('New', '{React}', '00000000-0000-4000-8000-0000000000cc'), null, 'a user without a profile finds nothing');
select is(pg_temp.found('career PAGE', '{}'), 'Career page', 'a title is found whatever its case');
select is(pg_temp.found('%', '{}'), null, 'a percent sign is no wildcard');
select is(pg_temp.found('____', '{}'), null, 'an underscore is no wildcard');
select is(pg_temp.found('100% c', '{}'), '100% coverage', 'a percent sign finds itself');
select is(
  (select steps from public.slm_similar_tasks('00000000-0000-4000-8000-0000000000aa', 'New', '{React}')),
  array['Ask', 'Build one', 'Build two', 'Release', 'Odd'], 'steps come in lifecycle order, unknown phases last');
select is((select count(*) from public.slm_similar_tasks('00000000-0000-4000-8000-0000000000aa', 'page', '{React}', 0)), 0::bigint, 'a limit of none finds none');

select * from finish();
rollback;
