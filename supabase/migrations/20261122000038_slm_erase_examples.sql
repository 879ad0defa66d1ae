-- Forgetting a person reaches the datasets: what came from them alone goes, and the datasets that used it are named.

set lock_timeout = '5s';
set statement_timeout = '60s';

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
  gone text[];
begin
  -- Waits for rows that are being written, and makes later ones wait until it can see them coming.
  perform pg_advisory_xact_lock(hashtextextended(p_user_id::text, 0));
  insert into public.slm_erasures (user_id, at) values (p_user_id, clock_timestamp())
  on conflict (user_id) do update set at = excluded.at;
  delete from public.slm_requests where user_id = p_user_id;
  get diagnostics removed = row_count;

  select coalesce(array_agg(distinct source.example_id), '{}') into theirs from public.slm_example_sources as source where source.user_id = p_user_id;
  select coalesce(array_agg(distinct membership.dataset_id order by membership.dataset_id), '{}') into used
  from public.slm_dataset_examples as membership where membership.example_id = any(theirs);
  delete from public.slm_example_sources where user_id = p_user_id;
  select coalesce(array_agg(their.id), '{}') into gone
  from unnest(theirs) as their (id) where not exists (select from public.slm_example_sources as source where source.example_id = their.id);
  update public.slm_datasets as dataset set erased = dataset.erased + lost.examples
  from (select membership.dataset_id, count(*) as examples from public.slm_dataset_examples as membership where membership.example_id = any(gone) group by 1) as lost
  where dataset.id = lost.dataset_id;
  delete from public.slm_examples where id = any(gone);
  return jsonb_build_object('requests', removed, 'examples', cardinality(gone), 'datasets', to_jsonb(used), 'models', '[]'::jsonb);
end;
$$;
comment on function public.slm_erase_user is
'Removes a user''s ledger rows, keeps later ones of requests under way from being written, and removes the examples that came from them alone, with their baseline answers. Names the datasets that used their rows (train again without them). Models: none are recorded in the database yet.';
