-- Repairs two faults of the app's snapshots without touching its own functions (design.md, decision 2).

set lock_timeout = '5s';
set statement_timeout = '60s';

-- The latest metrics no longer hold predicted_total_hours, so the frontend's call lacks that argument and matches no
-- function: no snapshot is saved (trap T1). This overload takes the call without it and works the value out.
create or replace function public.rpc_insert_task_risk_snapshot(
  p_org_id uuid, p_task_id uuid, p_elapsed_hours numeric, p_steps_completed integer, p_total_steps integer,
  p_progress_ratio numeric, p_predicted_delay_hours numeric, p_risk_level text, p_confidence integer,
  p_reasons text[], p_actions text[], p_model text, p_raw_response jsonb
) returns jsonb
language plpgsql
security invoker
set search_path = ''
as $$
declare
  allocated numeric;
  org uuid;
begin
  -- A task without an organisation would lose its snapshot (trap T18): the person it is assigned to has one.
  select task.allocated_hours, coalesce(p_org_id, task.org_id, profile.org_id) into allocated, org
  from public.tasks as task left join public.profiles as profile on profile.id = task.assigned_to
  where task.id = p_task_id;
  return public.rpc_insert_task_risk_snapshot(
    p_org_id => coalesce(org, p_org_id),
    p_task_id => p_task_id,
    p_elapsed_hours => p_elapsed_hours,
    p_steps_completed => p_steps_completed,
    p_total_steps => p_total_steps,
    p_progress_ratio => p_progress_ratio,
    p_predicted_total_hours => case
      when allocated is null then null
      when p_progress_ratio > 0 then round(p_elapsed_hours / p_progress_ratio, 2)
      when p_elapsed_hours <= allocated then allocated
      else p_elapsed_hours + allocated
    end,
    p_predicted_delay_hours => p_predicted_delay_hours,
    p_risk_level => p_risk_level,
    p_confidence => p_confidence,
    p_reasons => p_reasons,
    p_actions => p_actions,
    p_model => p_model,
    p_raw_response => p_raw_response
  );
end;
$$;

comment on function public.rpc_insert_task_risk_snapshot(uuid, uuid, numeric, integer, integer, numeric, numeric, text, integer, text[], text[], text, jsonb) is
'The app''s own function without p_predicted_total_hours, which it works out as version 4 of the metrics does.';

revoke execute on function public.rpc_insert_task_risk_snapshot(uuid, uuid, numeric, integer, integer, numeric, numeric, text, integer, text[], text[], text, jsonb) from public, anon;
grant execute on function public.rpc_insert_task_risk_snapshot(uuid, uuid, numeric, integer, integer, numeric, numeric, text, integer, text[], text[], text, jsonb)
to authenticated, service_role;

-- The frontend writes model_used = 'gpt-4o-mini' as a literal (trap T22). The answer says who really made it.
create or replace function public.slm_snapshot_provenance() returns trigger
language plpgsql
security invoker
set search_path = ''
as $$
begin
  if jsonb_typeof(new.raw_llm_response #> '{_meta,model}') = 'string' then
    new.model_used := new.raw_llm_response #>> '{_meta,model}';
  end if;
  return new;
end;
$$;

comment on function public.slm_snapshot_provenance is 'Sets model_used from the answer''s own _meta.model, where there is one.';

revoke execute on function public.slm_snapshot_provenance from public, anon, authenticated, service_role;

create or replace trigger slm_snapshot_provenance before insert on public.task_risk_snapshots
for each row execute function public.slm_snapshot_provenance();
