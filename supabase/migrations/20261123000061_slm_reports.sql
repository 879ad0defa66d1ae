-- The operator opens what a dataset is made of, and what an evaluation found: figures alone, kept beside each.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function public.slm_begin_dataset(p_id text, p_feature text, p_splits jsonb, p_manifest jsonb)
returns text
language sql
security invoker
set search_path = ''
as $$
  insert into public.slm_datasets (id, feature, splits, manifest) values (p_id, p_feature, p_splits, p_manifest)
  on conflict (id) do update set manifest = excluded.manifest;
  select dataset.status from public.slm_datasets as dataset where dataset.id = p_id;
$$;
comment on function public.slm_begin_dataset is 'Opens a dataset, or tells how it was made the last time; returns its status: complete when there is nothing left to write.';
comment on column public.slm_datasets.manifest is 'What made it: counts by origin, seeds, versions, leakage report, and the figures of its data report (report). Nothing that anybody wrote: it outlives an erasure.';

create or replace function public.slm_operator_models()
returns jsonb
language plpgsql stable
security definer
set search_path = ''
as $$
declare
  found jsonb := '{"runs": [], "models": [], "evaluations": []}';
  part jsonb;
begin
  perform public.slm_operates();
  -- The trainer's tables come with the trainer: without them there is nothing to show yet.
  if to_regclass('public.slm_training_runs') is not null then
    execute 'select coalesce(jsonb_agg(to_jsonb(run) - ''manifest'' order by run.created_at desc), ''[]'') from (select * from public.slm_training_runs order by created_at desc limit 20) as run' into part;
    found := jsonb_set(found, '{runs}', part);
  end if;
  if to_regclass('public.slm_models') is not null then
    execute 'select coalesce(jsonb_agg(to_jsonb(model) - ''metrics'' || jsonb_build_object(''gates'', model.metrics -> ''gates'') order by model.created_at desc), ''[]'') from (select * from public.slm_models order by created_at desc limit 50) as model' into part;
    found := jsonb_set(found, '{models}', part);
  end if;
  if to_regclass('public.slm_eval_runs') is not null then
    execute $query$
      select coalesce(jsonb_agg(to_jsonb(run) - 'summary' || jsonb_build_object(
        'metrics', run.summary #> '{models,0,metrics}', 'latency', run.summary #> '{models,0,latency}', 'min_confidence', run.summary #> '{confidence,line,min_confidence}'
      ) order by run.created_at desc), '[]')
      from (select * from public.slm_eval_runs order by created_at desc limit 20) as run
    $query$ into part;
    found := jsonb_set(found, '{evaluations}', part);
  end if;
  return found || jsonb_build_object('datasets', (
    select coalesce(jsonb_agg(to_jsonb(dataset) - 'manifest' order by dataset.created_at desc), '[]')
    from (select known.* from public.slm_datasets as known order by known.created_at desc limit 20) as dataset
  ));
end;
$$;
comment on function public.slm_operator_models is
'For an operator: training runs with their progress, models with lineage, evaluations and datasets, the newest first. What the reports of these two hold is slm_operator_report''s.';

create or replace function public.slm_operator_report(p_kind text, p_id text default null)
returns jsonb
language plpgsql stable
security definer
set search_path = ''
as $$
declare
  known jsonb;
  report jsonb;
begin
  perform public.slm_operates();
  if p_kind = 'data' then
    select coalesce(jsonb_agg(jsonb_build_object('id', dataset.id, 'created_at', dataset.created_at, 'feature', dataset.feature) order by dataset.created_at desc, dataset.id), '[]') into known
    from (select one.* from public.slm_datasets as one order by one.created_at desc, one.id limit 20) as dataset;
    select to_jsonb(dataset) into report from public.slm_datasets as dataset where dataset.id = coalesce(p_id, known #>> '{0,id}');
  elsif p_kind = 'evaluation' then
    select coalesce(jsonb_agg(jsonb_build_object('id', run.id, 'created_at', run.created_at, 'feature', run.feature) order by run.created_at desc, run.id), '[]') into known
    from (select one.* from public.slm_eval_runs as one order by one.created_at desc, one.id limit 20) as run;
    select to_jsonb(run) into report from public.slm_eval_runs as run where run.id::text = coalesce(p_id, known #>> '{0,id}');
  else
    raise exception 'There is no report %', p_kind using errcode = '22023';
  end if;
  return jsonb_build_object('known', known, 'report', report);
end;
$$;
comment on function public.slm_operator_report is
'For an operator: one dataset (data) or evaluation with all its figures, the newest where p_id is null, and the newest twenty that there are. Figures alone: the pages that quote examples stay where the trainer wrote them.';

revoke execute on function public.slm_begin_dataset, public.slm_operator_models, public.slm_operator_report from public, anon, authenticated;
grant execute on function public.slm_begin_dataset to service_role;
revoke execute on function public.slm_operator_models, public.slm_operator_report from service_role;
grant execute on function public.slm_operator_models, public.slm_operator_report to authenticated;
