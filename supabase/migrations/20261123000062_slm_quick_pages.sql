-- The console's pages at a million ledger rows: what a call looked at again and again is kept or read once (scripts/bench-console).

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists public.slm_rolled_cloud (
  day date primary key,
  usd numeric not null,
  compared bigint not null,
  cloud_tokens bigint not null,
  alternative_tokens bigint not null,
  ratios double precision not null,
  squares double precision not null
);
comment on table public.slm_rolled_cloud is
'Per day (UTC) what cloud models cost (slm_cloud_spending) and the sums that slm_token_ratio is made of: requests whose tokens both sides counted, their tokens, and the sum of their ratios and of the squares of these.';
alter table public.slm_rolled_cloud enable row level security;
revoke all on public.slm_rolled_cloud from public, anon, authenticated;
grant select, insert, update, delete on public.slm_rolled_cloud to service_role;
comment on table public.slm_rolled_ratio is 'slm_token_ratio of the last 90 whole days, as of the last count.';

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
  closed_days_counted timestamptz;
begin
  perform pg_advisory_xact_lock(hashtextextended('slm_roll_up', 0));
  if p_from is null and exists (select from public.slm_rolled_days as rolled where rolled.day = today and rolled.rolled_at > clock_timestamp() - interval '5 seconds') then
    return today;
  end if;
  -- A day is counted anew until two days after it: late workers have completed their rows by then.
  select coalesce(p_from, case when count(*) = 0 then '-infinity' else least(max(rolled.day) + 1, today - 2) end) into since
  from public.slm_rolled_days as rolled where rolled.rolled_at >= (rolled.day + 2)::timestamp at time zone 'utc';
  if not exists (select from public.slm_rolled_cloud) then
    since := '-infinity';
  elsif p_from is null and since > '-infinity' then
    -- Late workers come within minutes: a page that asks every ten seconds counts the days before today only now and then.
    select max(rolled.rolled_at) into closed_days_counted from public.slm_rolled_days as rolled where rolled.day >= since and rolled.day < today;
    if closed_days_counted > greatest(clock_timestamp() - interval '1 hour', today::timestamp at time zone 'utc') then
      since := today;
    end if;
  end if;
  began := case when since = '-infinity' then '-infinity' else since::timestamp at time zone 'utc' end;
  with ledger as materialized (
    select (request.created_at at time zone 'utc')::date as day, request.feature, request.provider, request.status, request.fallback_reason, request.latency_ms, request.cost_usd, request.alternative_usd,
      request.cloud_input_tokens + request.cloud_output_tokens as cloud_tokens, request.alternative_input_tokens + request.alternative_output_tokens as alternative_tokens,
      request.provider = 'cloud' and request.cloud_input_tokens > 0 and request.alternative_input_tokens > 0 as is_compared
    from public.slm_requests as request where request.created_at >= began and request.status <> 'open'
  ), total as (
    select ledger.day, ledger.feature, ledger.provider, ledger.status, count(*) as requests, sum(ledger.cost_usd) as cost_usd, coalesce(sum(ledger.alternative_usd), 0) as alternative_usd
    from ledger group by 1, 2, 3, 4
    union all
    select removed.day, removed.feature, removed.provider, removed.status, removed.requests, removed.cost_usd, removed.alternative_usd
    from public.slm_removed_totals as removed where removed.day >= since
  ), waits as (
    select ledger.day, ledger.feature, percentile_cont(array[0.5, 0.95]) within group (order by ledger.latency_ms) as ms
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
  ), spent as (
    select spending.day, sum(spending.usd) as usd from public.slm_cloud_spending as spending where spending.day >= since group by 1
  ), compared as (
    select ledger.day, count(*) as compared, sum(ledger.cloud_tokens) as cloud_tokens, sum(ledger.alternative_tokens) as alternative_tokens,
      sum(ledger.cloud_tokens::double precision / ledger.alternative_tokens) as ratios, sum((ledger.cloud_tokens::double precision / ledger.alternative_tokens) ^ 2) as squares
    from ledger where ledger.is_compared group by 1
  ), cloud as (
    insert into public.slm_rolled_cloud as kept (day, usd, compared, cloud_tokens, alternative_tokens, ratios, squares)
    select known.day, coalesce(spent.usd, 0), coalesce(compared.compared, 0), coalesce(compared.cloud_tokens, 0), coalesce(compared.alternative_tokens, 0), coalesce(compared.ratios, 0), coalesce(compared.squares, 0)
    from (select total.day from total union select spent.day from spent union select kept.day from public.slm_rolled_cloud as kept where kept.day >= since) as known
    left join spent using (day) left join compared using (day)
    on conflict (day) do update set
      usd = excluded.usd, compared = excluded.compared, cloud_tokens = excluded.cloud_tokens, alternative_tokens = excluded.alternative_tokens, ratios = excluded.ratios, squares = excluded.squares
  )
  insert into public.slm_rolled_days as kept (day, feature, requests, by_slm, by_cloud, by_rules, unanswered, lost, p50_ms, p95_ms, spent_in_vain_usd, alternative_usd, rolled_at)
  select counted.day, counted.feature, counted.requests, counted.by_slm, counted.by_cloud, counted.by_rules, counted.unanswered, counted.lost, round(waits.ms[1]), round(waits.ms[2]), counted.spent_in_vain_usd,
    counted.alternative_usd, clock_timestamp()
  from counted left join waits using (day, feature)
  on conflict (day, feature) do update set
    requests = excluded.requests, by_slm = excluded.by_slm, by_cloud = excluded.by_cloud, by_rules = excluded.by_rules, unanswered = excluded.unanswered, lost = excluded.lost,
    p50_ms = coalesce(excluded.p50_ms, kept.p50_ms), p95_ms = coalesce(excluded.p95_ms, kept.p95_ms), spent_in_vain_usd = excluded.spent_in_vain_usd,
    alternative_usd = excluded.alternative_usd, rolled_at = excluded.rolled_at;
  -- As slm_token_ratio has it, from the kept days.
  insert into public.slm_rolled_ratio (requests, ratio, half_width)
  select coalesce(sum(cloud.compared), 0), coalesce(sum(cloud.cloud_tokens)::double precision / nullif(sum(cloud.alternative_tokens), 0), 1),
    case when sum(cloud.compared) >= 30
      then 1.96 * sqrt(greatest(sum(cloud.squares) - sum(cloud.ratios) ^ 2 / sum(cloud.compared)::double precision, 0) / (sum(cloud.compared)::double precision - 1) / sum(cloud.compared)::double precision)
      else 0.25
    end
  from public.slm_rolled_cloud as cloud where cloud.day > today - 90
  on conflict (id) do update set rolled_at = clock_timestamp(), requests = excluded.requests, ratio = excluded.ratio, half_width = excluded.half_width;
  return since;
end;
$$;
comment on function public.slm_roll_up is
'Brings the kept days up to date and returns the first day that was counted anew. p_from counts from that day on; without it, today, and every hour what else is not final yet. Cheap once it has run: python -m trainer upkeep or the page itself calls it.';

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
      select cloud.day, cloud.usd from public.slm_rolled_cloud as cloud where cloud.usd > 0
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

create or replace function public.slm_fill_reviews(p_open integer default 200)
returns jsonb
language plpgsql
security invoker
set search_path = ''
as $$
declare
  room integer;
  from_ledger integer;
  from_evaluation integer := 0;
  planted integer;
begin
  perform pg_advisory_xact_lock(hashtextextended('slm_fill_reviews', 0));
  select greatest(p_open - count(*), 0) into room from public.slm_review_state as state where state.is_kept and not state.is_settled and not state.is_gold;

  -- The same request, answered by the cloud (shown) and by the private model (unseen), where somebody may review it.
  with newest as materialized (
    select request.* from public.slm_requests as request
    where request.shadow is not null and request.created_at > now() - interval '30 days' and request.status = 'closed' and request.provider = 'cloud'
      and request.org_id = any(array(select person.org_id from public.slm_console_people as person where person.role = 'reviewer'))
    order by request.created_at desc limit 5000
  ), candidate as (
    select request.id, request.org_id, request.feature, request.prompt_input, request.shadow -> 'output' as first_output, request.output as second_output,
      coalesce(request.shadow ->> 'model', 'unknown') as first_model, request.model as second_model,
      (request.shadow ->> 'confidence')::numeric as first_confidence, request.confidence as second_confidence,
      request.feature || ': ' || case
        when request.shadow ->> 'agrees' = 'false' then 'levels differ'
        when (request.shadow ->> 'confidence')::numeric < 60 then 'unsure'
        when request.shortened <> '{}' then 'long input'
        when request.feature = 'risk' then 'level ' || (request.prompt_input ->> 'suggested')
        when request.prompt_input -> 'similar' <> '[]' then 'with earlier tasks'
        else 'plain'
      end as stratum
    from newest as request
    where not exists (select from public.slm_review_items as item where item.source_table = 'slm_requests' and item.source_id = request.id::text)
  ), drawn as (
    select candidate.*, row_number() over (partition by candidate.org_id, candidate.stratum order by md5(candidate.id::text)) as turn from candidate
  )
  insert into public.slm_review_items (org_id, feature, stratum, prompt_input, first_output, second_output, first_made_by, second_made_by, source_table, source_id, metrics)
  select drawn.org_id, drawn.feature, drawn.stratum, drawn.prompt_input, public.slm_shown_output(drawn.feature, drawn.first_output), public.slm_shown_output(drawn.feature, drawn.second_output),
    'slm:' || drawn.first_model, 'cloud:' || drawn.second_model, 'slm_requests', drawn.id::text,
    jsonb_strip_nulls(jsonb_build_object('first', jsonb_build_object('confidence', drawn.first_confidence / 100), 'second', jsonb_build_object('confidence', drawn.second_confidence / 100.0)))
  -- In the order drawn, and no more than is wanted: looking at an answer's shape is what takes time.
  from (select * from drawn order by drawn.turn, md5(drawn.id::text) offset 0) as drawn
  where drawn.first_output <> drawn.second_output
    and public.slm_is_output(drawn.feature, public.slm_shown_output(drawn.feature, drawn.first_output)) and public.slm_is_output(drawn.feature, public.slm_shown_output(drawn.feature, drawn.second_output))
  limit room
  on conflict do nothing;
  get diagnostics from_ledger = row_count;

  -- Two models' answers to the gold set, where the trainer has evaluated them.
  if to_regclass('public.slm_eval_results') is not null and to_regclass('public.slm_eval_runs') is not null then
    execute $query$
      with pair as (
        select run.id as run_id, run.feature, example.id as example_id, example.prompt_input, mine.output as first_output, other.output as second_output,
          mine.model as first_model, other.model as second_model, mine.scores as first_scores, other.scores as second_scores,
          mine.accepted as first_accepted, other.accepted as second_accepted, mine.confidence,
          (select array_agg(distinct source.org_id) from public.slm_example_sources as source where source.example_id = example.id) as orgs
        from public.slm_eval_runs as run
        join public.slm_eval_results as mine on mine.eval_run_id = run.id and mine.model = run.models[1]
        join public.slm_eval_results as other on other.eval_run_id = run.id and other.example_id = mine.example_id and other.model <> mine.model
        join public.slm_examples as example on example.id = mine.example_id
        where run.created_at > now() - interval '30 days' and mine.output <> other.output
      ), candidate as (
        select pair.*, pair.orgs[1] as org_id, pair.run_id || ' ' || pair.example_id || ' ' || pair.second_model as source_id,
          pair.feature || ': gold' || case when pair.confidence < 60 then ', unsure' else '' end as stratum
        from pair
        where (pair.orgs is null or (cardinality(pair.orgs) = 1 and exists (
            select from public.slm_console_people as person where person.role = 'reviewer' and person.org_id = pair.orgs[1]
          )))
      ), drawn as (
        select candidate.*, row_number() over (partition by candidate.org_id, candidate.stratum, candidate.second_model order by md5(candidate.source_id)) as turn from candidate
        where not exists (select from public.slm_review_items as item where item.source_table = 'slm_eval_results' and item.source_id = candidate.source_id)
      )
      insert into public.slm_review_items (org_id, feature, stratum, prompt_input, first_output, second_output, first_made_by, second_made_by, source_table, source_id, example_id, metrics)
      select drawn.org_id, drawn.feature, drawn.stratum, drawn.prompt_input, public.slm_shown_output(drawn.feature, drawn.first_output), public.slm_shown_output(drawn.feature, drawn.second_output),
        'slm:' || drawn.first_model, 'model:' || drawn.second_model, 'slm_eval_results', drawn.source_id, drawn.example_id,
        jsonb_build_object(
          'first', coalesce(drawn.first_scores, '{}') || jsonb_build_object('accepted', drawn.first_accepted::integer),
          'second', coalesce(drawn.second_scores, '{}') || jsonb_build_object('accepted', drawn.second_accepted::integer)
        )
      from (select * from drawn order by drawn.turn, md5(drawn.source_id) offset 0) as drawn
      where public.slm_is_output(drawn.feature, public.slm_shown_output(drawn.feature, drawn.first_output)) and public.slm_is_output(drawn.feature, public.slm_shown_output(drawn.feature, drawn.second_output))
      limit $1
      on conflict do nothing
    $query$ using room - from_ledger;
    get diagnostics from_evaluation = row_count;
  end if;

  -- One pair in ten has a right answer that is known: the other one belongs to another input of the same organisation.
  with item as (
    select pair.*, row_number() over (order by md5(pair.id::text)) as turn, count(*) over () as pairs
    from public.slm_review_items as pair where not pair.is_gold and pair.prompt_input is not null and pair.source_table = 'slm_requests'
  )
  insert into public.slm_review_items
  (org_id, feature, stratum, prompt_input, first_output, second_output, first_made_by, second_made_by, is_gold, source_table, source_id, other_id)
  select item.org_id, item.feature, 'planted', item.prompt_input, item.second_output, other.second_output, 'right', 'planted', true, item.source_table, item.source_id, other.source_id
  from item
  cross join lateral (
    select pair.second_output, pair.source_id from item as pair
    where pair.org_id = item.org_id and pair.feature = item.feature and pair.prompt_input ->> 'title' <> item.prompt_input ->> 'title'
      and (item.feature = 'plan' or (pair.second_output ->> 'risk_level' <> item.second_output ->> 'risk_level' and pair.prompt_input ->> 'milestone' <> item.prompt_input ->> 'milestone'))
    order by md5(pair.id::text || item.id::text) limit 1
  ) as other
  where not exists (select from public.slm_review_items as gold where gold.is_gold and gold.source_table = item.source_table and gold.source_id = item.source_id)
  order by item.turn
  limit greatest((select count(*) filter (where not pair.is_gold) / 10 - count(*) filter (where pair.is_gold) from public.slm_review_items as pair), 0)
  on conflict do nothing;
  get diagnostics planted = row_count;
  return jsonb_build_object('from_ledger', from_ledger, 'from_evaluation', from_evaluation, 'planted', planted);
end;
$$;

revoke execute on function public.slm_roll_up, public.slm_operator_figures, public.slm_fill_reviews from public, anon, authenticated, service_role;
grant execute on function public.slm_roll_up, public.slm_fill_reviews to service_role;
grant execute on function public.slm_operator_figures to authenticated;
