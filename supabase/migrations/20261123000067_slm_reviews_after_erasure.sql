-- What a reviewer says of a pair whose texts are gone already is kept without words, and whoever reviews for another
-- organisation now has left the pairs of the former one behind.

set lock_timeout = '5s';
set statement_timeout = '60s';

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
  reason text := p_review ->> 'reason';
begin
  -- Waits for an erasure under way, and makes a later one wait until it can see what is written here.
  select pair.* into item from public.slm_review_items as pair
  where pair.id = (p_review ->> 'item_id')::uuid and (pair.org_id = org or pair.org_id is null) for share;
  select turn.is_swapped into swapped from public.slm_review_turns as turn where turn.item_id = item.id and turn.reviewer = me;
  if swapped is null then
    raise exception 'This pair was not given to you' using errcode = '42501';
  end if;
  -- A pair whose texts are gone keeps what is said of it, as slm_blank_reviews leaves it: without words.
  if item.prompt_input is null then
    corrected := null;
    reason := case p_review ->> 'verdict' when 'skip' then 'not kept' end;
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
    reason, (p_review ->> 'correctness')::integer, (p_review ->> 'usefulness')::integer, (p_review ->> 'voice')::integer, corrected,
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
'For a reviewer: keeps {id, item_id, verdict (a, b, both_good, both_bad, skip), reason, correctness, usefulness, voice, corrected, corrected_of (a, b), seconds}; without reason and correction where the pair''s texts are no longer kept. Again with the same id: changes nothing. A second verdict on the same pair is not kept.';

create or replace function public.slm_undo_review(p_id uuid)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
  me uuid := public.slm_caller();
  org uuid := public.slm_reviews_for();
  item uuid;
begin
  update public.slm_reviews as review set undone_at = coalesce(review.undone_at, now())
  from public.slm_review_items as pair
  where review.id = p_id and review.reviewer = me and pair.id = review.item_id and (pair.org_id = org or pair.org_id is null)
  returning review.item_id into item;
  if item is null then
    raise exception 'There is no review of yours to take back' using errcode = 'P0002';
  end if;
  update public.slm_review_turns set given_at = now() where item_id = item and reviewer = me;
  return public.slm_blind(item, me);
end;
$$;
comment on function public.slm_undo_review is
'For a reviewer: takes a verdict of theirs on a pair of their organisation, or of nobody''s, back and returns the pair, as it was shown. Again: changes nothing.';

create or replace function public.slm_last_review()
returns jsonb
language plpgsql stable
security definer
set search_path = ''
as $$
declare
  me uuid := public.slm_caller();
  org uuid := public.slm_reviews_for();
begin
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
    join public.slm_review_items as item on item.id = review.item_id and item.prompt_input is not null and (item.org_id = org or item.org_id is null)
    where review.reviewer = me and review.undone_at is null and review.created_at > now() - interval '1 day'
    order by review.created_at desc, review.id limit 1
  );
end;
$$;
comment on function public.slm_last_review is
'For a reviewer: the last verdict of theirs of the last 24 hours on a pair of their organisation, or of nobody''s, with the pair, blind, as slm_submit_review took it, so that it can be taken back after signing in again; null for none.';

-- Words that came in after the texts were gone, before this was looked at.
update public.slm_reviews as review set corrected = null, corrected_of = null, reason = case review.verdict when 'skip' then 'not kept' end
from public.slm_review_items as item
where item.id = review.item_id and item.prompt_input is null
  and (review.corrected is not null or review.reason is distinct from case review.verdict when 'skip' then 'not kept' end);
