-- The operator's page: each block in one call, quick whatever the ledger's size, and a hand on the rollout for those who may.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists public.slm_rolled_days (
  day date not null,
  feature text not null,
  requests bigint not null,
  by_slm bigint not null,
  by_cloud bigint not null,
  by_rules bigint not null,
  unanswered bigint not null,
  lost bigint not null,
  p50_ms numeric,
  p95_ms numeric,
  spent_in_vain_usd numeric not null,
  alternative_usd numeric not null,
  rolled_at timestamptz not null default now(),
  primary key (day, feature)
);
comment on table public.slm_rolled_days is 'slm_daily, kept: a page that looks at months does not read a million ledger rows. The last three days are counted anew, older ones stay.';
create table if not exists public.slm_rolled_reasons (
  day date not null,
  feature text not null,
  reason text not null,
  answered_by text not null,
  requests bigint not null,
  primary key (day, feature, reason, answered_by)
);
comment on table public.slm_rolled_reasons is 'slm_fallback_reasons_daily, kept.';
create table if not exists public.slm_rolled_ratio (
  id boolean primary key default true constraint slm_rolled_ratio_one_row check (id),
  rolled_at timestamptz not null default now(),
  requests bigint not null,
  ratio double precision not null,
  half_width double precision not null
);
comment on table public.slm_rolled_ratio is 'slm_token_ratio, kept for an hour.';
alter table public.slm_rolled_days enable row level security;
alter table public.slm_rolled_reasons enable row level security;
alter table public.slm_rolled_ratio enable row level security;
revoke all on public.slm_rolled_days, public.slm_rolled_reasons, public.slm_rolled_ratio from public, anon, authenticated;
grant select, insert, update, delete on public.slm_rolled_days, public.slm_rolled_reasons, public.slm_rolled_ratio to service_role;

create or replace function public.slm_roll_up(p_from date default null)
returns date
language plpgsql
security invoker
set search_path = ''
as $$
declare
  today date := (now() at time zone 'utc')::date;
  since date;
  began timestamptz;
begin
  perform pg_advisory_xact_lock(hashtextextended('slm_roll_up', 0));
  if p_from is null and exists (select from public.slm_rolled_days as rolled where rolled.day = today and rolled.rolled_at > clock_timestamp() - interval '5 seconds') then
    return today;
  end if;
  -- A day is counted anew until two days after it: late workers have completed their rows by then.
  select coalesce(p_from, case when count(*) = 0 then '-infinity' else least(max(rolled.day) + 1, today - 2) end) into since
  from public.slm_rolled_days as rolled where rolled.rolled_at >= (rolled.day + 2)::timestamp at time zone 'utc';
  began := case when since = '-infinity' then '-infinity' else since::timestamp at time zone 'utc' end;
  with ledger as materialized (
    select (request.created_at at time zone 'utc')::date as day, request.feature, request.provider, request.status, request.fallback_reason, request.latency_ms, request.cost_usd, request.alternative_usd
    from public.slm_requests as request where request.created_at >= began and request.status <> 'open'
  ), total as (
    select ledger.day, ledger.feature, ledger.provider, ledger.status, count(*) as requests, sum(ledger.cost_usd) as cost_usd, coalesce(sum(ledger.alternative_usd), 0) as alternative_usd
    from ledger group by 1, 2, 3, 4
    union all
    select removed.day, removed.feature, removed.provider, removed.status, removed.requests, removed.cost_usd, removed.alternative_usd
    from public.slm_removed_totals as removed where removed.day >= since
  ), waits as (
    select ledger.day, ledger.feature, round(percentile_cont(0.5) within group (order by ledger.latency_ms)) as p50_ms, round(percentile_cont(0.95) within group (order by ledger.latency_ms)) as p95_ms
    from ledger where ledger.status = 'closed' group by 1, 2
  ), counted as (
    select total.day, total.feature, sum(total.requests) as requests,
      coalesce(sum(total.requests) filter (where total.provider = 'slm'), 0) as by_slm, coalesce(sum(total.requests) filter (where total.provider = 'cloud'), 0) as by_cloud,
      coalesce(sum(total.requests) filter (where total.provider = 'rules'), 0) as by_rules,
      coalesce(sum(total.requests) filter (where total.provider = 'none' and total.status = 'closed'), 0) as unanswered, coalesce(sum(total.requests) filter (where total.status = 'lost'), 0) as lost,
      coalesce(sum(total.cost_usd) filter (where total.provider <> 'cloud'), 0) as spent_in_vain_usd, sum(total.alternative_usd) as alternative_usd
    from total group by 1, 2
  ), reasons as (
    insert into public.slm_rolled_reasons as kept (day, feature, reason, answered_by, requests)
    select reason.day, reason.feature, reason.reason, reason.answered_by, sum(reason.requests)
    from (
      select ledger.day, ledger.feature, ledger.fallback_reason as reason, ledger.provider as answered_by, count(*) as requests from ledger where ledger.fallback_reason is not null group by 1, 2, 3, 4
      union all
      select removed.day, removed.feature, removed.fallback_reason, removed.provider, removed.requests from public.slm_removed_totals as removed where removed.day >= since and removed.fallback_reason <> ''
    ) as reason
    group by 1, 2, 3, 4
    on conflict (day, feature, reason, answered_by) do update set requests = excluded.requests
  )
  insert into public.slm_rolled_days as kept (day, feature, requests, by_slm, by_cloud, by_rules, unanswered, lost, p50_ms, p95_ms, spent_in_vain_usd, alternative_usd, rolled_at)
  select counted.day, counted.feature, counted.requests, counted.by_slm, counted.by_cloud, counted.by_rules, counted.unanswered, counted.lost, waits.p50_ms, waits.p95_ms, counted.spent_in_vain_usd,
    counted.alternative_usd, clock_timestamp()
  from counted left join waits using (day, feature)
  on conflict (day, feature) do update set
    requests = excluded.requests, by_slm = excluded.by_slm, by_cloud = excluded.by_cloud, by_rules = excluded.by_rules, unanswered = excluded.unanswered, lost = excluded.lost,
    p50_ms = coalesce(excluded.p50_ms, kept.p50_ms), p95_ms = coalesce(excluded.p95_ms, kept.p95_ms), spent_in_vain_usd = excluded.spent_in_vain_usd,
    alternative_usd = excluded.alternative_usd, rolled_at = excluded.rolled_at;
  if not exists (
    select from public.slm_rolled_ratio as ratio where ratio.rolled_at > clock_timestamp() - case when ratio.requests < 30 then interval '1 minute' else interval '1 hour' end
  ) then
    insert into public.slm_rolled_ratio (requests, ratio, half_width) select token.requests, token.ratio, token.half_width from public.slm_token_ratio as token
    on conflict (id) do update set rolled_at = clock_timestamp(), requests = excluded.requests, ratio = excluded.ratio, half_width = excluded.half_width;
  end if;
  return since;
end;
$$;
comment on function public.slm_roll_up is
'Brings the kept days up to date and returns the first day that was counted anew. p_from counts from that day on; without it, what is not final yet. Cheap once it has run: python -m trainer upkeep or the page itself calls it.';

create or replace function public.slm_operator_figures(p_days integer default 30)
returns jsonb
language plpgsql
security definer
set search_path = ''
set jit = off -- the planner takes 91 days for a million and compiles for seconds
as $$
declare
  today date := (now() at time zone 'utc')::date;
  first date := today - least(greatest(coalesce(p_days, 30), 1), 730) + 1;
begin
  perform public.slm_operates();
  perform public.slm_roll_up();
  return (
    with days as materialized (
      select rolled.day, sum(rolled.requests) as requests, sum(rolled.by_slm) as by_slm, sum(rolled.spent_in_vain_usd) as spent_in_vain_usd, sum(rolled.alternative_usd) as alternative_usd
      from public.slm_rolled_days as rolled group by rolled.day
    ), spent as materialized (
      select spending.day, sum(spending.usd) as usd from public.slm_cloud_spending as spending group by 1
    ), made as materialized (
      select expense.day, sum(expense.usd) as usd from public.slm_expenses as expense group by 1
    ), bounds as (
      select least((select min(day) from days), (select min(day) from spent), (select min(day) from made), (select min(price.valid_from) from public.slm_machine_prices as price)) as first
    ), costs as (
      -- As slm_savings_daily has it, from the kept days.
      select calendar.day::date as day, coalesce(days.requests, 0) as requests, coalesce(days.by_slm, 0) as by_slm, coalesce(spent.usd, 0) as cloud_usd,
        coalesce(days.spent_in_vain_usd, 0) as spent_in_vain_usd, coalesce(days.alternative_usd, 0) as alternative_usd,
        coalesce(
          (select 24 * price.usd_per_hour from public.slm_machine_prices as price where price.valid_from <= calendar.day::date order by price.valid_from desc limit 1),
          (select 0 from public.slm_machine_prices limit 1)
        ) as machine_usd,
        coalesce(made.usd, 0) as expenses_usd
      from bounds cross join lateral generate_series(bounds.first::timestamp, greatest(today, (select max(day) from days))::timestamp, interval '1 day') as calendar (day)
      left join days on days.day = calendar.day::date left join spent on spent.day = calendar.day::date left join made on made.day = calendar.day::date
    ), saved as (
      select costs.*,
        round((costs.alternative_usd * token.ratio - costs.cloud_usd - costs.machine_usd - costs.expenses_usd)::numeric, 6) as saved_usd,
        round((costs.alternative_usd * greatest(token.ratio - token.half_width, 0) - costs.cloud_usd - costs.machine_usd - costs.expenses_usd)::numeric, 6) as saved_low_usd,
        round((costs.alternative_usd * (token.ratio + token.half_width) - costs.cloud_usd - costs.machine_usd - costs.expenses_usd)::numeric, 6) as saved_high_usd,
        round(sum(costs.alternative_usd * token.ratio - costs.cloud_usd - costs.machine_usd - costs.expenses_usd) over (order by costs.day)::numeric, 6) as saved_so_far_usd
      from costs cross join public.slm_rolled_ratio as token
    )
    select jsonb_build_object(
      'at', clock_timestamp(),
      'goal', (select operator.local_share_goal from public.slm_operator_settings as operator),
      'days', (
        select coalesce(jsonb_agg(to_jsonb(rolled) - 'rolled_at' - 'spent_in_vain_usd' - 'alternative_usd' order by rolled.day, rolled.feature), '[]') from public.slm_rolled_days as rolled where rolled.day >= first
      ),
      'reasons', (
        select coalesce(jsonb_agg(to_jsonb(cause) order by cause.requests desc, cause.feature, cause.reason), '[]')
        from (
          select rolled.feature, rolled.reason, rolled.answered_by, sum(rolled.requests) as requests from public.slm_rolled_reasons as rolled where rolled.day >= first group by 1, 2, 3
        ) as cause
      ),
      'savings', (select coalesce(jsonb_agg(to_jsonb(saved) order by saved.day), '[]') from saved where saved.day >= first),
      'break_even', (
        select to_jsonb(even) from (
          select round(sum(saved.machine_usd + saved.expenses_usd) / count(*), 6) as fixed_usd_per_day, round(sum(saved.requests) / count(*), 1) as requests_per_day,
            ceil((sum(saved.machine_usd + saved.expenses_usd) / count(*)) / nullif(sum(saved.alternative_usd) / nullif(sum(saved.requests), 0), 0)) as break_even_requests_per_day
          from saved where saved.day > today - 30 having count(*) > 0
        ) as even
      ),
      'token_ratio', (select jsonb_build_object('requests', token.requests, 'ratio', token.ratio, 'half_width', token.half_width) from public.slm_rolled_ratio as token)
    )
  );
end;
$$;
comment on function public.slm_operator_figures is 'For an operator: requests, local share, latency, fallback reasons and savings of the last p_days days (1 to 730), each day of UTC.';

create or replace function public.slm_operator_rollouts()
returns jsonb
language plpgsql stable
security definer
set search_path = ''
as $$
begin
  perform public.slm_operates();
  return jsonb_build_object(
    'rollouts', (
      select jsonb_agg(to_jsonb(rollout) || jsonb_build_object(
        'next', (select case when next.stage is not null then jsonb_build_object('stage', next.stage, 'share', next.share) end from public.slm_next_stage(rollout.stage, rollout.share) as next),
        'previous', (
          select jsonb_build_object('stage', step.stage, 'share', step.share)
          from (values ('off', 0), ('shadow', 0), ('canary', 1), ('canary', 10), ('canary', 50)) as step (stage, share), lateral public.slm_next_stage(step.stage, step.share) as next
          where next.stage = rollout.stage and next.share = rollout.share
        ),
        'events', (
          select coalesce(jsonb_agg(to_jsonb(event) order by event.id desc), '[]')
          from (select past.* from public.slm_rollout_events as past where past.feature = rollout.feature order by past.id desc limit 20) as event
        )
      ) order by rollout.feature desc)
      from public.slm_rollouts as rollout
    ),
    'breakers', (select coalesce(jsonb_agg(to_jsonb(breaker) order by breaker.provider), '[]') from public.slm_breakers as breaker),
    'providers', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', provider.name, 'model', provider.model, 'starts_on', provider.starts_on, 'ends_on', provider.ends_on, 'is_enabled', provider.is_enabled, 'rank', provider.rank,
        'days_left', provider.ends_on - (now() at time zone 'utc')::date
      ) order by provider.rank, provider.name), '[]')
      from public.slm_providers as provider
    ),
    'warnings', (select coalesce(jsonb_agg(warning.warning order by warning.rank, warning.warning), '[]') from public.slm_warnings as warning)
  );
end;
$$;
comment on function public.slm_operator_rollouts is 'For an operator: every feature''s stage with what the guard saw and what happened, breakers, cloud models with their ends, warnings.';

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
    execute 'select coalesce(jsonb_agg(to_jsonb(run) order by run.created_at desc), ''[]'') from (select * from public.slm_training_runs order by created_at desc limit 20) as run' into part;
    found := jsonb_set(found, '{runs}', part);
  end if;
  if to_regclass('public.slm_models') is not null then
    execute 'select coalesce(jsonb_agg(to_jsonb(model) order by model.created_at desc), ''[]'') from (select * from public.slm_models order by created_at desc limit 50) as model' into part;
    found := jsonb_set(found, '{models}', part);
  end if;
  if to_regclass('public.slm_eval_runs') is not null then
    execute 'select coalesce(jsonb_agg(to_jsonb(run) order by run.created_at desc), ''[]'') from (select * from public.slm_eval_runs order by created_at desc limit 20) as run' into part;
    found := jsonb_set(found, '{evaluations}', part);
  end if;
  return found || jsonb_build_object('datasets', (
    select coalesce(jsonb_agg(to_jsonb(dataset) order by dataset.created_at desc), '[]')
    from (select known.* from public.slm_datasets as known order by known.created_at desc limit 20) as dataset
  ));
end;
$$;
comment on function public.slm_operator_models is 'For an operator: training runs with their progress, models with lineage, evaluations and datasets with their reports, the newest first.';

create or replace function public.slm_operator_move(p_feature text, p_action text, p_reason text, p_seen text)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
  operator text := public.slm_operates();
  reason text := left(btrim(coalesce(p_reason, '')), 500);
  now_at public.slm_rollouts;
  to_stage text;
  to_share integer;
begin
  if reason = '' then
    raise exception 'Say why: the reason is written down' using errcode = '22023';
  end if;
  select * into now_at from public.slm_rollouts where feature = p_feature for update;
  if not found then
    raise exception 'There is no feature %', p_feature using errcode = 'P0002';
  end if;
  if p_seen is distinct from now_at.stage || '-' || now_at.share then
    raise exception 'The stage has changed meanwhile: it is % now', now_at.stage || '-' || now_at.share using errcode = '40001';
  end if;
  if p_action = 'advance' then
    select next.stage, next.share into to_stage, to_share from public.slm_next_stage(now_at.stage, now_at.share) as next;
  elsif p_action = 'rollback' then
    select step.stage, step.share into to_stage, to_share
    from (values ('off', 0), ('shadow', 0), ('canary', 1), ('canary', 10), ('canary', 50)) as step (stage, share), lateral public.slm_next_stage(step.stage, step.share) as next
    where next.stage = now_at.stage and next.share = now_at.share;
  elsif p_action in ('pin', 'unpin', 'pause', 'resume') then
    update public.slm_rollouts set
      is_pinned = case p_action when 'pin' then true when 'unpin' then false else is_pinned end,
      is_paused = case p_action when 'pause' then true when 'resume' then false else is_paused end
    where feature = p_feature;
    insert into public.slm_rollout_events (feature, from_stage, from_share, to_stage, to_share, by, reason)
    values (p_feature, now_at.stage, now_at.share, now_at.stage, now_at.share, operator, p_action || ': ' || reason);
    return public.slm_operator_rollouts();
  else
    raise exception 'There is no action %', p_action using errcode = '22023';
  end if;
  if to_stage is null then
    raise exception '% is the % stage', now_at.stage, case p_action when 'advance' then 'last' else 'first' end using errcode = 'P0001';
  end if;
  perform public.slm_set_rollout(p_feature, to_stage, to_share, operator, reason);
  return public.slm_operator_rollouts();
end;
$$;
comment on function public.slm_operator_move is
'For an operator: advance, rollback (one stage), pin, unpin, pause or resume, with a reason. p_seen (such as canary-10) is the stage that the operator looked at: where it has changed since, nothing happens (40001).';

revoke execute on function public.slm_roll_up, public.slm_operator_figures, public.slm_operator_rollouts, public.slm_operator_models, public.slm_operator_move
from public, anon, authenticated, service_role;
grant execute on function public.slm_roll_up to service_role;
grant execute on function public.slm_operator_figures, public.slm_operator_rollouts, public.slm_operator_models, public.slm_operator_move to authenticated;
