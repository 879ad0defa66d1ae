-- Models: what each was made from, whether it answers, and since when. Promotion and its way back are one transaction each.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists public.slm_models (
  name text not null constraint slm_models_name check (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'),
  feature text not null constraint slm_models_feature check (feature in ('risk', 'plan')),
  created_at timestamptz not null default now(),
  status text not null default 'candidate' constraint slm_models_status check (status in ('candidate', 'active', 'retired', 'refused')),
  run_id uuid,
  dataset_id text,
  base_sha256 text,
  adapter_sha256 text,
  weights_sha256 text,
  quantisation text,
  prompt_version text not null,
  bytes bigint not null,
  artifact text,
  calibration jsonb,
  min_confidence integer not null default 0 constraint slm_models_confidence check (min_confidence between 0 and 100),
  metrics jsonb not null default '{}',
  why text,
  promoted_at timestamptz,
  retired_at timestamptz,
  primary key (name, feature)
);
create unique index if not exists slm_models_one_active on public.slm_models (feature) where status = 'active';
create index if not exists slm_models_by_dataset on public.slm_models (dataset_id);
comment on table public.slm_models is 'One row for each model and feature that it was trained for. The name is what answers carry (_meta.model, slm_requests.model).';
comment on column public.slm_models.status is 'candidate: judged, not put to work; active: answers the feature; retired: did once; refused: see why.';
comment on column public.slm_models.run_id is 'The run that made it (slm_training_runs); kept when that row goes.';
comment on column public.slm_models.dataset_id is 'What it was trained on (slm_datasets); kept when that row goes.';
comment on column public.slm_models.weights_sha256 is 'Of a whole model''s file, where the artifact is one; null for an adapter.';
comment on column public.slm_models.artifact is 'Where its files lie: a folder or a URL with manifest.json.';
comment on column public.slm_models.min_confidence is 'Answers under it go on to the next provider: written into slm_rollouts when the model is promoted.';
comment on column public.slm_models.metrics is 'Verdicts of the gates, with those that were allowed to fail, and the evaluation behind them.';

create or replace function public.slm_register_model(p_run uuid, p_fence bigint, p_model jsonb)
returns text
language plpgsql
security invoker
set search_path = ''
as $$
declare
  told public.slm_models := jsonb_populate_record(null::public.slm_models, p_model);
  known public.slm_models;
begin
  perform public.slm_hold_training_lease(p_run, p_fence);
  select * into known from public.slm_models where name = told.name and feature = told.feature for update;
  if (known.base_sha256, known.adapter_sha256, known.weights_sha256) is distinct from (told.base_sha256, told.adapter_sha256, told.weights_sha256) and known.name is not null then
    raise exception 'another model is called % already', told.name using errcode = 'P0001';
  end if;
  insert into public.slm_models as model (
    name, feature, status, run_id, dataset_id, base_sha256, adapter_sha256, weights_sha256, quantisation, prompt_version, bytes, artifact, calibration, min_confidence, metrics, why
  ) values (
    told.name, told.feature, coalesce(told.status, 'candidate'), p_run, told.dataset_id, told.base_sha256, told.adapter_sha256, told.weights_sha256, told.quantisation, told.prompt_version,
    told.bytes, told.artifact, told.calibration, coalesce(told.min_confidence, 0), coalesce(told.metrics, '{}'), told.why
  )
  on conflict (name, feature) do update set
    status = excluded.status, run_id = excluded.run_id, dataset_id = excluded.dataset_id, artifact = excluded.artifact, calibration = excluded.calibration,
    min_confidence = excluded.min_confidence, metrics = excluded.metrics, why = excluded.why
  where model.status in ('candidate', 'refused');
  return (select status from public.slm_models where name = told.name and feature = told.feature);
end;
$$;
comment on function public.slm_register_model is
'Writes a candidate (or one that a gate refused) before it may answer; returns its status. One that answers or did once stays as it is. Refused (PT409) under a stale fence, and where other files have the name.';

create or replace function public.slm_put_to_work(p_name text, p_feature text)
returns boolean
language plpgsql
security invoker
set search_path = ''
as $$
declare
  wanted public.slm_models;
begin
  perform pg_advisory_xact_lock(hashtextextended('slm_models ' || p_feature, 0));
  select * into wanted from public.slm_models where name = p_name and feature = p_feature for update;
  if wanted.name is null then
    raise exception 'there is no model % for %', p_name, p_feature using errcode = 'P0002';
  elsif wanted.status = 'refused' then
    raise exception 'model % was refused for %: %', p_name, p_feature, wanted.why using errcode = 'P0001';
  elsif wanted.status = 'active' then
    return false;
  end if;
  update public.slm_models set status = 'retired', retired_at = clock_timestamp() where feature = p_feature and status = 'active';
  update public.slm_models set status = 'active', promoted_at = clock_timestamp(), retired_at = null where name = p_name and feature = p_feature;
  update public.slm_rollouts set min_confidence = wanted.min_confidence where feature = p_feature;
  return true;
end;
$$;
comment on function public.slm_put_to_work is 'The model becomes the feature''s active one, the former one is retired, and its least confidence holds from now on: all or nothing. False when it was active already.';

create or replace function public.slm_promote_model(p_run uuid, p_fence bigint, p_name text, p_features text[])
returns text[]
language plpgsql
security invoker
set search_path = ''
as $$
declare
  one text;
  changed text[] := '{}';
begin
  perform public.slm_hold_training_lease(p_run, p_fence);
  foreach one in array (select array_agg(feature order by feature) from unnest(p_features) as feature) loop
    if public.slm_put_to_work(p_name, one) then
      changed := changed || one;
    end if;
  end loop;
  return changed;
end;
$$;
comment on function public.slm_promote_model is 'Puts a candidate to work for all these features at once, or for none. Again: changes nothing. Returns the features whose model changed. Refused (PT409) under a stale fence.';

create or replace function public.slm_refuse_model(p_run uuid, p_fence bigint, p_name text, p_features text[], p_why text)
returns void
language plpgsql
security invoker
set search_path = ''
as $$
begin
  perform public.slm_hold_training_lease(p_run, p_fence);
  update public.slm_models set status = 'refused', why = p_why where name = p_name and feature = any(p_features) and status = 'candidate';
end;
$$;
comment on function public.slm_refuse_model is 'A candidate is not put to work, and why. Refused (PT409) under a stale fence.';

create or replace function public.slm_former_model(p_feature text)
returns text
language sql stable
security invoker
set search_path = ''
as $$
  select former.name from public.slm_models as former
  where former.feature = p_feature and former.status = 'retired'
  order by former.retired_at desc, former.name limit 1;
$$;
comment on function public.slm_former_model is 'The model that answered a feature before the active one; null when there was none.';

create or replace function public.slm_raise_to_shadow(p_feature text, p_by text, p_reason text)
returns text
language plpgsql
security invoker
set search_path = ''
as $$
begin
  perform from public.slm_rollouts where feature = p_feature and stage = 'off' for update;
  if found then
    perform public.slm_set_rollout(p_feature, 'shadow', 0, p_by, p_reason);
  end if;
  return (select stage from public.slm_rollouts where feature = p_feature);
end;
$$;
comment on function public.slm_raise_to_shadow is 'Lets the private model answer unseen where it does not answer at all; a feature that is further stays where it is. Returns the stage.';

alter table public.slm_models enable row level security;
revoke all on public.slm_models from public, anon, authenticated;
grant select, insert, update, delete on public.slm_models to service_role;
revoke execute on function
public.slm_register_model, public.slm_put_to_work, public.slm_promote_model, public.slm_refuse_model, public.slm_former_model, public.slm_raise_to_shadow
from public, anon, authenticated;
grant execute on function
public.slm_register_model, public.slm_put_to_work, public.slm_promote_model, public.slm_refuse_model, public.slm_former_model, public.slm_raise_to_shadow
to service_role;
