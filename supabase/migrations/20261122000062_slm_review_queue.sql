-- What is reviewed, and what came of it.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- squawk-ignore require-concurrent-index-creation -- only rows of the shadow stage are in it
create index if not exists slm_requests_shadow on public.slm_requests (created_at) where shadow is not null;

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
  with candidate as (
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
    from public.slm_requests as request
    where request.shadow is not null and request.created_at > now() - interval '30 days' and request.status = 'closed' and request.provider = 'cloud'
      and public.slm_is_output(request.feature, public.slm_shown_output(request.feature, request.shadow -> 'output'))
      and public.slm_is_output(request.feature, public.slm_shown_output(request.feature, request.output))
      and request.shadow -> 'output' <> request.output
      and exists (select from public.slm_console_people as person where person.role = 'reviewer' and person.org_id = request.org_id)
      and not exists (select from public.slm_review_items as item where item.source_table = 'slm_requests' and item.source_id = request.id::text)
    order by request.created_at desc limit 5000
  ), drawn as (
    select candidate.*, row_number() over (partition by candidate.org_id, candidate.stratum order by md5(candidate.id::text)) as turn from candidate
  )
  insert into public.slm_review_items (org_id, feature, stratum, prompt_input, first_output, second_output, first_made_by, second_made_by, source_table, source_id, metrics)
  select drawn.org_id, drawn.feature, drawn.stratum, drawn.prompt_input, public.slm_shown_output(drawn.feature, drawn.first_output), public.slm_shown_output(drawn.feature, drawn.second_output),
    'slm:' || drawn.first_model, 'cloud:' || drawn.second_model, 'slm_requests', drawn.id::text,
    jsonb_strip_nulls(jsonb_build_object('first', jsonb_build_object('confidence', drawn.first_confidence / 100), 'second', jsonb_build_object('confidence', drawn.second_confidence / 100.0)))
  from drawn order by drawn.turn, md5(drawn.id::text) limit room
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
          and public.slm_is_output(pair.feature, public.slm_shown_output(pair.feature, pair.first_output))
          and public.slm_is_output(pair.feature, public.slm_shown_output(pair.feature, pair.second_output))
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
      from drawn order by drawn.turn, md5(drawn.source_id) limit $1
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
comment on function public.slm_fill_reviews is
'Draws pairs to review until p_open are open, evenly over strata and organisations that have a reviewer: from the ledger (the shadow stage) and from evaluations, and plants pairs with a known answer, one in ten. Returns how many of each are new.';

create or replace function public.slm_fill_review_queue(p_open integer default 200)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
begin
  perform public.slm_operates();
  return public.slm_fill_reviews(least(greatest(coalesce(p_open, 200), 1), 2000));
end;
$$;
comment on function public.slm_fill_review_queue is 'For an operator: slm_fill_reviews.';

create or replace function public.slm_review_results()
returns jsonb
language plpgsql stable
security definer
set search_path = ''
as $$
declare
  everything boolean := exists (select from public.slm_console_people as person where person.user_id = public.slm_caller() and person.role = 'operator');
  org uuid;
begin
  if not everything then
    org := public.slm_reviews_for();
  end if;
  return (
    with settled as (
      select item.id, item.feature, item.stratum, item.is_gold, state.verdict, item.metrics, item.created_at,
        -- A reviewer learns what kind of model it was, never its name.
        case when everything then item.first_made_by else split_part(item.first_made_by, ':', 1) end as made_by,
        case when everything then item.second_made_by else split_part(item.second_made_by, ':', 1) end as against
      from public.slm_review_items as item join public.slm_review_state as state on state.item_id = item.id
      where state.is_settled and (everything or item.org_id = org or item.org_id is null)
      order by item.created_at desc limit 5000
    ), voter as (
      select distinct on (review.reviewer) review.reviewer, dense_rank() over (order by md5(review.reviewer::text)) as number
      from public.slm_reviews as review join settled on settled.id = review.item_id where review.undone_at is null
    )
    select jsonb_build_object(
      'scope', case when everything then 'all organisations' else (select found.name from public.orgs as found where found.id = org) end,
      'open', (select count(*) from public.slm_review_state as state where state.is_kept and not state.is_settled and (everything or state.org_id = org or state.org_id is null)),
      'pairs', (
        select coalesce(jsonb_agg(jsonb_build_object(
          'feature', settled.feature, 'stratum', settled.stratum, 'is_gold', settled.is_gold, 'verdict', settled.verdict, 'made_by', settled.made_by, 'against', settled.against,
          'metrics', settled.metrics, 'votes', (
            select coalesce(jsonb_agg(jsonb_build_object(
              'reviewer', voter.number, 'verdict', review.verdict, 'correctness', review.correctness, 'usefulness', review.usefulness, 'voice', review.voice,
              'seconds', review.seconds, 'corrected', review.corrected is not null
            ) order by voter.number), '[]')
            from public.slm_reviews as review join voter on voter.reviewer = review.reviewer
            where review.item_id = settled.id and review.undone_at is null and review.verdict <> 'skip'
          )
        ) order by settled.created_at), '[]')
        from settled
      )
    )
  );
end;
$$;
comment on function public.slm_review_results is
'For a reviewer: every settled pair of their organisation with its votes, without texts, names of people or of models. For an operator: of all organisations, with the models'' names.';

create or replace function public.slm_review_verdict(p_feature text, p_model text)
returns jsonb
language sql stable
security invoker
set search_path = ''
as $$
  select jsonb_build_object('pairs', n, 'better', better, 'worse', worse, 'equal', n - better - worse,
    'share', round(p, 4), 'share_low', round(((p + 3.8416 / (2 * n) - 1.96 * sqrt(p * (1 - p) / n + 3.8416 / (4 * n * n))) / (1 + 3.8416 / n)), 4))
  from (
    select nullif(count(*), 0)::numeric as n, count(*) filter (where state.verdict = 'first') as better, count(*) filter (where state.verdict = 'second') as worse,
      (count(*) filter (where state.verdict = 'first') + 0.5 * count(*) filter (where state.verdict in ('both_good', 'both_bad') or state.verdict is null)) / nullif(count(*), 0) as p
    from public.slm_review_state as state join public.slm_review_items as item on item.id = state.item_id
    where state.is_settled and not state.is_gold and item.feature = p_feature and item.first_made_by = 'slm:' || p_model
  ) as counted;
$$;
comment on function public.slm_review_verdict is
'What people say of a model, for a gate: settled pairs, how often it was better, and its win rate (ties count half) with the lower end of its 95 % Wilson interval; nulls without any.';

revoke execute on function public.slm_fill_reviews, public.slm_fill_review_queue, public.slm_review_results, public.slm_review_verdict from public, anon, authenticated, service_role;
grant execute on function public.slm_fill_reviews, public.slm_review_verdict to service_role;
grant execute on function public.slm_fill_review_queue, public.slm_review_results to authenticated;
