-- Agreement is measured where people disagree too; nobody sees who wins while they judge; a correction stays with its answer.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table public.slm_reviews add column if not exists corrected_of text;
comment on column public.slm_reviews.corrected_of is 'Which of the two answers was corrected (first, second), as the item has them; null: not known, or nothing was corrected.';

create or replace function public.slm_reviews_left(p_reviewer uuid, p_org_id uuid)
returns bigint
language sql stable
security invoker
set search_path = ''
as $$
  select count(*) from public.slm_review_state as state
  where state.is_kept and not state.is_settled and (state.org_id = p_org_id or state.org_id is null)
    and not exists (select from public.slm_reviews as review where review.item_id = state.item_id and review.reviewer = p_reviewer and review.undone_at is null);
$$;
comment on function public.slm_reviews_left is 'How many pairs of an organisation, and of nobody''s, a reviewer has still to judge.';

create or replace function public.slm_next_review(p_count integer default 1)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
  me uuid := public.slm_caller();
  org uuid := public.slm_reviews_for();
  wanted integer := least(greatest(coalesce(p_count, 1), 1), 10);
  items uuid[];
begin
  -- One at a time for each reviewer, so that two windows do not draw twice.
  perform pg_advisory_xact_lock(hashtextextended('slm_review ' || me::text, 0));
  with mine as (
    select review.item_id, state.stratum, state.is_gold from public.slm_reviews as review
    join public.slm_review_items as state on state.id = review.item_id
    where review.reviewer = me and review.undone_at is null
  ), open as (
    -- Pairs that others hold now count as if they had said something, for half an hour.
    select state.item_id, state.feature, state.stratum, state.is_gold, state.votes
    from public.slm_review_state as state
    where state.is_kept and not state.is_settled and (state.org_id = org or state.org_id is null)
      and not exists (select from mine where mine.item_id = state.item_id)
      and (
        exists (select from public.slm_review_turns as turn where turn.item_id = state.item_id and turn.reviewer = me)
        or state.votes + (
          select count(*) from public.slm_review_turns as turn
          where turn.item_id = state.item_id and turn.given_at > now() - interval '30 minutes'
            and not exists (select from public.slm_reviews as review where review.item_id = turn.item_id and review.reviewer = turn.reviewer and review.undone_at is null)
        ) < state.wanted
      )
  ), ranked as (
    select open.item_id,
      exists (select from public.slm_review_turns as turn where turn.item_id = open.item_id and turn.reviewer = me) as is_held,
      -- Round the strata, those of which I have seen least first; planted pairs are one in ten.
      row_number() over (partition by open.is_gold, open.feature, open.stratum order by open.votes desc, md5(open.item_id::text || me::text))
        + (select count(*) from mine where mine.stratum = open.stratum and mine.is_gold = open.is_gold) as round,
      case when open.is_gold then 1 else 0 end as gold,
      open.votes
    from open
  ), placed as (
    select ranked.item_id, ranked.is_held,
      case when ranked.gold = 1 then 10 * (ranked.round - 1) + 3 else row_number() over (partition by ranked.gold order by ranked.round, ranked.votes desc, md5(ranked.item_id::text || me::text))
        + (select count(*) from mine where not mine.is_gold) end as place
    from ranked
  ), chosen as (
    select placed.item_id, row_number() over (order by placed.is_held desc, placed.place, placed.item_id) as turn from placed order by turn limit wanted
  ), given as (
    insert into public.slm_review_turns (item_id, reviewer) select chosen.item_id, me from chosen
    on conflict (item_id, reviewer) do update set given_at = now()
  )
  select coalesce(array_agg(chosen.item_id order by chosen.turn), '{}') into items from chosen;

  return jsonb_build_object(
    'items', (
      select coalesce(jsonb_agg(public.slm_blind(item.id, me) order by item.turn), '[]') from unnest(items) with ordinality as item (id, turn)
    ),
    'done', (select count(*) from public.slm_reviews as review where review.reviewer = me and review.undone_at is null and review.verdict <> 'skip'),
    'skipped', (select count(*) from public.slm_reviews as review where review.reviewer = me and review.undone_at is null and review.verdict = 'skip'),
    'left', public.slm_reviews_left(me, org)
  );
end;
$$;
comment on function public.slm_next_review is
'For a reviewer: the next pairs (1 to 10) of their organisation, blind, those they already hold first; how many they have judged and skipped, and how many are left for them.';

create or replace function public.slm_submit_review(p_review jsonb)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
  me uuid := public.slm_caller();
  org uuid := public.slm_reviews_for();
  item public.slm_review_items;
  swapped boolean;
  corrected jsonb := nullif(p_review -> 'corrected', 'null');
begin
  select pair.* into item from public.slm_review_items as pair
  where pair.id = (p_review ->> 'item_id')::uuid and (pair.org_id = org or pair.org_id is null);
  select turn.is_swapped into swapped from public.slm_review_turns as turn where turn.item_id = item.id and turn.reviewer = me;
  if swapped is null then
    raise exception 'This pair was not given to you' using errcode = '42501';
  end if;
  if corrected is not null and not public.slm_is_output(item.feature, corrected) then
    raise exception 'The corrected answer does not have the shape of an answer' using errcode = '22023';
  end if;
  if p_review ->> 'verdict' not in ('a', 'b', 'both_good', 'both_bad', 'skip') then
    raise exception 'There is no verdict %', p_review ->> 'verdict' using errcode = '22023';
  end if;
  insert into public.slm_reviews (id, item_id, reviewer, verdict, reason, correctness, usefulness, voice, corrected, corrected_of, seconds)
  values (
    (p_review ->> 'id')::uuid, item.id, me,
    case p_review ->> 'verdict'
      when 'a' then case when swapped then 'second' else 'first' end
      when 'b' then case when swapped then 'first' else 'second' end
      else p_review ->> 'verdict'
    end,
    p_review ->> 'reason', (p_review ->> 'correctness')::integer, (p_review ->> 'usefulness')::integer, (p_review ->> 'voice')::integer, corrected,
    case when corrected is not null then case (p_review ->> 'corrected_of' = 'b') <> swapped when true then 'second' when false then 'first' end end,
    least(greatest(coalesce((p_review ->> 'seconds')::numeric, 0), 0), 86400)
  )
  on conflict do nothing;
  return jsonb_build_object('kept', exists (
    select from public.slm_reviews as review where review.id = (p_review ->> 'id')::uuid and review.reviewer = me and review.item_id = item.id and review.undone_at is null
  ));
end;
$$;
comment on function public.slm_submit_review is
'For a reviewer: keeps {id, item_id, verdict (a, b, both_good, both_bad, skip), reason, correctness, usefulness, voice, corrected, corrected_of (a, b), seconds}. Again with the same id: changes nothing. A second verdict on the same pair is not kept.';

create or replace function public.slm_last_review()
returns jsonb
language plpgsql stable
security definer
set search_path = ''
as $$
declare
  me uuid := public.slm_caller();
begin
  perform public.slm_reviews_for();
  return (
    select jsonb_build_object('pair', public.slm_blind(review.item_id, me), 'review', jsonb_build_object(
      'id', review.id, 'item_id', review.item_id,
      'verdict', case review.verdict when 'first' then case when turn.is_swapped then 'b' else 'a' end when 'second' then case when turn.is_swapped then 'a' else 'b' end else review.verdict end,
      'reason', review.reason, 'corrected', review.corrected,
      'corrected_of', case (review.corrected_of = 'second') <> turn.is_swapped when true then 'b' when false then 'a' end,
      'correctness', review.correctness, 'usefulness', review.usefulness, 'voice', review.voice, 'seconds', review.seconds
    ))
    from public.slm_reviews as review
    join public.slm_review_turns as turn on turn.item_id = review.item_id and turn.reviewer = me
    join public.slm_review_items as item on item.id = review.item_id and item.prompt_input is not null
    where review.reviewer = me and review.undone_at is null and review.created_at > now() - interval '1 day'
    order by review.created_at desc, review.id limit 1
  );
end;
$$;
comment on function public.slm_last_review is
'For a reviewer: the last verdict of theirs of the last 24 hours with its pair, blind, as slm_submit_review took it, so that it can be taken back after signing in again; null for none.';

create or replace function public.slm_review_results()
returns jsonb
language plpgsql stable
security definer
set search_path = ''
as $$
declare
  everything boolean := exists (select from public.slm_console_people as person where person.user_id = public.slm_caller() and person.role = 'operator');
  org uuid;
  unjudged bigint := 0;
begin
  if not everything then
    org := public.slm_reviews_for();
    unjudged := public.slm_reviews_left(public.slm_caller(), org);
  end if;
  return (
    -- Each pair and each verdict is read once.
    -- As slm_review_state has it, for all pairs at once.
    with said as materialized (
      select review.item_id, count(*) as votes, count(*) filter (where review.verdict = 'both_bad') as both_bad, count(*) filter (where review.verdict = 'both_good') as both_good,
        count(*) filter (where review.verdict = 'first') as first, count(*) filter (where review.verdict = 'second') as second
      from public.slm_reviews as review where review.undone_at is null and review.verdict <> 'skip' group by review.item_id
    ), item as materialized (
      select pair.id as item_id, pair.feature, pair.is_gold, pair.prompt_input is not null as is_kept, coalesce(said.votes, 0) as votes,
        coalesce(said.votes >= 2 and (most.votes = said.votes or said.votes >= 3), false) as is_settled,
        case when most.votes >= 2 then case most.votes when said.both_bad then 'both_bad' when said.both_good then 'both_good' when said.first then 'first' else 'second' end end as verdict
      from public.slm_review_items as pair left join said on said.item_id = pair.id
      cross join lateral (select greatest(said.both_bad, said.both_good, said.first, said.second) as votes) as most
      where everything or pair.org_id = org or pair.org_id is null
    ), judged as materialized (
      select pair.id, pair.feature, pair.stratum, pair.is_gold, item.is_settled, item.verdict, pair.metrics, pair.created_at,
        -- A reviewer learns what kind of model it was, never its name.
        case when everything then pair.first_made_by else split_part(pair.first_made_by, ':', 1) end as made_by,
        case when everything then pair.second_made_by else split_part(pair.second_made_by, ':', 1) end as against
      from item join public.slm_review_items as pair on pair.id = item.item_id
      -- Whoever knows who wins is not blind any more: a reviewer sees it when there is nothing left to judge.
      where unjudged = 0 and item.votes >= 2 order by pair.created_at desc limit 1000
    ), review as materialized (
      select said.item_id, said.reviewer, said.verdict, said.correctness, said.usefulness, said.voice, said.seconds, said.corrected is not null as corrected
      from public.slm_reviews as said where said.undone_at is null and said.item_id = any(array(select judged.id from judged))
    ), voter as materialized (
      select known.reviewer, row_number() over (order by md5(known.reviewer::text)) as number from (select distinct review.reviewer from review) as known
    ), voted as materialized (
      -- As text until the end: binary JSON is copied whole at each level.
      select review.item_id, json_agg(json_build_object(
        'reviewer', voter.number, 'verdict', review.verdict, 'correctness', review.correctness, 'usefulness', review.usefulness, 'voice', review.voice,
        'seconds', review.seconds, 'corrected', review.corrected
      ) order by voter.number) as votes
      from review join voter on voter.reviewer = review.reviewer where review.verdict <> 'skip' group by review.item_id
    )
    select json_build_object(
      'scope', case when everything then 'all organisations' else (select found.name from public.orgs as found where found.id = org) end,
      'left', unjudged,
      'open', (
        select coalesce(json_object_agg(counted.feature, counted.pairs), '{}')
        from (select item.feature, count(*) as pairs from item where item.is_kept and not item.is_settled and not item.is_gold group by 1) as counted
      ),
      'pairs', (
        select coalesce(json_agg(json_build_object(
          'feature', judged.feature, 'stratum', judged.stratum, 'is_gold', judged.is_gold, 'is_settled', judged.is_settled, 'verdict', judged.verdict,
          'made_by', judged.made_by, 'against', judged.against, 'metrics', judged.metrics, 'votes', coalesce(voted.votes, '[]')
        ) order by judged.created_at), '[]')
        from judged left join voted on voted.item_id = judged.id
      )
    )::jsonb
  );
end;
$$;
comment on function public.slm_review_results is
'For a reviewer with nothing left to judge: the newest 1,000 pairs of their organisation with two verdicts or more, settled or not, with their votes, without texts, names of people or of models; before that no pair, and how many are left. For an operator: of all organisations, with the models'' names. open: pairs, without planted ones, that wait for a verdict, by feature.';

create or replace function public.slm_review_queue()
returns jsonb
language plpgsql stable
security definer
set search_path = ''
as $$
begin
  perform public.slm_operates();
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
      'org', org.name, 'is_made_up', counted.org_id is null, 'open', counted.open, 'waiting_for_third', counted.waiting_for_third, 'settled', counted.settled,
      'reviewers', (
        select count(distinct person.user_id) from public.slm_console_people as person
        where person.role = 'reviewer' and (person.org_id = counted.org_id or counted.org_id is null) and person.org_id = public.slm_manages(person.user_id)
      )
    ) order by org.name nulls last, counted.org_id), '[]')
    from (
      select state.org_id, count(*) filter (where state.is_kept and not state.is_settled) as open,
        count(*) filter (where state.is_kept and not state.is_settled and state.votes >= 2) as waiting_for_third, count(*) filter (where state.is_settled) as settled
      from public.slm_review_state as state where not state.is_gold group by state.org_id
    ) as counted
    left join public.orgs as org on org.id = counted.org_id
  );
end;
$$;
comment on function public.slm_review_queue is
'For an operator: how many pairs of each organisation are settled, open, and of these wait for a third reviewer because two differ, and how many may review them. Planted pairs are not counted.';

revoke execute on function public.slm_reviews_left, public.slm_last_review, public.slm_review_queue from public, anon, authenticated, service_role;
grant execute on function public.slm_last_review, public.slm_review_queue to authenticated;
