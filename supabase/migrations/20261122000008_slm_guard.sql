-- The guard of a rollout: an anytime-valid comparison of the private model with what it replaces. It may be run as often as
-- anybody likes, by pg_cron, a job or a person, and its error rates still hold.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function public.slm_evidence_worse(p_candidate boolean[], p_control boolean[], p_before integer[] default null, p_stock boolean[] default '{}')
returns double precision
language plpgsql immutable
security invoker
set search_path = ''
as $$
declare
  from_stock constant integer := 5;
  deltas constant double precision[] := array[0.03, 0.06, 0.1, 0.2, 0.4];
  log_e double precision[] := array[0, 0, 0, 0, 0];
  most double precision := 0;
  bad double precision := 1;
  seen double precision := 20;
  stock integer := coalesce(cardinality(p_stock), 0);
  used integer := least(200, stock / 2);
  live integer := 0;
  alive integer;
  stocked integer;
  k integer;
  bad_in_block integer;
  theta_a double precision;
  theta_b double precision;
  theta_0 double precision;
  total double precision;
begin
  for i in 1..used loop
    bad := bad + p_stock[i]::integer;
    seen := seen + 1;
  end loop;
  for i in 1..coalesce(cardinality(p_candidate), 0) loop
    stocked := least(from_stock, stock - used);
    alive := (live < least(coalesce(p_before[i], i), coalesce(cardinality(p_control), 0)))::integer;
    live := live + alive;
    k := stocked + alive;
    continue when k = 0;
    bad_in_block := case when alive = 1 then p_control[live]::integer else 0 end;
    for j in used + 1..used + stocked loop
      bad_in_block := bad_in_block + p_stock[j]::integer;
    end loop;
    theta_b := bad / seen;
    total := 0;
    for d in 1..5 loop
      theta_a := least(theta_b + deltas[d], 0.99);
      theta_0 := (theta_a + k * theta_b) / (1 + k);
      log_e[d] := log_e[d]
        + case when p_candidate[i] then ln(theta_a / theta_0) else ln((1 - theta_a) / (1 - theta_0)) end
        + bad_in_block * ln(theta_b / theta_0) + (k - bad_in_block) * ln((1 - theta_b) / (1 - theta_0));
      total := total + exp(greatest(least(log_e[d], 600), -600)) / 5;
    end loop;
    most := greatest(most, ln(total));
    bad := bad + bad_in_block;
    seen := seen + k;
    used := used + stocked;
  end loop;
  return exp(least(most, 600));
end;
$$;
comment on function public.slm_evidence_worse is
'Evidence (an e-value, its highest so far) that the candidate is bad more often than the control. True means bad, all in time order. Each candidate outcome is set against the next control outcome that came before it (p_before: how many had come), if there is one, and, while it lasts, five of the stock: control outcomes from before, of which the first 200 (half of a small stock) only teach the control''s rate. The two-sample e-variables of Turner, Ly and Gruenwald (2021), averaged over five sizes of the difference: where the candidate is no worse, it passes 1/alpha at any time with probability alpha at most (Ville).';

create or replace function public.slm_evidence_above(p_candidate boolean[], p_line double precision)
returns double precision
language plpgsql immutable
security invoker
set search_path = ''
as $$
declare
  deltas constant double precision[] := array[0.03, 0.06, 0.1, 0.2, 0.4];
  log_e double precision[] := array[0, 0, 0, 0, 0];
  most double precision := 0;
  total double precision;
  theta double precision;
begin
  for i in 1..coalesce(cardinality(p_candidate), 0) loop
    total := 0;
    for d in 1..5 loop
      theta := least(p_line + deltas[d], 0.995);
      log_e[d] := log_e[d] + case when p_candidate[i] then ln(theta / p_line) else ln((1 - theta) / (1 - p_line)) end;
      total := total + exp(greatest(least(log_e[d], 600), -600)) / 5;
    end loop;
    most := greatest(most, ln(total));
  end loop;
  return exp(least(most, 600));
end;
$$;
comment on function public.slm_evidence_above is 'Evidence (an e-value, its highest so far) that outcomes are bad more often than p_line, a share between 0 and 1 that was fixed before.';

create or replace function public.slm_evidence_below(p_candidate boolean[], p_line double precision)
returns double precision
language plpgsql immutable
security invoker
set search_path = ''
as $$
declare
  shares constant double precision[] := array[0.1, 0.3, 0.5, 0.7];
  log_e double precision[] := array[0, 0, 0, 0];
  most double precision := 0;
  total double precision;
begin
  for i in 1..coalesce(cardinality(p_candidate), 0) loop
    total := 0;
    for d in 1..4 loop
      log_e[d] := log_e[d] + case when p_candidate[i] then ln(shares[d]) else ln((1 - shares[d] * p_line) / (1 - p_line)) end;
      total := total + exp(greatest(least(log_e[d], 600), -600)) / 4;
    end loop;
    most := greatest(most, ln(total));
  end loop;
  return exp(least(most, 600));
end;
$$;
comment on function public.slm_evidence_below is 'Evidence (an e-value, its highest so far) that outcomes are bad less often than p_line, a share between 0 and 1 that was fixed before.';

create table if not exists public.slm_guard_settings (
  metric text primary key,
  margin double precision not null constraint slm_guard_settings_margin check (margin > 0 and margin < 0.5),
  line double precision not null constraint slm_guard_settings_line check (line > 0 and line < 1)
);
comment on table public.slm_guard_settings is
'What the guard watches. margin: how much more often than the cloud the private model may fail before a stage may end; line: the most that is allowed where there is nothing to compare with.';
insert into public.slm_guard_settings (metric, margin, line) values
('invalid', 0.05, 0.05), ('rejected', 0.05, 0.10), ('fallback', 0.05, 0.15), ('slow', 0.05, 0.10), ('disagrees', 0.05, 0.30)
on conflict do nothing;
alter table public.slm_guard_settings enable row level security;
revoke all on public.slm_guard_settings from public, anon, authenticated;
grant select, insert, update, delete on public.slm_guard_settings to service_role;

create or replace view public.slm_guard_outcomes with (security_invoker = true) as
select
  request.feature, request.created_at, request.id, side.is_candidate, metric.metric,
  case metric.metric
    when 'invalid' then coalesce(side.cause in ('schema', 'invalid_json'), false)
    when 'rejected' then coalesce(side.cause = 'rejected', false)
    when 'fallback' then side.cause is not null
    when 'slow' then side.ms > 10000
    when 'disagrees' then not (request.shadow ->> 'agrees')::boolean
  end as is_bad
from public.slm_requests as request
cross join lateral (
  select true as is_candidate, request.shadow ->> 'cause' as cause, (request.shadow ->> 'ms')::double precision as ms
  where request.shadow is not null
  union all
  select request.arm = 'candidate', request.attempts -> 0 ->> 'cause', (request.attempts -> 0 ->> 'ms')::double precision
  where request.arm in ('candidate', 'current') and jsonb_array_length(request.attempts) > 0
    and coalesce(request.attempts -> 0 ->> 'cause' not in ('over_budget', 'no_key', 'no_names', 'misconfigured'), true)
) as side
cross join (values ('invalid'), ('rejected'), ('fallback'), ('slow'), ('disagrees')) as metric (metric)
where request.status = 'closed' and (metric.metric <> 'disagrees' or (side.is_candidate and request.shadow ? 'agrees'));
comment on view public.slm_guard_outcomes is
'One row for each request, side (candidate: the private model; control: the cloud) and metric. A missing key or spent money is the operator''s, not the cloud model''s, and counts for neither.';
revoke all on public.slm_guard_outcomes from public, anon, authenticated;
grant select on public.slm_guard_outcomes to service_role;

create or replace function public.slm_set_rollout(p_feature text, p_stage text, p_share integer, p_by text, p_reason text, p_pin boolean default null)
returns void
language plpgsql
security invoker
set search_path = ''
as $$
declare
  before public.slm_rollouts;
begin
  select * into before from public.slm_rollouts where feature = p_feature for update;
  if not found then
    raise exception 'There is no feature %', p_feature using errcode = 'P0002';
  end if;
  update public.slm_rollouts set
    stage = p_stage, share = p_share, since = clock_timestamp(), reason = p_reason, guard = '{}', is_pinned = coalesce(p_pin, is_pinned)
  where feature = p_feature;
  insert into public.slm_rollout_events (feature, from_stage, from_share, to_stage, to_share, by, reason)
  values (p_feature, before.stage, before.share, p_stage, p_share, p_by, p_reason);
end;
$$;
comment on function public.slm_set_rollout is 'Moves a feature to a stage and writes down who did it and why.';

create or replace function public.slm_next_stage(p_stage text, p_share integer, out stage text, out share integer)
language sql immutable
security invoker
set search_path = ''
as $$
  select next.stage, next.share from (values
    ('off', 0, 'shadow', 0), ('shadow', 0, 'canary', 1), ('canary', 1, 'canary', 10), ('canary', 10, 'canary', 50), ('canary', 50, 'full', 100)
  ) as next (from_stage, from_share, stage, share)
  where next.from_stage = p_stage and next.from_share = p_share;
$$;
comment on function public.slm_next_stage is 'The stage after this one; null after the last.';

create or replace function public.slm_guard(p_feature text)
returns jsonb
language plpgsql
security invoker
set search_path = ''
as $$
declare
  alpha constant double precision := 0.05;
  stages constant integer := 5;
  enough constant integer := 100;
  rollout public.slm_rollouts;
  setting record;
  watched integer;
  candidate boolean[];
  before integer[];
  control boolean[];
  since timestamptz;
  stock boolean[];
  line double precision;
  worse double precision;
  better double precision;
  alarm text;
  ready boolean := true;
  seen jsonb := '{}';
  fewest integer;
  next record;
  action text := 'none';
  why text;
begin
  select * into rollout from public.slm_rollouts where feature = p_feature for update;
  if not found then
    raise exception 'There is no feature %', p_feature using errcode = 'P0002';
  end if;
  if rollout.is_paused or rollout.stage = 'off' then
    return jsonb_build_object('feature', p_feature, 'stage', rollout.stage, 'share', rollout.share, 'action', 'none',
      'reason', case when rollout.is_paused then 'paused' else 'off' end, 'metrics', '{}'::jsonb);
  end if;
  select count(*) into watched from public.slm_guard_settings;
  -- The last stage has no end: it is watched in weeks, each with an error rate of its own.
  since := case when rollout.stage = 'full'
    then rollout.since + floor(extract(epoch from now() - rollout.since) / 604800) * interval '7 days' else rollout.since end;
  for setting in select * from public.slm_guard_settings order by metric loop
    select coalesce(array_agg(o.is_bad order by o.created_at, o.id), '{}') into candidate
    from (
      select * from public.slm_guard_outcomes as outcome
      where outcome.feature = p_feature and outcome.metric = setting.metric and outcome.is_candidate and outcome.created_at >= since
      order by outcome.created_at, outcome.id limit 20000
    ) as o;
    -- Control outcomes from before the stage are a stock that was fixed when it began.
    select coalesce(array_agg(o.is_bad order by o.created_at, o.id), '{}') into stock
    from (
      select * from public.slm_guard_outcomes as outcome
      where outcome.feature = p_feature and outcome.metric = setting.metric and not outcome.is_candidate
        and outcome.created_at < rollout.since and outcome.created_at >= rollout.since - interval '14 days'
      order by outcome.created_at desc, outcome.id limit 5000
    ) as o;
    select coalesce(array_agg(o.is_bad order by o.created_at, o.id), '{}') into control
    from (
      select * from public.slm_guard_outcomes as outcome
      where outcome.feature = p_feature and outcome.metric = setting.metric and not outcome.is_candidate and outcome.created_at >= since
      order by outcome.created_at, outcome.id limit 20000
    ) as o;
    line := setting.line;
    if cardinality(stock) >= 300 then
      select least(avg(o.is_bad::integer) + setting.margin, 0.9) into line from unnest(stock) as o (is_bad);
    end if;
    -- Where no control runs beside it (all are private, or a metric that only the candidate has), the line stands in for one.
    worse := case
      when setting.metric = 'disagrees' then public.slm_evidence_above(candidate, line)
      when rollout.stage = 'full' then (public.slm_evidence_above(candidate, line) + public.slm_evidence_worse(candidate, null, null, stock)) / 2
      else public.slm_evidence_worse(candidate, control, before, stock)
    end;
    better := public.slm_evidence_below(candidate, line);
    if worse >= watched * stages / alpha and alarm is null then
      alarm := format('%s: %s of %s bad, control %s of %s, evidence %s', setting.metric,
        (select count(*) from unnest(candidate) as o (is_bad) where o.is_bad), cardinality(candidate),
        (select count(*) from unnest(control) as o (is_bad) where o.is_bad), cardinality(control), round(worse::numeric));
    end if;
    if setting.metric <> 'disagrees' or (rollout.stage = 'shadow' and p_feature = 'risk') then
      ready := ready and better >= 1 / alpha;
      fewest := least(fewest, cardinality(candidate));
    end if;
    seen := seen || jsonb_build_object(setting.metric, jsonb_build_object(
      'candidate', cardinality(candidate), 'candidate_bad', (select count(*) from unnest(candidate) as o (is_bad) where o.is_bad),
      'control', cardinality(control), 'control_bad', (select count(*) from unnest(control) as o (is_bad) where o.is_bad),
      'line', round(line::numeric, 4), 'evidence_worse', round(worse::numeric, 3), 'evidence_good', round(better::numeric, 3)
    ));
  end loop;
  select * into next from public.slm_next_stage(rollout.stage, rollout.share);
  if alarm is not null then
    action := 'rolled back';
    why := alarm;
    perform public.slm_set_rollout(p_feature, case when rollout.stage = 'shadow' then 'off' else 'shadow' end, 0, 'guard', why);
  elsif ready and coalesce(fewest, 0) >= enough and not rollout.is_pinned and next.stage is not null then
    action := 'promoted';
    why := format('%s requests, no metric over its line', fewest);
    perform public.slm_set_rollout(p_feature, next.stage, next.share, 'guard', why);
  else
    why := case
      when coalesce(fewest, 0) < enough then format('%s of %s requests', coalesce(fewest, 0), enough)
      when next.stage is null then 'watching'
      when rollout.is_pinned then 'pinned'
      else 'not sure yet'
    end;
    update public.slm_rollouts set guard = jsonb_build_object('at', now(), 'metrics', seen) where feature = p_feature;
  end if;
  return jsonb_build_object('feature', p_feature, 'stage', rollout.stage, 'share', rollout.share, 'action', action, 'reason', why, 'metrics', seen);
end;
$$;
comment on function public.slm_guard is
'Looks at a feature''s rollout once: rolls back when any metric is worse than the control (5 % false alarms at most over a whole rollout, and over each week once it is full, shared by the metrics; it takes requests as independent), promotes when every metric is shown to stay under its line, else waits. Returns what it saw and did.';

revoke execute on function
public.slm_evidence_worse, public.slm_evidence_above, public.slm_evidence_below, public.slm_set_rollout, public.slm_next_stage, public.slm_guard
from public, anon, authenticated;
grant execute on function
public.slm_evidence_worse, public.slm_evidence_above, public.slm_evidence_below, public.slm_set_rollout, public.slm_next_stage, public.slm_guard
to service_role;
