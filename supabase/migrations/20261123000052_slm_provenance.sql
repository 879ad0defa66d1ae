-- Provenance: from a served answer back to every row that trained the model, from a row forward to every model and answer.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- squawk-ignore require-concurrent-index-creation -- the ledger is young, and a transaction must stay one
create index if not exists slm_requests_by_model on public.slm_requests (feature, model);

create or replace view public.slm_model_lineage with (security_invoker = true) as
select
  model.name as model, model.feature, model.status, model.run_id, model.dataset_id, model.promoted_at, model.retired_at,
  lineage.split, lineage.example_id, lineage.origin, lineage.source_table, lineage.source_id, lineage.org_id, lineage.user_id, lineage.task_id
from public.slm_models as model
left join public.slm_lineage as lineage on lineage.dataset_id = model.dataset_id;
comment on view public.slm_model_lineage is
'From a row of the app (source_table, source_id) to every model that was made with it, and from a model to its rows. split says for what: train is what it learned from, the others judged it.';

create or replace view public.slm_answer_lineage with (security_invoker = true) as
select request.id as request_id, request.created_at as answered_at, lineage.*
from public.slm_requests as request
join public.slm_model_lineage as lineage on lineage.model = request.model and lineage.feature = request.feature
where request.provider = 'slm';
comment on view public.slm_answer_lineage is
'From an answer (request_id: _meta.request_id or ai_metadata.request_id in the app) back to every row that its model was trained on and judged by.';

revoke all on public.slm_model_lineage, public.slm_answer_lineage from public, anon, authenticated;
grant select on public.slm_model_lineage, public.slm_answer_lineage to service_role;

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
  made text[];
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
  select coalesce(array_agg(distinct model.name order by model.name), '{}') into made
  from public.slm_models as model
  where exists (
    select from public.slm_dataset_examples as membership
    where membership.dataset_id = model.dataset_id and membership.split in ('train', 'validation') and membership.example_id = any(theirs)
  );
  update public.slm_datasets as dataset set erased = dataset.erased + lost.examples
  from (select membership.dataset_id, count(*) as examples from public.slm_dataset_examples as membership where membership.example_id = any(theirs) group by 1) as lost
  where dataset.id = lost.dataset_id;
  delete from public.slm_examples where id = any(theirs);
  return jsonb_build_object('requests', removed, 'examples', cardinality(theirs), 'datasets', to_jsonb(used), 'models', to_jsonb(made));
end;
$$;
comment on function public.slm_erase_user is
'Removes a user''s ledger rows, keeps later ones of requests under way from being written, and removes every example that they are involved in, also where others are too, with its baseline answers. Names the datasets that used them and the models that were trained on those (train again without them).';

revoke execute on function public.slm_erase_user from public, anon, authenticated;
grant execute on function public.slm_erase_user to service_role;
