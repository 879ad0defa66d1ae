-- Earlier tasks that resemble a new one, from the caller's own organisation: one round trip before the model. The app's
-- own lookup has no organisation filter (trap T12), reads % and _ of a title as wildcards, and mixes the phases
-- (contract.md 3.6).

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function public.slm_similar_tasks(p_user_id uuid, p_title text, p_skills text[], p_limit integer default 2)
returns table (title text, steps text[])
language plpgsql stable
security invoker
set search_path = ''
as $$
#variable_conflict use_column
begin
  return query select task.title,
    array_agg(step.step_title order by
      array_position(array['requirement_refiner', 'design_guidance', 'build_guidance', 'acceptance_criteria', 'deployment'], step.stage_id) nulls last,
      step.order_index, step.created_at)
  from public.profiles as profile
  join public.tasks as task on task.org_id = profile.org_id
  join public.task_steps as step on step.task_id = task.id
  where profile.id = p_user_id
    and task.created_at > now() - interval '6 months'
    and (task.skills && p_skills or (length(btrim(p_title)) >= 4 and position(lower(btrim(p_title)) in lower(task.title)) > 0))
  group by task.id
  order by task.created_at desc, task.id
  limit least(greatest(p_limit, 0), 10);
end;
$$;

comment on function public.slm_similar_tasks is
'Titles and steps (in phase order) of at most p_limit recent tasks of a user''s own organisation that share a skill with, or contain the title of, a new task.';

revoke execute on function public.slm_similar_tasks from public, anon, authenticated;
grant execute on function public.slm_similar_tasks to service_role;
