-- Training runs: one at a time, by a lease that a dead holder loses; who lost it can write nothing more.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists public.slm_training_runs (
  id uuid primary key default gen_random_uuid(),
  created_at timestamptz not null default now(),
  features text[] not null,
  preset text not null,
  status text not null default 'running' constraint slm_training_runs_status check (status in ('running', 'done', 'refused', 'failed', 'nothing_new')),
  stage text,
  progress jsonb not null default '{}',
  holder text not null,
  fence bigint not null constraint slm_training_runs_fence unique,
  heartbeat_at timestamptz not null default now(),
  lease_until timestamptz not null,
  dataset_ids text[] not null default '{}',
  manifest jsonb not null default '{}',
  why text,
  ended_at timestamptz,
  constraint slm_training_runs_end check ((status = 'running') = (ended_at is null))
);
create unique index if not exists slm_training_runs_one_at_work on public.slm_training_runs ((true)) where status = 'running';
create index if not exists slm_training_runs_by_time on public.slm_training_runs (created_at);
comment on table public.slm_training_runs is 'Runs of the learning loop. At most one is running: its holder says every few seconds that it lives, and shows how far it is.';
comment on column public.slm_training_runs.status is 'running; done: a model was promoted; refused: a gate or the self-test said no, see why; failed: see why; nothing_new: the same data, preset and code as a run that has ended.';
comment on column public.slm_training_runs.progress is 'What the stage at work last said: step, steps, loss, tokens_per_s, at.';
comment on column public.slm_training_runs.holder is 'The process at work: host, process number and a random word.';
comment on column public.slm_training_runs.fence is 'Raised over all earlier ones when a process takes the lease: whatever is written under a lower one is refused.';
comment on column public.slm_training_runs.lease_until is 'From then on another process may take the run over.';
comment on column public.slm_training_runs.manifest is 'What made the model: key (the hash of data, preset, options and code), options, versions, gates, models.';

create or replace function public.slm_take_training_lease(p_holder text, p_features text[], p_preset text, p_lease_s double precision, p_manifest jsonb default '{}')
returns jsonb
language plpgsql
security invoker
set search_path = ''
as $$
declare
  at_work public.slm_training_runs;
  next_fence bigint;
begin
  perform pg_advisory_xact_lock(hashtextextended('slm_training_lease', 0));
  select * into at_work from public.slm_training_runs where status = 'running';
  if at_work.id is not null and at_work.holder <> p_holder and at_work.lease_until > clock_timestamp() then
    return jsonb_build_object('taken', false, 'run', at_work.id, 'holder', at_work.holder, 'stage', at_work.stage, 'heartbeat_at', at_work.heartbeat_at, 'lease_until', at_work.lease_until);
  end if;
  if at_work.holder = p_holder then
    return jsonb_build_object('taken', true, 'run', at_work.id, 'fence', at_work.fence, 'from', null);
  end if;
  select coalesce(max(fence), 0) + 1 into next_fence from public.slm_training_runs;
  if at_work.id is not null and at_work.features = p_features and at_work.preset = p_preset then
    update public.slm_training_runs set
      holder = p_holder, fence = next_fence, heartbeat_at = clock_timestamp(), lease_until = clock_timestamp() + make_interval(secs => p_lease_s),
      manifest = manifest || p_manifest
    where id = at_work.id;
    return jsonb_build_object('taken', true, 'run', at_work.id, 'fence', next_fence, 'from', at_work.holder);
  end if;
  update public.slm_training_runs set status = 'failed', ended_at = clock_timestamp(), why = format('its holder %s died in %s', at_work.holder, coalesce(at_work.stage, 'the beginning'))
  where id = at_work.id;
  insert into public.slm_training_runs (features, preset, holder, fence, heartbeat_at, lease_until, manifest)
  values (p_features, p_preset, p_holder, next_fence, clock_timestamp(), clock_timestamp() + make_interval(secs => p_lease_s), p_manifest)
  returning * into at_work;
  return jsonb_build_object('taken', true, 'run', at_work.id, 'fence', next_fence, 'from', null);
end;
$$;
comment on function public.slm_take_training_lease is
'Gives the one lease to a process, unless another one holds it and lives: then taken is false, and who it is. A dead holder''s run of the same features and preset goes on under a higher fence (from: the dead holder); one of others ends as failed. The same holder again gets what it has.';

create or replace function public.slm_hold_training_lease(p_run uuid, p_fence bigint)
returns void
language plpgsql
security invoker
set search_path = ''
as $$
declare
  run public.slm_training_runs;
begin
  select * into run from public.slm_training_runs where id = p_run for update;
  if run.id is null then
    raise exception 'there is no training run %', p_run using errcode = 'PT409';
  elsif run.fence <> p_fence then
    raise exception 'training run % was taken over by % (fence %, yours is %)', p_run, run.holder, run.fence, p_fence using errcode = 'PT409';
  elsif run.status <> 'running' then
    raise exception 'training run % has ended: %', p_run, run.status using errcode = 'PT409';
  end if;
end;
$$;
comment on function public.slm_hold_training_lease is 'Locks a run until the transaction ends. Refused (PT409) unless the fence is the current one and the run is running: what writes for a run calls this first.';

create or replace function public.slm_beat_training_run(
  p_run uuid, p_fence bigint, p_lease_s double precision, p_stage text default null, p_progress jsonb default null, p_dataset_ids text[] default null, p_manifest jsonb default '{}'
)
returns void
language plpgsql
security invoker
set search_path = ''
as $$
begin
  perform public.slm_hold_training_lease(p_run, p_fence);
  update public.slm_training_runs set
    heartbeat_at = clock_timestamp(), lease_until = clock_timestamp() + make_interval(secs => p_lease_s), stage = coalesce(p_stage, stage),
    progress = coalesce(p_progress, progress), dataset_ids = coalesce(p_dataset_ids, dataset_ids), manifest = manifest || p_manifest
  where id = p_run;
end;
$$;
comment on function public.slm_beat_training_run is 'The holder lives, and is so far. Refused (PT409) when it holds the run no more.';

create or replace function public.slm_finish_training_run(p_run uuid, p_fence bigint, p_status text, p_why text default null, p_manifest jsonb default '{}')
returns void
language plpgsql
security invoker
set search_path = ''
as $$
begin
  if exists (select from public.slm_training_runs where id = p_run and fence = p_fence and status = p_status and p_status <> 'running') then
    return;
  end if;
  perform public.slm_hold_training_lease(p_run, p_fence);
  update public.slm_training_runs set status = p_status, why = p_why, ended_at = clock_timestamp(), heartbeat_at = clock_timestamp(), manifest = manifest || p_manifest where id = p_run;
end;
$$;
comment on function public.slm_finish_training_run is 'Ends a run and gives the lease back. Again: changes nothing. Refused (PT409) when the holder holds the run no more.';

alter table public.slm_training_runs enable row level security;
revoke all on public.slm_training_runs from public, anon, authenticated;
grant select, insert, update, delete on public.slm_training_runs to service_role;
revoke execute on function
public.slm_take_training_lease, public.slm_hold_training_lease, public.slm_beat_training_run, public.slm_finish_training_run
from public, anon, authenticated;
grant execute on function
public.slm_take_training_lease, public.slm_hold_training_lease, public.slm_beat_training_run, public.slm_finish_training_run
to service_role;
