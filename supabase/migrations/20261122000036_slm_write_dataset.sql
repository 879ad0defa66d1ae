-- How the trainer writes a dataset: in batches, each one transaction, all of them repeatable.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function public.slm_put_examples(p_rows jsonb)
returns void
language plpgsql
security invoker
set search_path = ''
as $$
begin
  -- Waits for an erasure under way, and lets a later one see these rows.
  perform pg_advisory_xact_lock_shared(hashtextextended(person.id, 0))
  from (select distinct source ->> 'user_id' as id from jsonb_array_elements(p_rows) as line, jsonb_array_elements(line -> 'sources') as source order by 1) as person
  where person.id is not null;
  if exists (
    select from jsonb_array_elements(p_rows) as line, jsonb_array_elements(line -> 'sources') as source
    join public.slm_erasures as erasure on erasure.user_id = (source ->> 'user_id')::uuid
  ) then
    raise exception 'rows of a person who asked to be forgotten are among them (extract again)' using errcode = 'P0001';
  end if;
  insert into public.slm_examples (id, feature, origin, prompt_version, prompt_input, output, seed_id, cell, copies, quality)
  select example.id, example.feature, example.origin, example.prompt_version, example.prompt_input, example.output, example.seed_id, example.cell, example.copies, example.quality
  from jsonb_populate_recordset(null::public.slm_examples, p_rows) as example
  order by example.id
  on conflict (id) do nothing;
  insert into public.slm_example_sources (example_id, source_table, source_id, org_id, user_id, task_id, created_at)
  select line ->> 'id', source ->> 'table', source ->> 'id', (source ->> 'org_id')::uuid, (source ->> 'user_id')::uuid, (source ->> 'task_id')::uuid, (source ->> 'created_at')::timestamptz
  from jsonb_array_elements(p_rows) as line, jsonb_array_elements(line -> 'sources') as source
  order by 1, 2, 3
  on conflict do nothing;
end;
$$;
comment on function public.slm_put_examples is 'Writes examples and the rows they came from; those that are there stay as they are. Refuses rows of erased people.';

create or replace function public.slm_begin_dataset(p_id text, p_feature text, p_splits jsonb, p_manifest jsonb)
returns text
language sql
security invoker
set search_path = ''
as $$
  insert into public.slm_datasets (id, feature, splits, manifest) values (p_id, p_feature, p_splits, p_manifest) on conflict (id) do nothing;
  select dataset.status from public.slm_datasets as dataset where dataset.id = p_id;
$$;
comment on function public.slm_begin_dataset is 'Opens a dataset; returns its status: complete when there is nothing left to write.';

create or replace function public.slm_write_dataset(p_id text, p_rows jsonb)
returns void
language plpgsql
security invoker
set search_path = ''
as $$
begin
  perform public.slm_put_examples(p_rows);
  insert into public.slm_dataset_examples (dataset_id, example_id, split)
  select p_id, line ->> 'id', line ->> 'split' from jsonb_array_elements(p_rows) as line order by 2
  on conflict do nothing;
end;
$$;
comment on function public.slm_write_dataset is 'Writes a batch of a dataset''s examples: all of it or nothing; again: changes nothing.';

create or replace function public.slm_finish_dataset(p_id text)
returns jsonb
language plpgsql
security invoker
set search_path = ''
as $$
declare
  found jsonb;
  wanted jsonb;
begin
  select coalesce(jsonb_object_agg(counted.split, counted.rows), '{}') into found
  from (select membership.split, count(*) as rows from public.slm_dataset_examples as membership where membership.dataset_id = p_id group by 1) as counted;
  select coalesce(jsonb_object_agg(split.key, split.value) filter (where split.value <> '0'::jsonb), '{}') into wanted
  from public.slm_datasets as dataset, jsonb_each(dataset.splits) as split where dataset.id = p_id;
  if found <> wanted then
    raise exception 'it holds % examples, not %', found, wanted using errcode = 'P0001';
  end if;
  update public.slm_datasets set status = 'complete' where id = p_id;
  return found;
end;
$$;
comment on function public.slm_finish_dataset is 'Marks a dataset as complete once it holds what the trainer counted.';

create or replace function public.slm_freeze_gold(p_feature text, p_rows jsonb)
returns integer
language plpgsql
security invoker
set search_path = ''
as $$
declare
  frozen integer;
begin
  perform pg_advisory_xact_lock(hashtextextended('slm_gold ' || p_feature, 0));
  if exists (
    select from public.slm_gold as gold
    where gold.feature = p_feature and not exists (select from jsonb_array_elements(p_rows) as line where line ->> 'id' = gold.example_id)
  ) then
    raise exception 'another gold set is frozen already (remove the local gold file to take that one)' using errcode = 'P0001';
  end if;
  if not exists (select from public.slm_gold as gold where gold.feature = p_feature) then
    perform public.slm_put_examples(p_rows);
    insert into public.slm_gold (example_id, feature) select line ->> 'id', p_feature from jsonb_array_elements(p_rows) as line;
  end if;
  select count(*) into frozen from public.slm_gold as gold where gold.feature = p_feature;
  return frozen;
end;
$$;
comment on function public.slm_freeze_gold is 'Freezes a feature''s gold set, once; the same again changes nothing, another one is refused. Returns how many examples it holds (fewer than were frozen after an erasure).';

create or replace function public.slm_gold_rows(p_feature text)
returns jsonb
language sql stable
security invoker
set search_path = ''
as $$
  -- One value, not rows: the server cuts rows at its limit without a word.
  select coalesce(jsonb_agg(jsonb_build_object(
    'allow_cloud', not exists (
      select from public.slm_example_sources as source
      where source.example_id = example.id and not (
        select settings.allow_cloud from public.slm_org_settings as settings
        where settings.org_id = source.org_id or settings.org_id is null order by settings.org_id nulls last limit 1
      )
    ),
    'row', jsonb_build_object(
      'id', example.id, 'feature', example.feature, 'origin', example.origin, 'prompt_version', example.prompt_version, 'prompt_input', example.prompt_input,
      'output', example.output, 'seed_id', example.seed_id, 'cell', example.cell, 'copies', example.copies, 'quality', example.quality,
      'sources', (
        select coalesce(jsonb_agg(jsonb_build_object(
          'table', source.source_table, 'id', source.source_id, 'org_id', source.org_id, 'user_id', source.user_id, 'task_id', source.task_id,
          'created_at', to_char(source.created_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        ) order by source.source_table, source.source_id), '[]')
        from public.slm_example_sources as source where source.example_id = example.id
      )
    )
  ) order by example.id), '[]')
  from public.slm_gold as gold join public.slm_examples as example on example.id = gold.example_id
  where gold.feature = p_feature;
$$;
comment on function public.slm_gold_rows is 'The frozen gold set of a feature, as the trainer''s rows, and for each whether all organisations that it came from allow a cloud model to see it.';

revoke execute on function
public.slm_put_examples, public.slm_begin_dataset, public.slm_write_dataset, public.slm_finish_dataset, public.slm_freeze_gold, public.slm_gold_rows
from public, anon, authenticated;
grant execute on function
public.slm_put_examples, public.slm_begin_dataset, public.slm_write_dataset, public.slm_finish_dataset, public.slm_freeze_gold, public.slm_gold_rows
to service_role;
