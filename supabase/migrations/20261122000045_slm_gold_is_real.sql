-- The gold set is frozen from the history only, keeps its near-duplicate clusters, and is shown to a cloud model only where somebody allows it.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table public.slm_examples add column if not exists cluster text;
comment on column public.slm_examples.cluster is 'The first example of its near duplicates, as the dataset that was written last has it; it may be in no dataset itself.';

create or replace function public.slm_put_clusters(p_rows jsonb)
returns void
language sql
security invoker
set search_path = ''
as $$
  update public.slm_examples as example set cluster = line ->> 'cluster'
  from jsonb_array_elements(p_rows) as line
  where example.id = line ->> 'id' and example.cluster is distinct from line ->> 'cluster';
$$;
comment on function public.slm_put_clusters is 'Notes the clusters of examples that are there.';

-- Earlier versions froze made-up examples where there was no history yet.
delete from public.slm_gold as gold using public.slm_examples as example
where example.id = gold.example_id and example.origin in ('teacher', 'template');

create or replace function public.slm_write_dataset(p_id text, p_rows jsonb)
returns void
language plpgsql
security invoker
set search_path = ''
as $$
begin
  perform public.slm_put_examples(p_rows);
  perform public.slm_put_clusters(p_rows);
  insert into public.slm_dataset_examples (dataset_id, example_id, split)
  select p_id, line ->> 'id', line ->> 'split' from jsonb_array_elements(p_rows) as line order by 2
  on conflict do nothing;
end;
$$;
comment on function public.slm_write_dataset is 'Writes a batch of a dataset''s examples: all of it or nothing; again: adds sources that are new, changes nothing else.';

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
  if exists (select from jsonb_array_elements(p_rows) as line where line ->> 'origin' in ('teacher', 'template')) then
    raise exception 'made-up examples are among them (gold is frozen from the history)' using errcode = 'P0001';
  end if;
  if exists (
    select from public.slm_gold as gold
    where gold.feature = p_feature and not exists (select from jsonb_array_elements(p_rows) as line where line ->> 'id' = gold.example_id)
  ) then
    raise exception 'another gold set is frozen already (remove the local gold file to take that one)' using errcode = 'P0001';
  end if;
  if not exists (select from public.slm_gold as gold where gold.feature = p_feature) then
    perform public.slm_put_examples(p_rows);
    perform public.slm_put_clusters(p_rows);
    insert into public.slm_gold (example_id, feature) select line ->> 'id', p_feature from jsonb_array_elements(p_rows) as line;
  end if;
  select count(*) into frozen from public.slm_gold as gold where gold.feature = p_feature;
  return frozen;
end;
$$;
comment on function public.slm_freeze_gold is
'Freezes a feature''s gold set, once; the same again changes nothing, another one and made-up examples are refused. Returns how many examples it holds (fewer than were frozen after an erasure).';

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
      where source.example_id = example.id and not coalesce((
        select settings.allow_cloud from public.slm_org_settings as settings
        where settings.org_id = source.org_id or settings.org_id is null order by settings.org_id nulls last limit 1
      ), false)
    ),
    'row', jsonb_build_object(
      'id', example.id, 'feature', example.feature, 'origin', example.origin, 'prompt_version', example.prompt_version, 'prompt_input', example.prompt_input,
      'output', example.output, 'seed_id', example.seed_id, 'cell', example.cell, 'copies', example.copies, 'cluster', example.cluster, 'quality', example.quality,
      'sources', (
        select coalesce(jsonb_agg(
          to_jsonb(source) - 'example_id' - 'source_table' - 'source_id' || jsonb_build_object(
            'table', source.source_table, 'id', source.source_id, 'created_at', to_char(source.created_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
          ) order by source.source_table, source.source_id
        ), '[]')
        from public.slm_example_sources as source where source.example_id = example.id
      )
    )
  ) order by example.id), '[]')
  from public.slm_gold as gold join public.slm_examples as example on example.id = gold.example_id
  where gold.feature = p_feature;
$$;

revoke execute on function public.slm_put_clusters from public, anon, authenticated;
grant execute on function public.slm_put_clusters to service_role;
