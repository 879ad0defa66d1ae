-- What people said of answers is part of the history: the trainer reads it under the rules of every other table.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace view public.slm_human_answers with (security_invoker = true) as
select md5(item.id::text || ' ' || good.which)::uuid as id, said.at as created_at, item.org_id, request.user_id, request.task_id, item.feature, item.prompt_input, request.prompt_version,
  request.id as request_id, good.output, good.how, said.reviewers
from public.slm_review_items as item
join public.slm_review_state as state on state.item_id = item.id
join public.slm_requests as request on item.source_table = 'slm_requests' and request.id::text = item.source_id
cross join lateral (
  select max(review.created_at) as at, array_agg(review.reviewer order by review.reviewer) as reviewers,
    (array_agg(review.corrected order by review.created_at desc, review.id) filter (where review.corrected is not null))[1] as corrected
  from public.slm_reviews as review where review.item_id = item.id and review.undone_at is null and review.verdict <> 'skip'
) as said
cross join lateral (
  select 'corrected' as which, 'corrected' as how, said.corrected as output where said.corrected is not null
  union all
  select shown.which, 'agreed', shown.output
  from (values ('first', item.first_output), ('second', item.second_output)) as shown (which, output)
  where said.corrected is null and state.verdict in (shown.which, 'both_good')
) as good
where state.is_settled and not item.is_gold and item.prompt_input is not null;
comment on view public.slm_human_answers is
'The good answers of each settled pair of the ledger: as a reviewer corrected it (the latest), else the one that at least two people preferred, or both where they found both good. Pairs that were planted, and those of evaluations, are never among them.';

create or replace function public.slm_history_query(p_relation text)
returns text
language plpgsql immutable
security invoker
set search_path = ''
as $$
declare
  -- Anybody may have written any text or number: JSON and figures go as text, cut where longer ones are worth nothing.
  tasks constant text := $query$
    select task.id, task.created_at, task.started_at, task.org_id, left(task.title, 4000) as title, left(task.description, 65537) as description,
      left(to_jsonb(task.skills)::text, 65537) as skills, task.allocated_hours::text, left(task.ai_metadata::text, 65537) as ai_metadata,
      array_remove(array[task.assigned_to, task.assigned_by], null) as people
    from public.tasks as task
    left join public.slm_org_settings as own on own.org_id = task.org_id
    left join public.slm_org_settings as common on common.org_id is null
    where coalesce(own.allow_training, common.allow_training, false)
      and not exists (select from public.slm_erasures as erasure where erasure.user_id = task.assigned_to)
      and not exists (select from public.slm_erasures as erasure where erasure.user_id = task.assigned_by)
  $query$;
  requests constant text := format($query$
    select request.id, request.created_at, request.org_id, request.user_id, request.task_id, request.feature, left(request.prompt_input::text, 65537) as prompt_input,
      left(request.output::text, 65537) as output, request.provider, left(request.model, 4000) as model, left(request.prompt_version, 4000) as prompt_version, request.status,
      array_append(coalesce(task.people, '{}'), request.user_id) as people
    from public.slm_requests as request
    left join public.slm_org_settings as own on own.org_id = request.org_id
    left join public.slm_org_settings as common on common.org_id is null
    left join public.tasks as named on named.id = request.task_id
    left join (%s) as task on task.id = request.task_id
    where coalesce(own.allow_training, common.allow_training, false)
      and (named.id is null or task.id is not null)
      and not exists (select from public.slm_erasures as erasure where erasure.user_id = request.user_id)
  $query$, tasks);
begin
  return case p_relation
    when 'tasks' then tasks
    when 'slm_requests' then requests
    -- Whoever may not be learned from as a request may not be as what people said of its answers.
    when 'slm_human_answers' then format($query$
      select answer.id, answer.created_at, answer.org_id, item.id as item_id, answer.request_id, answer.feature, left(answer.output::text, 65537) as output, answer.how,
        array_remove(array_append(request.people, writer.reviewer), null) as people
      from public.slm_human_answers as answer
      join (%s) as request on request.id = answer.request_id
      join public.slm_review_items as item on item.source_table = 'slm_requests' and item.source_id = answer.request_id::text and not item.is_gold
      left join lateral (
        select review.reviewer from public.slm_reviews as review
        where review.item_id = item.id and review.undone_at is null and review.verdict <> 'skip' and review.corrected is not null
        order by review.created_at desc, review.id limit 1
      ) as writer on answer.how = 'corrected'
      where not exists (select from public.slm_erasures as erasure where erasure.user_id = writer.reviewer)
    $query$, requests)
    -- A step that a forgotten person wrote stays as a gap: the plan around it is not whole.
    when 'task_steps' then format($query$
      select step.id, step.created_at, step.org_id, step.task_id, left(step.stage_id, 4000) as stage_id,
        case when erasure.user_id is null then left(step.step_title, 4000) end as step_title, step.order_index, left(step.estimated_hours::text, 40) as estimated_hours,
        left(step.created_by_role, 4000) as created_by_role, case when erasure.user_id is null then array_remove(array[step.created_by], null) else '{}' end as people,
        erasure.user_id is not null as is_forgotten
      from public.task_steps as step
      join (%s) as task on task.id = step.task_id
      left join public.slm_org_settings as own on own.org_id = step.org_id
      left join public.slm_org_settings as common on common.org_id is null
      left join public.slm_erasures as erasure on erasure.user_id = step.created_by
      where coalesce(own.allow_training, common.allow_training, false)
    $query$, tasks)
    when 'task_risk_snapshots' then format($query$
      select snapshot.id, snapshot.computed_at, snapshot.org_id, snapshot.task_id, left(snapshot.elapsed_hours::text, 40) as elapsed_hours, snapshot.steps_completed, snapshot.total_steps,
        left(snapshot.progress_ratio::text, 40) as progress_ratio, left(snapshot.predicted_total_hours::text, 40) as predicted_total_hours,
        left(snapshot.predicted_delay_hours::text, 40) as predicted_delay_hours, left(snapshot.risk_level, 4000) as risk_level, left(to_jsonb(snapshot.reasons)::text, 65537) as reasons,
        left(to_jsonb(snapshot.recommended_actions)::text, 65537) as recommended_actions, left(snapshot.model_used, 4000) as model_used,
        left(snapshot.raw_llm_response::text, 65537) as raw_llm_response, task.people
      from public.task_risk_snapshots as snapshot
      join (%s) as task on task.id = snapshot.task_id
      left join public.slm_org_settings as own on own.org_id = snapshot.org_id
      left join public.slm_org_settings as common on common.org_id is null
      where coalesce(own.allow_training, common.allow_training, false)
    $query$, tasks)
  end;
end;
$$;
comment on function public.slm_history_query is
'The query of what the trainer may read of a table of the history: rows of organisations that let their history train, about tasks of theirs, without anybody who asked to be forgotten; people are those involved. Null: the table is no part of the history. Text, because a view would keep the app from changing its own columns.';

revoke execute on function public.slm_history_query from public, anon, authenticated;
grant execute on function public.slm_history_query to service_role;
