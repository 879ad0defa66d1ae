-- What the guard has seen belongs to the model it saw, a private model that nobody can reach is one that fails, and the way
-- back leads past a model that was left already.

set lock_timeout = '5s';
set statement_timeout = '60s';

comment on column public.slm_rollouts.since is 'When the stage began or, if that is later, when its model was put to work: the guard counts from then on.';

-- Once only: what was put to work before the column existed has the one that was retired at that moment, or else the one made before it.
do $$
begin
  if not exists (select from pg_catalog.pg_attribute where attrelid = 'public.slm_models'::regclass and attname = 'former') then
    alter table public.slm_models add column former text;
    update public.slm_models as model set former = (
      select other.name from public.slm_models as other
      where other.feature = model.feature and other.promoted_at is not null and (other.created_at, other.name) < (model.created_at, model.name)
      order by coalesce(other.retired_at between model.promoted_at - interval '1 second' and model.promoted_at, false) desc, other.created_at desc, other.name desc
      limit 1
    )
    where model.promoted_at is not null;
  end if;
end;
$$;
comment on column public.slm_models.former is 'The model that answered the feature when this one was first put to work: going back from this one leads there. Null: none did.';
comment on column public.slm_models.promoted_at is 'Since when it answers, or last did: going back to a model begins anew.';

create or replace function public.slm_put_to_work(p_name text, p_feature text)
returns boolean
language plpgsql
security invoker
set search_path = ''
as $$
declare
  wanted public.slm_models;
  left_behind text;
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
  update public.slm_models set status = 'retired', retired_at = clock_timestamp() where feature = p_feature and status = 'active' returning name into left_behind;
  update public.slm_models set
    status = 'active', former = case when wanted.promoted_at is null then left_behind else former end, promoted_at = clock_timestamp(), retired_at = null
  where name = p_name and feature = p_feature;
  -- What the guard has seen is the other model's: this one shows for itself that it may stay, and go on.
  with moved as (
    update public.slm_rollouts set min_confidence = wanted.min_confidence, since = clock_timestamp(), guard = '{}' where feature = p_feature
    returning feature, stage, share
  )
  insert into public.slm_rollout_events (feature, from_stage, from_share, to_stage, to_share, by, reason)
  select moved.feature, moved.stage, moved.share, moved.stage, moved.share, 'trainer',
    format('model %s is put to work%s: the guard counts anew', p_name, coalesce(' in place of ' || left_behind, ''))
  from moved;
  return true;
end;
$$;
comment on function public.slm_put_to_work is
'The model becomes the feature''s active one, the former one is retired, its least confidence holds from now on, and the guard counts anew in the same stage: all or nothing. False when it was active already.';

create or replace function public.slm_former_model(p_feature text)
returns text
language sql stable
security invoker
set search_path = ''
as $$
  select former.name from public.slm_models as active
  join public.slm_models as former on former.name = active.former and former.feature = active.feature
  where active.feature = p_feature and active.status = 'active' and former.status = 'retired';
$$;
comment on function public.slm_former_model is
'The model that answered a feature when the active one was first put to work; null when there was none. Gone back to, a model leads further back, never to the one that was left.';

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
    and (request.arm = 'candidate' or coalesce(request.attempts -> 0 ->> 'cause' not in ('over_budget', 'no_key', 'no_names', 'misconfigured'), true))
) as side
cross join (values ('invalid'), ('rejected'), ('fallback'), ('slow'), ('disagrees')) as metric (metric)
where request.status = 'closed' and (metric.metric <> 'disagrees' or (side.is_candidate and request.shadow ? 'agrees'));
comment on view public.slm_guard_outcomes is
'One row for each request, side (candidate: the private model; control: the cloud) and metric. A missing or wrong key or spent money is the operator''s, not the cloud model''s, and does not count for it; a private model that cannot be reached has not answered.';

create or replace view public.slm_warnings with (security_invoker = true) as
with today as (
  select (now() at time zone 'utc')::date as day
), enabled as (
  select provider.*, provider.starts_on <= today.day and (provider.ends_on is null or provider.ends_on > today.day) as in_date,
    exists (
      select from public.slm_prices as price where price.model = coalesce(provider.priced_as, provider.model) and price.valid_from <= greatest(today.day, provider.starts_on)
    ) as has_price
  from public.slm_providers as provider cross join today where provider.is_enabled
)
select 1 as rank, format('%s ended on %s: it is not asked any more', enabled.name, enabled.ends_on) as warning
from enabled cross join today where enabled.ends_on <= today.day
union all
select 2, format('%s ends on %s, in %s days', enabled.name, enabled.ends_on, enabled.ends_on - today.day)
from enabled cross join today where enabled.ends_on > today.day and enabled.ends_on <= today.day + 60
union all
select 3, format('%s has no price in slm_prices: it is not asked, because its spending could not be capped', enabled.name)
from enabled cross join today where not enabled.has_price and (enabled.ends_on is null or enabled.ends_on > today.day)
union all
select 0, 'no cloud model is in date: organisations that allow the cloud get the private model and rules only'
where not exists (select from enabled where enabled.in_date and enabled.has_price)
union all
select 0, format('the private model''s service turned away %s requests of the last hour: check INFERENCE_URL and INFERENCE_TOKEN', count(*))
from public.slm_requests as request
where request.created_at > now() - interval '1 hour' and (request.attempts @> '[{"provider": "slm", "cause": "misconfigured"}]' or request.shadow ->> 'cause' = 'misconfigured')
having count(*) > 0
union all
select 4, format('%s requests are open for more than 15 minutes: schedule python -m trainer upkeep', count(*))
from public.slm_requests as request where request.status = 'open' and request.created_at < now() - interval '15 minutes' having count(*) > 0
union all
select 5, 'no machine price is entered in slm_machine_prices: no saving is shown'
where not exists (select from public.slm_machine_prices);
comment on view public.slm_warnings is 'What an operator should mend or know, the most urgent (lowest rank) first: ends of cloud models, a private model that nobody can reach, missing prices, a sweep that does not run.';

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
  bar double precision;
  since timestamptz;
  seen_until timestamptz := clock_timestamp() - interval '1 minute';
  watched_share integer;
  metric record;
  line_high double precision;
  line_low double precision;
  worse double precision;
  beside double precision;
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
  -- One alarm for each metric and stage shares the error rate; agreement is known in the shadow only.
  select (count(*) filter (where setting.metric <> 'disagrees') * stages + count(*) filter (where setting.metric = 'disagrees')) / alpha into bar from public.slm_guard_settings as setting;
  -- The last stage has no end: it is watched in weeks, each with an error rate of its own.
  since := case when rollout.stage = 'full'
    then rollout.since + floor(extract(epoch from now() - rollout.since) / 604800) * interval '7 days' else rollout.since end;
  watched_share := case rollout.stage when 'canary' then rollout.share else 100 end;
  for metric in
    with request as materialized (
      -- The stock: what the cloud did, before the stage, in the organisations that the stage is about (as slm_context has them).
      (
        select past.id, past.created_at, coalesce(past.org_id, past.user_id) as org, true as is_stock, past.arm, past.attempts -> 0 ->> 'cause' as cause, (past.attempts -> 0 ->> 'ms')::double precision as ms, past.attempts <> '[]' as is_tried, null::jsonb as shadow
        from public.slm_requests as past
        where past.feature = p_feature and past.status = 'closed' and past.arm = 'current'
          and past.created_at < rollout.since and past.created_at >= rollout.since - interval '28 days'
          and (watched_share = 100 or ('x' || substr(md5(coalesce(past.org_id, past.user_id)::text || '/' || p_feature), 1, 8))::bit(32)::bigint % 100 < watched_share)
        order by past.created_at desc, past.id limit 5000
      )
      union all
      (
        select served.id, served.created_at, coalesce(served.org_id, served.user_id), false, served.arm, served.attempts -> 0 ->> 'cause', (served.attempts -> 0 ->> 'ms')::double precision, served.attempts <> '[]', null
        from public.slm_requests as served
        where served.feature = p_feature and served.status = 'closed' and served.arm = 'candidate' and served.created_at >= since and served.created_at < seen_until
        order by served.created_at, served.id limit 20000
      )
      union all
      (
        select cloud.id, cloud.created_at, coalesce(cloud.org_id, cloud.user_id), false, cloud.arm, cloud.attempts -> 0 ->> 'cause', (cloud.attempts -> 0 ->> 'ms')::double precision, cloud.attempts <> '[]', cloud.shadow
        from public.slm_requests as cloud
        where cloud.feature = p_feature and cloud.status = 'closed' and cloud.arm = 'current' and cloud.created_at >= since and cloud.created_at < seen_until
        order by cloud.created_at, cloud.id limit 20000
      )
    ), side as materialized (
      -- The outcomes of slm_guard_outcomes, one row for all metrics.
      select side.id, side.created_at, side.org, side.is_stock, side.is_candidate, side.disagrees, side.ms > 10000 as slow,
        side.cause is not null as fallback, coalesce(side.cause = 'rejected', false) as rejected, coalesce(side.cause in ('schema', 'invalid_json'), false) as invalid
      from (
        select id, created_at, org, is_stock, true as is_candidate, shadow ->> 'cause' as cause, (shadow ->> 'ms')::double precision as ms, not (shadow ->> 'agrees')::boolean as disagrees
        from request where shadow is not null
        union all
        select id, created_at, org, is_stock, arm = 'candidate', cause, ms, null
        from request where is_tried
          -- What the operator has to mend is not the cloud model's fault; a private model that nobody can reach is no model.
          and (arm = 'candidate' or coalesce(cause not in ('over_budget', 'no_key', 'no_names', 'misconfigured'), true))
      ) as side
    ), stocked as (
      select count(*) as n, least(greatest(count(*) / 300, 1), 5) as k, count(*) filter (where side.invalid) as invalid, count(*) filter (where side.rejected) as rejected,
        count(*) filter (where side.fallback) as fallback, count(*) filter (where side.slow) as slow
      from side where side.is_stock
    ), numbered as (
      select side.*,
        row_number() over (partition by side.is_candidate order by side.created_at, side.id) as i,
        row_number() over (partition by side.is_candidate, side.org order by side.created_at, side.id) as turn,
        1 + count(*) filter (where side.is_candidate) over (order by side.created_at, side.id) - side.is_candidate::integer as gap
      from side where not side.is_stock
    ), placed as (
      -- What the cloud did meanwhile elsewhere: of the outcomes between two of the candidate's, the last three are set against the second. In the shadow it answered the very same request.
      select numbered.*, case when numbered.is_candidate then numbered.turn
        when rollout.stage = 'shadow' then max(numbered.turn) filter (where numbered.is_candidate) over (partition by numbered.id) end as block,
        row_number() over (partition by numbered.gap order by numbered.is_candidate desc, numbered.created_at desc, numbered.id desc) <= 4 as is_beside
      from numbered
    ), spread as (
      -- An organisation's stock is spent evenly over about 300 requests, one to five outcomes for each of them.
      select side.*, 1 + (row_number() over (partition by side.org order by side.created_at, side.id) - 1) / (select stocked.k from stocked) as block
      from side where side.is_stock
    ), paired as (
      select half.*, max(half.i) filter (where half.is_candidate) over (partition by half.org, half.block) as own_i
      from (
        select org, block, is_stock, is_candidate, i, case when is_beside then gap end as beside_i, invalid, rejected, fallback, slow, disagrees from placed
        union all
        select org, block, is_stock, is_candidate, null, null, invalid, rejected, fallback, slow, null from spread
      ) as half
    ), outcome as materialized (
      select judged.metric, judged.is_bad, paired.is_candidate, paired.is_stock, paired.i, paired.own_i, paired.beside_i
      from paired cross join lateral (
        values ('invalid', paired.invalid), ('rejected', paired.rejected), ('fallback', paired.fallback), ('slow', paired.slow), ('disagrees', paired.disagrees)
      ) as judged (metric, is_bad)
      where judged.is_bad is not null and (not paired.is_stock or paired.own_i is not null)
    ), candidate as (
      select outcome.metric, array_agg(outcome.is_bad order by outcome.i) as outcomes from outcome where outcome.is_candidate group by outcome.metric
    ), control as (
      select outcome.metric, count(*) as n, count(*) filter (where outcome.is_bad) as bad from outcome where not outcome.is_candidate and not outcome.is_stock group by outcome.metric
    ), own as (
      select block.metric, array_agg(block.is_bad order by block.own_i) filter (where block.is_candidate) as candidate,
        array_agg(block.before order by block.own_i) filter (where block.is_candidate) as before,
        array_agg(block.is_bad order by block.own_i) filter (where not block.is_candidate) as control
      from (
        select outcome.*, (count(*) filter (where not outcome.is_candidate) over (partition by outcome.metric order by outcome.own_i))::integer as before
        from outcome where outcome.own_i is not null
      ) as block
      group by block.metric
    ), beside as (
      select block.metric, array_agg(block.is_bad order by block.beside_i) filter (where block.is_candidate) as candidate,
        array_agg(block.before order by block.beside_i) filter (where block.is_candidate) as before,
        array_agg(block.is_bad order by block.beside_i) filter (where not block.is_candidate) as control,
        count(distinct block.beside_i) filter (where not block.is_candidate) as blocks
      from (
        select outcome.*, (count(*) filter (where not outcome.is_candidate) over (partition by outcome.metric order by outcome.beside_i))::integer as before
        from outcome where outcome.beside_i is not null and not outcome.is_stock
      ) as block
      where rollout.stage = 'canary'
      group by block.metric
    )
    select setting.metric as name, setting.margin, setting.line, coalesce(candidate.outcomes, '{}') as candidate, coalesce(control.n, 0) as control, coalesce(control.bad, 0) as control_bad,
      case setting.metric when 'disagrees' then 0 else stocked.n end as stock,
      case setting.metric when 'invalid' then stocked.invalid when 'rejected' then stocked.rejected when 'fallback' then stocked.fallback when 'slow' then stocked.slow else 0 end as stock_bad,
      own.candidate as own_candidate, own.before as own_before, own.control as own_control,
      beside.candidate as beside_candidate, beside.before as beside_before, beside.control as beside_control, coalesce(beside.blocks, 0) as beside_blocks
    from public.slm_guard_settings as setting
    cross join stocked
    left join candidate on candidate.metric = setting.metric
    left join control on control.metric = setting.metric
    left join own on own.metric = setting.metric
    left join beside on beside.metric = setting.metric
    order by setting.metric
  loop
    -- The stock's rate is an estimate: three standard errors go to the side on which an error would do harm.
    line_high := metric.line;
    line_low := metric.line;
    if metric.stock >= 300 then
      select least(rate.p + 3 * sqrt(rate.p * (1 - rate.p) / metric.stock) + metric.margin, 0.9),
        greatest(rate.p - 3 * sqrt(rate.p * (1 - rate.p) / metric.stock), 0) + metric.margin
      into line_high, line_low
      from (select (metric.stock_bad + 4.5) / (metric.stock + 9.0)::double precision as p) as rate;
    end if;
    -- Two e-values, weighted: the greater of the parts is at most the weighted sum, which is one. The line also holds where an organisation has no past, or has spent it.
    worse := public.slm_evidence_above(metric.candidate, line_high);
    if metric.name <> 'disagrees' then
      worse := greatest(0.9 * public.slm_evidence_worse(metric.own_candidate, metric.own_control, metric.own_before), 0.1 * worse);
    end if;
    -- What got worse everywhere at the same time is not the model's fault: where three in four have a request of the cloud beside them, these must show it too.
    if worse >= bar and rollout.stage = 'canary' and 4 * metric.beside_blocks >= 3 * cardinality(metric.candidate) then
      beside := public.slm_evidence_worse(metric.beside_candidate, metric.beside_control, metric.beside_before);
      worse := case when beside >= 1 / alpha then worse else least(worse, beside) end;
    end if;
    better := public.slm_evidence_below(metric.candidate, line_low);
    if worse >= bar and alarm is null then
      alarm := format('%s: %s of %s bad, control %s of %s, in the same organisations before %s of %s, evidence %s', metric.name,
        (select count(*) from unnest(metric.candidate) as o (is_bad) where o.is_bad), cardinality(metric.candidate),
        metric.control_bad, metric.control, metric.stock_bad, metric.stock, round(worse::numeric));
    end if;
    if metric.name <> 'disagrees' or (rollout.stage = 'shadow' and p_feature = 'risk') then
      ready := ready and better >= 1 / alpha;
      fewest := least(fewest, cardinality(metric.candidate));
    end if;
    seen := seen || jsonb_build_object(metric.name, jsonb_build_object(
      'candidate', cardinality(metric.candidate), 'candidate_bad', (select count(*) from unnest(metric.candidate) as o (is_bad) where o.is_bad),
      'control', metric.control, 'control_bad', metric.control_bad, 'stock', metric.stock, 'stock_bad', metric.stock_bad,
      'compared', coalesce(cardinality(metric.own_control), 0),
      'line', round(line_low::numeric, 4), 'evidence_worse', round(worse::numeric, 3), 'evidence_good', round(better::numeric, 3)
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
'Looks at a feature''s rollout once: rolls back when any metric is worse than the control, promotes when every metric is shown to stay under its line, else waits. Returns what it saw and did. 5 % false alarms at most over a model''s whole rollout, and over each week once it is full, shared by metrics and stages. Organisations may differ as they like: an outcome of the candidate is set against the same organisation''s under the cloud, up to four weeks before the stage began (in the shadow, also of the same request). That takes an organisation''s rates as steady over these weeks; against a change that comes to all, a canary that has the cloud beside it (of 1 and 10 %, as a rule) is rolled back only when it is also worse than what the cloud does meanwhile. The line from 300 outcomes of the past on is their rate and the margin, three standard errors higher for an alarm and lower for a promotion. Requests of the last minute are left out: until then the slow ones are still open. Outcomes count from when the stage began or its model was put to work, whichever is later.';
