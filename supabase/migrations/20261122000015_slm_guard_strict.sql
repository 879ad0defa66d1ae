-- The guard, strict: a candidate outcome is set against the cloud's outcomes in the same organisation, in blocks that no
-- later look can change, and every line leaves room for the error of what it was drawn from.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function public.slm_evidence_worse(p_candidate boolean[], p_control boolean[], p_before integer[] default null, p_stock boolean[] default '{}')
returns double precision
language sql immutable
security invoker
set search_path = ''
as $$
  with taught as (
    select 1 + count(*) filter (where o.is_bad) as bad, 20 + count(*) as seen from unnest(p_stock) as o (is_bad)
  ), spent as (
    select 0::bigint as j, 0::bigint as bad
    union all
    select o.j, count(*) filter (where o.is_bad) over (order by o.j) from unnest(p_control) with ordinality as o (is_bad, j)
  ), block as (
    select c.i, c.is_bad, spent.j - lag(spent.j, 1, 0::bigint) over in_time as k, spent.bad - lag(spent.bad, 1, 0::bigint) over in_time as bad
    from unnest(p_candidate, p_before) with ordinality as c (is_bad, before, i)
    join spent on spent.j = least(coalesce(c.before, c.i), coalesce(cardinality(p_control), 0))
    window in_time as (order by c.i)
  ), known as (
    select block.i, block.is_bad, block.k, block.bad,
      (taught.bad + coalesce(sum(block.bad) over earlier, 0))::double precision / (taught.seen + coalesce(sum(block.k) over earlier, 0))::double precision as theta_b
    from block cross join taught
    where block.k > 0
    window earlier as (order by block.i rows between unbounded preceding and 1 preceding)
  ), guess as (
    select known.*, size.delta, least(known.theta_b + size.delta, (1 + known.theta_b) / 2) as theta_a
    from known cross join (values (0.04::double precision), (0.1), (0.3)) as size (delta)
  ), step as (
    select guess.*, (guess.theta_a + guess.k * guess.theta_b) / (1 + guess.k) as theta_0 from guess
  ), process as (
    select step.i, sum(
      case when step.is_bad then ln(step.theta_a / step.theta_0) else ln((1 - step.theta_a) / (1 - step.theta_0)) end
      + step.bad * ln(step.theta_b / step.theta_0) + (step.k - step.bad) * ln((1 - step.theta_b) / (1 - step.theta_0))
    ) over (partition by step.delta order by step.i rows unbounded preceding) as log_e
    from step
  ), mixed as (
    select avg(exp(greatest(least(process.log_e, 300), -300))) as e from process group by process.i
  )
  select greatest(1, max(mixed.e)) from mixed;
$$;
comment on function public.slm_evidence_worse is
'Evidence (an e-value, its highest so far) that the candidate is bad more often than the control. True means bad, all in time order. Candidate outcome i is one block with the control outcomes p_before[i - 1] + 1 to p_before[i] (null: the i-th of each); without any it says nothing. Within a block both have one rate where the candidate is no worse, and the rate may differ from block to block. p_stock, of which no outcome may be in a block, only teaches the control''s rate. The two-sample e-variables of Turner, Ly and Gruenwald (2021), averaged over three sizes of the difference: where the candidate is no worse, it passes 1/alpha at any time with probability alpha at most (Ville).';

create or replace function public.slm_evidence_above(p_candidate boolean[], p_line double precision)
returns double precision
language sql immutable
security invoker
set search_path = ''
as $$
  with guess as (
    select ln(size.theta / p_line) as if_bad, ln((1 - size.theta) / (1 - p_line)) as if_good
    from (select least(p_line + delta.delta, (1 + p_line) / 2) as theta from (values (0.04::double precision), (0.1), (0.3)) as delta (delta)) as size
  ), so_far as (
    select o.i, count(*) filter (where o.is_bad) over (order by o.i) as bad from unnest(p_candidate) with ordinality as o (is_bad, i)
  ), mixed as (
    select avg(exp(greatest(least(so_far.bad * guess.if_bad + (so_far.i - so_far.bad) * guess.if_good, 300), -300))) as e
    from so_far cross join guess group by so_far.i
  )
  select greatest(1, max(mixed.e)) from mixed;
$$;

create or replace function public.slm_evidence_below(p_candidate boolean[], p_line double precision)
returns double precision
language sql immutable
security invoker
set search_path = ''
as $$
  with guess as (
    select ln(share.share) as if_bad, ln((1 - share.share * p_line) / (1 - p_line)) as if_good
    from (values (0.1::double precision), (0.3), (0.5), (0.7)) as share (share)
  ), so_far as (
    select o.i, count(*) filter (where o.is_bad) over (order by o.i) as bad from unnest(p_candidate) with ordinality as o (is_bad, i)
  ), mixed as (
    select avg(exp(greatest(least(so_far.bad * guess.if_bad + (so_far.i - so_far.bad) * guess.if_good, 300), -300))) as e
    from so_far cross join guess group by so_far.i
  )
  select greatest(1, max(mixed.e)) from mixed;
$$;

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
        from request where is_tried and coalesce(cause not in ('over_budget', 'no_key', 'no_names', 'misconfigured'), true)
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
'Looks at a feature''s rollout once: rolls back when any metric is worse than the control, promotes when every metric is shown to stay under its line, else waits. Returns what it saw and did. 5 % false alarms at most over a whole rollout, and over each week once it is full, shared by metrics and stages. Organisations may differ as they like: an outcome of the candidate is set against the same organisation''s under the cloud, up to four weeks before the stage began (in the shadow, also of the same request). That takes an organisation''s rates as steady over these weeks; against a change that comes to all, a canary that has the cloud beside it (of 1 and 10 %, as a rule) is rolled back only when it is also worse than what the cloud does meanwhile. The line from 300 outcomes of the past on is their rate and the margin, three standard errors higher for an alarm and lower for a promotion. Requests of the last minute are left out: until then the slow ones are still open.';
