-- Forgetting a person reaches every example that holds their words or work, not only those of their own ledger rows.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table public.slm_example_sources add column if not exists people uuid[] not null default '{}';
-- squawk-ignore require-concurrent-index-creation -- a table of ours that only the trainer writes, and a transaction that must stay one
create index if not exists slm_example_sources_by_person on public.slm_example_sources using gin (people);
comment on column public.slm_example_sources.people is
'Everybody whose words or work the row holds: who asked, whose task it is and who assigned it, who wrote its steps, and whose earlier tasks served as a guide. Erasing any of them removes the example.';
comment on column public.slm_example_sources.user_id is 'Whose row it was, where the app says so: one of people.';

-- Examples that were written before the column existed: those whom the app still knows.
update public.slm_example_sources as source set people = known.people
from (
  select old.example_id, old.source_table, old.source_id, array_agg(distinct person.id) as people
  from public.slm_example_sources as old
  left join public.tasks as task on task.id = old.task_id
  left join (select step.task_id, array_agg(distinct step.created_by) as people from public.task_steps as step group by 1) as steps on steps.task_id = task.id
  cross join lateral unnest(array[old.user_id, task.assigned_to, task.assigned_by] || coalesce(steps.people, '{}')) as person (id)
  where old.people = '{}' and person.id is not null
  group by 1, 2, 3
) as known
where source.example_id = known.example_id and source.source_table = known.source_table and source.source_id = known.source_id;

create or replace function public.slm_put_examples(p_rows jsonb)
returns void
language plpgsql
security invoker
set search_path = ''
as $$
declare
  involved uuid[];
begin
  -- Who is named by the rows, and whose their tasks are today.
  select coalesce(array_agg(distinct person.id order by person.id), '{}') into involved
  from jsonb_array_elements(p_rows) as line
  cross join lateral jsonb_array_elements(line -> 'sources') as source
  left join public.tasks as task on task.id = (source ->> 'task_id')::uuid
  cross join lateral (
    select unnest(array[(source ->> 'user_id')::uuid, task.assigned_to, task.assigned_by]) as id
    union all select jsonb_array_elements_text(coalesce(source -> 'people', '[]'))::uuid
  ) as person
  where person.id is not null;
  -- Waits for an erasure under way, and lets a later one see these rows.
  perform pg_advisory_xact_lock_shared(hashtextextended(person::text, 0)) from unnest(involved) as person;
  if exists (select from public.slm_erasures as erasure where erasure.user_id = any(involved)) then
    raise exception 'rows of a person who asked to be forgotten are among them (extract again)' using errcode = 'P0001';
  end if;
  insert into public.slm_examples (id, feature, origin, prompt_version, prompt_input, output, seed_id, cell, copies, quality)
  select example.id, example.feature, example.origin, example.prompt_version, example.prompt_input, example.output, example.seed_id, example.cell, example.copies, example.quality
  from jsonb_populate_recordset(null::public.slm_examples, p_rows) as example
  order by example.id
  on conflict (id) do nothing;
  insert into public.slm_example_sources as known (example_id, source_table, source_id, org_id, user_id, task_id, created_at, people)
  select line ->> 'id', source ->> 'table', source ->> 'id', (source ->> 'org_id')::uuid, (source ->> 'user_id')::uuid, (source ->> 'task_id')::uuid, (source ->> 'created_at')::timestamptz,
    array(
      select distinct person.id
      from (select (source ->> 'user_id')::uuid as id union all select jsonb_array_elements_text(coalesce(source -> 'people', '[]'))::uuid) as person
      where person.id is not null order by 1
    )
  from jsonb_array_elements(p_rows) as line, jsonb_array_elements(line -> 'sources') as source
  order by 1, 2, 3
  on conflict (example_id, source_table, source_id) do update
  set people = array(select distinct person.id from unnest(known.people || excluded.people) as person (id) order by 1)
  where not known.people @> excluded.people;
end;
$$;
comment on function public.slm_put_examples is 'Writes examples and the rows they came from; those that are there stay as they are, but for people who are new to a row. Refuses rows that an erased person is involved in.';

create or replace function public.slm_erase_user(p_user_id uuid)
returns jsonb
language plpgsql
security invoker
set search_path = ''
as $$
declare
  removed integer;
  theirs text[];
  used text[];
begin
  -- Waits for rows that are being written, and makes later ones wait until it can see them coming.
  perform pg_advisory_xact_lock(hashtextextended(p_user_id::text, 0));
  insert into public.slm_erasures (user_id, at) values (p_user_id, clock_timestamp())
  on conflict (user_id) do update set at = excluded.at;
  delete from public.slm_requests where user_id = p_user_id;
  get diagnostics removed = row_count;

  select coalesce(array_agg(distinct source.example_id), '{}') into theirs from public.slm_example_sources as source where source.people @> array[p_user_id];
  select coalesce(array_agg(distinct membership.dataset_id order by membership.dataset_id), '{}') into used
  from public.slm_dataset_examples as membership where membership.example_id = any(theirs);
  update public.slm_datasets as dataset set erased = dataset.erased + lost.examples
  from (select membership.dataset_id, count(*) as examples from public.slm_dataset_examples as membership where membership.example_id = any(theirs) group by 1) as lost
  where dataset.id = lost.dataset_id;
  delete from public.slm_examples where id = any(theirs);
  return jsonb_build_object('requests', removed, 'examples', cardinality(theirs), 'datasets', to_jsonb(used), 'models', '[]'::jsonb);
end;
$$;
comment on function public.slm_erase_user is
'Removes a user''s ledger rows, keeps later ones of requests under way from being written, and removes every example that they are involved in, also where others are too, with its baseline answers. Names the datasets that used them (train again without them). Models: none are recorded in the database yet.';

revoke execute on function public.slm_put_examples, public.slm_erase_user from public, anon, authenticated;
grant execute on function public.slm_put_examples, public.slm_erase_user to service_role;
