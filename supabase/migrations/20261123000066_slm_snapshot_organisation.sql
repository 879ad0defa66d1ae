-- A task without an organisation keeps its snapshot under every version of the metrics (trap T18): versions 1 to 3 call the app's
-- own function, with p_org_id null, and it writes that into a column that takes none.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function public.slm_snapshot_provenance() returns trigger
language plpgsql
security invoker
set search_path = ''
as $$
begin
  if jsonb_typeof(new.raw_llm_response #> '{_meta,model}') = 'string' then
    new.model_used := new.raw_llm_response #>> '{_meta,model}';
  end if;
  if new.org_id is null then
    select coalesce(task.org_id, profile.org_id) into new.org_id
    from public.tasks as task left join public.profiles as profile on profile.id = task.assigned_to
    where task.id = new.task_id;
  end if;
  return new;
end;
$$;

comment on function public.slm_snapshot_provenance is
'Sets model_used from the answer''s own _meta.model, where there is one, and the organisation, where there is none, from the task or else the person it is assigned to.';

revoke execute on function public.slm_snapshot_provenance from public, anon, authenticated, service_role;
