-- What may train is settled in the database: nothing else of the history reaches the trainer's disk.

set lock_timeout = '5s';
set statement_timeout = '60s';

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
begin
  return case p_relation
    when 'tasks' then tasks
    when 'slm_requests' then format($query$
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
    $query$, tasks)
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

create or replace function public.slm_history_days(p_relation text, p_until timestamptz default null)
returns jsonb
language plpgsql stable
security invoker
set search_path = ''
set statement_timeout = '600s' -- it looks at every row; the REST server applies this before the call
as $$
declare
  dated text := case p_relation when 'task_risk_snapshots' then 'computed_at' else 'created_at' end;
  query text := public.slm_history_query(p_relation);
  until timestamptz := coalesce(p_until, now());
  days jsonb;
  later bigint;
  withheld bigint;
begin
  if query is null then
    raise exception 'Cannot count %: it is no part of the history', p_relation;
  end if;
  -- One value, not rows: the server cuts rows at its limit without a word.
  execute format(
    $query$
      select coalesce(jsonb_object_agg(day.day, jsonb_build_array(day.rows, day.sum)), '{}'), -coalesce(sum(day.rows), 0)
      from (
        select case when row.%1$I between '0001-01-01' and '9999-12-31' then (row.%1$I at time zone 'utc')::date::text else 'undated' end as day,
          count(*) as rows, sum(hashtextextended(row::text, 0))::text as sum
        from (%2$s) as row
        where row.%1$I is null or row.%1$I <= $1
        group by 1
      ) as day
    $query$, dated, query
  ) into days, withheld using until;
  execute format('select $2 + count(*) from public.%I as row where row.%2$I is null or row.%2$I <= $1', p_relation, dated) into withheld using until, withheld;
  execute format('select count(*) from (%s) as row where row.%I > $1', query, dated) into later using until;
  return jsonb_build_object('until', until, 'days', days, 'later', later, 'withheld', withheld);
end;
$$;
comment on function public.slm_history_days is
'For each day (UTC) up to p_until (null: now): how many rows of a table the trainer may read, and a sum over their whole content. It reads the days whose sum has changed, and then knows that it has every row as it is. later: rows dated after that. withheld: rows up to then that it may not read.';

create or replace function public.slm_history_page(
  p_relation text, p_until timestamptz, p_day date default null, p_at timestamptz default null, p_id uuid default null, p_rows integer default 1000, p_bytes integer default 4194304
)
returns jsonb
language plpgsql stable
security invoker
set search_path = ''
set statement_timeout = '600s'
as $$
declare
  dated text := case p_relation when 'task_risk_snapshots' then 'computed_at' else 'created_at' end;
  query text := public.slm_history_query(p_relation);
  wanted text;
  place text;
  page jsonb;
begin
  if query is null then
    raise exception 'Cannot read %: it is no part of the history', p_relation;
  end if;
  if p_day is null then
    place := 'row.id';
    wanted := format('(row.%1$I is null or row.%1$I <= $1) and ($4 is null or row.id > $4)', dated);
  else
    place := format('row.%I, row.id', dated);
    wanted := format(
      $wanted$row.%1$I >= $2::timestamp at time zone 'utc' and row.%1$I < $2::timestamp at time zone 'utc' + interval '1 day' and row.%1$I <= $1 and ($4 is null or (row.%1$I, row.id) > ($3, $4))$wanted$, dated
    );
  end if;
  execute format(
    $query$
      select coalesce(jsonb_agg(sized.body order by sized.number), '[]')
      from (
        select next.number, next.body, sum(octet_length(next.body::text)) over (order by next.number) as bytes
        from (
          select row_number() over (order by %2$s) as number, to_jsonb(row) as body
          from (select row.* from (%1$s) as row where %3$s order by %2$s limit $5) as row
        ) as next
      ) as sized
      where sized.number = 1 or sized.bytes <= $6
    $query$, query, place, wanted
  ) into page using p_until, p_day, p_at, p_id, p_rows, p_bytes;
  return page;
end;
$$;
comment on function public.slm_history_page is
'The next rows of a table of the history that the trainer may read, as one value: the whole table up to p_until by id, or one day of it (UTC) by time and id, behind the row p_at, p_id. At most p_rows, and p_bytes of them but for a single larger row; an empty page is the last.';

revoke execute on function public.slm_history_query, public.slm_history_days, public.slm_history_page from public, anon, authenticated;
grant execute on function public.slm_history_query, public.slm_history_days, public.slm_history_page to service_role;
