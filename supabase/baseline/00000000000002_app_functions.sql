-- The app's own functions that its AI features call (contract.md 3.2, 3.4, 3.6). For local use only: never deployed.
-- Metrics come in version 4, the latest, under the app's own name, and in version 3 under a name of ours for tests.

create function public.local_phase_progress(p_phases jsonb) returns numeric
language sql immutable set search_path = ''
as $$
  select coalesce(
    avg(case when p_phases -> phase ->> 'status' = 'approved' then 1 else 0 end), 0
  )
  from jsonb_array_elements_text(coalesce(p_phases -> 'active_phases', '[]'::jsonb)) as phase
  where phase <> 'closed';
$$;

create function public.rpc_compute_task_risk_metrics(p_task_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  task public.tasks;
  done integer;
  total integer;
  progress numeric;
  elapsed numeric;
  predicted numeric;
  delay numeric := 0;
  level text;
begin
  select * into task from public.tasks where id = p_task_id;
  if not found then
    return null;
  end if;
  select count(*) filter (where status = 'completed'), count(*) into done, total
  from public.task_steps where task_id = p_task_id;
  elapsed := extract(epoch from now() - coalesce(task.started_at, task.created_at)) / 3600;
  progress := case when total > 0 then done::numeric / total else public.local_phase_progress(task.phase_validations) end;
  if task.allocated_hours is not null then
    if progress > 0 then
      predicted := elapsed / progress;
      delay := greatest(0, predicted - task.allocated_hours);
    elsif elapsed > task.allocated_hours then
      delay := elapsed - task.allocated_hours;
    end if;
  end if;
  level := case
    when delay > 2 or (task.allocated_hours is not null and delay > 0.2 * task.allocated_hours) then 'high'
    when delay > 0.5 then 'medium'
    else 'low'
  end;
  return jsonb_build_object(
    'task_id', p_task_id, 'org_id', task.org_id, 'allocated_hours', task.allocated_hours,
    'elapsed_hours', round(elapsed, 2), 'steps_completed', done, 'total_steps', total,
    'progress_ratio', round(progress, 4), 'predicted_delay_hours', round(delay, 2),
    'base_risk_level', level, 'risk_level', level,
    'expected_progress', case when coalesce(task.allocated_hours, 0) > 0 then round(least(1, elapsed / task.allocated_hours), 4) else 0 end,
    'velocity', case when elapsed > 0 then round(progress / elapsed, 3) else round(progress * 1000, 3) end
  );
end;
$$;

create function public.local_compute_task_risk_metrics_v3(p_task_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  task public.tasks;
  done integer;
  total integer;
  progress numeric;
  elapsed numeric;
  predicted numeric;
  delay numeric := 0;
begin
  select * into task from public.tasks where id = p_task_id;
  if not found then
    return null;
  end if;
  select count(*) filter (where status = 'completed'), count(*) into done, total
  from public.task_steps where task_id = p_task_id;
  elapsed := extract(epoch from now() - coalesce(task.started_at, task.created_at)) / 3600;
  progress := case when total > 0 then done::numeric / total else public.local_phase_progress(task.phase_validations) end;
  predicted := case when progress > 0 then elapsed / progress else task.allocated_hours * 1.3 end;
  if task.allocated_hours is null then
    predicted := null;
  else
    delay := greatest(0, predicted - task.allocated_hours);
  end if;
  return jsonb_build_object(
    'task_id', p_task_id, 'org_id', task.org_id, 'allocated_hours', task.allocated_hours,
    'elapsed_hours', round(elapsed, 2), 'steps_completed', done, 'total_steps', total,
    'progress_ratio', round(progress, 2), 'predicted_total_hours', round(predicted, 2),
    'predicted_delay_hours', round(delay, 2), 'is_started', task.started_at is not null,
    'base_risk_level', case
      when delay > 2 or delay > 0.2 * task.allocated_hours then 'high' when delay > 0.5 then 'medium' else 'low'
    end
  );
end;
$$;

create function public.rpc_insert_task_risk_snapshot(
  p_org_id uuid, p_task_id uuid, p_elapsed_hours numeric, p_steps_completed integer, p_total_steps integer,
  p_progress_ratio numeric, p_predicted_total_hours numeric, p_predicted_delay_hours numeric, p_risk_level text,
  p_confidence integer, p_reasons text[], p_actions text[], p_model text, p_raw_response jsonb
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  snapshot uuid;
begin
  insert into public.task_risk_snapshots (
    org_id, task_id, elapsed_hours, steps_completed, total_steps, progress_ratio, predicted_total_hours,
    predicted_delay_hours, risk_level, confidence, reasons, recommended_actions, model_used, raw_llm_response
  ) values (
    p_org_id, p_task_id, p_elapsed_hours, p_steps_completed, p_total_steps, p_progress_ratio, p_predicted_total_hours,
    p_predicted_delay_hours, p_risk_level, p_confidence, p_reasons, p_actions, p_model, p_raw_response
  ) returning id into snapshot;
  if p_risk_level = 'high' then
    insert into public.notifications (receiver_id, type, message, sender_name, org_id)
    select task.assigned_by, 'ai_risk_alert', format('AI ALERT: High risk detected for task "%s".', task.title), 'AI Coach', p_org_id
    from public.tasks as task where task.id = p_task_id and task.assigned_by is not null;
  end if;
  return jsonb_build_object('success', true, 'snapshot_id', snapshot);
end;
$$;

create function public.rpc_get_similar_task_context(p_title text, p_description text, p_skill_tags text[], p_limit integer default 3)
returns table (task_title text, step_titles text[])
language sql security definer set search_path = ''
as $$
  select task.title, array_agg(step.step_title order by step.order_index)
  from public.tasks as task
  join public.task_steps as step on step.task_id = task.id
  where (task.skills && p_skill_tags or task.title ilike '%' || p_title || '%')
    and task.created_at > now() - interval '6 months'
  group by task.id
  order by task.created_at desc
  limit p_limit;
$$;
