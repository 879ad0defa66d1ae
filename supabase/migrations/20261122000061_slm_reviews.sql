-- Blind reviews: pairs of answers to one input, and what people say of them. A reviewer never learns who made which.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists public.slm_review_items (
  id uuid primary key default gen_random_uuid(),
  created_at timestamptz not null default now(),
  org_id uuid,
  feature text not null constraint slm_review_items_feature check (feature in ('risk', 'plan')),
  stratum text not null,
  prompt_input jsonb,
  first_output jsonb,
  second_output jsonb,
  first_made_by text not null,
  second_made_by text not null,
  is_gold boolean not null default false,
  source_table text not null,
  source_id text not null,
  other_id text,
  example_id text,
  metrics jsonb not null default '{}',
  constraint slm_review_items_once unique (source_table, source_id, is_gold)
);
comment on table public.slm_review_items is
'Pairs of answers to one input, to be judged blind: the first is the private model''s, the second what it is compared with. Texts are null once their source is no longer kept; what people said of them stays.';
comment on column public.slm_review_items.org_id is 'Whose words these are: only its reviewers see the pair. Null: made up, for all reviewers.';
comment on column public.slm_review_items.is_gold is 'Planted: the second answer belongs to another input, so the first must win. Tells how well somebody looks, and counts nowhere else.';
comment on column public.slm_review_items.other_id is 'The row that the second answer of a planted pair belongs to.';
comment on column public.slm_review_items.metrics is 'What automatic metrics say of the pair, from 0 to 1, under their names: {"first": {…}, "second": {…}}.';
-- squawk-ignore require-concurrent-index-creation -- a new table
create index if not exists slm_review_items_open on public.slm_review_items (org_id, created_at) where prompt_input is not null;
-- squawk-ignore require-concurrent-index-creation -- a new table
create index if not exists slm_review_items_by_example on public.slm_review_items (example_id) where example_id is not null;

create table if not exists public.slm_review_turns (
  item_id uuid not null references public.slm_review_items (id) on delete cascade,
  reviewer uuid not null,
  is_swapped boolean not null default random() < 0.5,
  given_at timestamptz not null default now(),
  primary key (item_id, reviewer)
);
comment on table public.slm_review_turns is 'Which pairs were given to whom, and in which order: swapped shows the second answer as A. Drawn by chance, so that nobody can work it out.';

create table if not exists public.slm_reviews (
  id uuid primary key,
  item_id uuid not null references public.slm_review_items (id) on delete cascade,
  reviewer uuid not null,
  created_at timestamptz not null default now(),
  verdict text not null constraint slm_reviews_verdict check (verdict in ('first', 'second', 'both_good', 'both_bad', 'skip')),
  reason text constraint slm_reviews_reason check (length(reason) <= 1000),
  correctness integer constraint slm_reviews_correctness check (correctness between 1 and 5),
  usefulness integer constraint slm_reviews_usefulness check (usefulness between 1 and 5),
  voice integer constraint slm_reviews_voice check (voice between 1 and 5),
  corrected jsonb,
  seconds numeric(8, 1) not null constraint slm_reviews_seconds check (seconds >= 0),
  undone_at timestamptz,
  constraint slm_reviews_skip_has_reason check (verdict <> 'skip' or length(btrim(coalesce(reason, ''))) > 0)
);
comment on table public.slm_reviews is 'What a reviewer said of a pair. The id is made by the browser: sending it again changes nothing.';
comment on column public.slm_reviews.verdict is 'first or second is better, both are good, both are bad, or no verdict (skip, with a reason). As the item has them, whatever order was shown.';
comment on column public.slm_reviews.correctness is '1 (poor) to 5 (excellent), of the better answer, or of both where neither is; null: not said.';
comment on column public.slm_reviews.corrected is 'The answer as the reviewer would have it, in the feature''s shape.';
comment on column public.slm_reviews.undone_at is 'Taken back: counts nowhere.';
create unique index if not exists slm_reviews_one_each on public.slm_reviews (item_id, reviewer) where undone_at is null;
create index if not exists slm_reviews_by_item on public.slm_reviews (item_id);
create index if not exists slm_reviews_by_reviewer on public.slm_reviews (reviewer, created_at);

alter table public.slm_review_items enable row level security;
alter table public.slm_review_turns enable row level security;
alter table public.slm_reviews enable row level security;
revoke all on public.slm_review_items, public.slm_review_turns, public.slm_reviews from public, anon, authenticated;
grant select, insert, update, delete on public.slm_review_items, public.slm_review_turns, public.slm_reviews to service_role;

create or replace function public.slm_is_text(p_value jsonb, p_least integer, p_most integer)
returns boolean
language sql immutable
security invoker
set search_path = ''
as $$
  select coalesce(jsonb_typeof(p_value) = 'string' and length(p_value #>> '{}') between p_least and p_most and (p_value #>> '{}') ~ '^\S', false);
$$;
comment on function public.slm_is_text is 'Whether a JSON value is a text of so many characters that begins with what can be read.';

create or replace function public.slm_is_output(p_feature text, p_output jsonb)
returns boolean
language plpgsql immutable
security invoker
set search_path = ''
as $$
begin
  if jsonb_typeof(p_output) is distinct from 'object' then
    return false;
  end if;
  if p_feature = 'risk' then
    return (select array_agg(key order by key) from jsonb_object_keys(p_output) as key) = array['reasons', 'recommended_actions', 'risk_level']
      and p_output ->> 'risk_level' in ('low', 'medium', 'high')
      and jsonb_typeof(p_output -> 'reasons') = 'array' and jsonb_array_length(p_output -> 'reasons') between 1 and 3
      and jsonb_typeof(p_output -> 'recommended_actions') = 'array' and jsonb_array_length(p_output -> 'recommended_actions') between 1 and 2
      and not exists (
        select from jsonb_array_elements((p_output -> 'reasons') || (p_output -> 'recommended_actions')) as said where not public.slm_is_text(said, 12, 160)
      );
  end if;
  return (select array_agg(key order by key) from jsonb_object_keys(p_output) as key) = array['assumptions', 'overall_risks', 'suggested_plan']
    and jsonb_typeof(p_output -> 'suggested_plan') = 'array' and jsonb_array_length(p_output -> 'suggested_plan') between 1 and 8
    and jsonb_typeof(p_output -> 'overall_risks') = 'array' and jsonb_array_length(p_output -> 'overall_risks') <= 3
    and jsonb_typeof(p_output -> 'assumptions') = 'array' and jsonb_array_length(p_output -> 'assumptions') <= 3
    and not exists (select from jsonb_array_elements((p_output -> 'overall_risks') || (p_output -> 'assumptions')) as said where not public.slm_is_text(said, 12, 140))
    and not exists (
      select from jsonb_array_elements(p_output -> 'suggested_plan') as step
      where jsonb_typeof(step) <> 'object' or not coalesce(
        step ->> 'phase' in ('requirement_refiner', 'design_guidance', 'build_guidance', 'acceptance_criteria', 'deployment')
          and public.slm_is_text(step -> 'title', 6, 90) and step -> 'duration' in ('2', '4') and step ->> 'risk' in ('low', 'medium', 'high')
          and step - array['phase', 'title', 'duration', 'risk'] = '{}', false)
    );
end;
$$;
comment on function public.slm_is_output is 'Whether JSON has the shape of a feature''s answer (shared_schemas/features): what a reviewer corrects must be fit to train on.';

create or replace function public.slm_shown_output(p_feature text, p_output jsonb)
returns jsonb
language sql immutable
security invoker
set search_path = ''
as $$
  -- Only what the app shows: whatever else an answer carries could tell who made it.
  select case p_feature
    when 'risk' then jsonb_build_object('risk_level', p_output -> 'risk_level', 'reasons', p_output -> 'reasons', 'recommended_actions', p_output -> 'recommended_actions')
    else jsonb_build_object(
      'suggested_plan', (
        select jsonb_agg(jsonb_build_object('phase', step.value -> 'phase', 'title', step.value -> 'title', 'duration', step.value -> 'duration', 'risk', step.value -> 'risk') order by step.ordinality)
        from jsonb_array_elements(p_output -> 'suggested_plan') with ordinality as step
      ),
      'overall_risks', coalesce(p_output -> 'overall_risks', '[]'), 'assumptions', coalesce(p_output -> 'assumptions', '[]')
    )
  end;
$$;
comment on function public.slm_shown_output is 'An answer with nothing but what the app shows of it.';

create or replace view public.slm_review_state with (security_invoker = true) as
select item.id as item_id, item.org_id, item.feature, item.stratum, item.is_gold, item.prompt_input is not null as is_kept,
  said.votes, said.leading, said.for_leading,
  case when said.votes < 2 then 2 when said.for_leading = said.votes then 2 else 3 end as wanted,
  said.votes >= 2 and (said.for_leading = said.votes or said.votes >= 3) as is_settled,
  case when said.votes >= 2 and said.for_leading >= 2 then said.leading end as verdict
from public.slm_review_items as item
cross join lateral (
  select count(*)::integer as votes, mode() within group (order by review.verdict) as leading,
    greatest(
      count(*) filter (where review.verdict = 'first'), count(*) filter (where review.verdict = 'second'),
      count(*) filter (where review.verdict = 'both_good'), count(*) filter (where review.verdict = 'both_bad')
    )::integer as for_leading
  from public.slm_reviews as review
  where review.item_id = item.id and review.undone_at is null and review.verdict <> 'skip'
) as said;
comment on view public.slm_review_state is
'How far each pair is: two people judge it; where they differ, a third does. settled: nobody is asked any more; verdict: what at least two said, null where three said three things.';
revoke all on public.slm_review_state from public, anon, authenticated;
grant select on public.slm_review_state to service_role;

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
    'done', (select count(*) from public.slm_reviews as review where review.reviewer = me and review.undone_at is null),
    'left', (
      select count(*) from public.slm_review_state as state
      where state.is_kept and not state.is_settled and (state.org_id = org or state.org_id is null)
        and not exists (select from public.slm_reviews as review where review.item_id = state.item_id and review.reviewer = me and review.undone_at is null)
    )
  );
end;
$$;
comment on function public.slm_next_review is
'For a reviewer: the next pairs (1 to 10) of their organisation, blind, those they already hold first; how many they have judged, and how many are left for them.';

create or replace function public.slm_blind(p_item_id uuid, p_reviewer uuid)
returns jsonb
language sql stable
security invoker
set search_path = ''
as $$
  select jsonb_build_object(
    'id', item.id, 'feature', item.feature, 'prompt_input', item.prompt_input,
    'a', public.slm_shown_output(item.feature, case when turn.is_swapped then item.second_output else item.first_output end),
    'b', public.slm_shown_output(item.feature, case when turn.is_swapped then item.first_output else item.second_output end)
  )
  from public.slm_review_items as item
  join public.slm_review_turns as turn on turn.item_id = item.id and turn.reviewer = p_reviewer
  where item.id = p_item_id;
$$;
comment on function public.slm_blind is 'A pair as its reviewer sees it: input, A and B in the order drawn for them, and nothing of who made them.';

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
  insert into public.slm_reviews (id, item_id, reviewer, verdict, reason, correctness, usefulness, voice, corrected, seconds)
  values (
    (p_review ->> 'id')::uuid, item.id, me,
    case p_review ->> 'verdict'
      when 'a' then case when swapped then 'second' else 'first' end
      when 'b' then case when swapped then 'first' else 'second' end
      else p_review ->> 'verdict'
    end,
    p_review ->> 'reason', (p_review ->> 'correctness')::integer, (p_review ->> 'usefulness')::integer, (p_review ->> 'voice')::integer, corrected,
    least(greatest(coalesce((p_review ->> 'seconds')::numeric, 0), 0), 86400)
  )
  on conflict do nothing;
  return jsonb_build_object('kept', exists (
    select from public.slm_reviews as review where review.id = (p_review ->> 'id')::uuid and review.reviewer = me and review.item_id = item.id and review.undone_at is null
  ));
end;
$$;
comment on function public.slm_submit_review is
'For a reviewer: keeps {id, item_id, verdict (a, b, both_good, both_bad, skip), reason, correctness, usefulness, voice, corrected, seconds}. Again with the same id: changes nothing. A second verdict on the same pair is not kept.';

create or replace function public.slm_undo_review(p_id uuid)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
  me uuid := public.slm_caller();
  item uuid;
begin
  perform public.slm_reviews_for();
  update public.slm_reviews set undone_at = coalesce(undone_at, now()) where id = p_id and reviewer = me returning item_id into item;
  if item is null then
    raise exception 'There is no review of yours to take back' using errcode = 'P0002';
  end if;
  update public.slm_review_turns set given_at = now() where item_id = item and reviewer = me;
  return public.slm_blind(item, me);
end;
$$;
comment on function public.slm_undo_review is 'For a reviewer: takes a verdict of theirs back and returns the pair, as it was shown. Again: changes nothing.';

create or replace function public.slm_blank_reviews() returns trigger
language plpgsql
security invoker
set search_path = ''
as $$
declare
  blank uuid[];
begin
  if tg_table_name = 'slm_examples' then
    select array_agg(item.id) into blank from public.slm_review_items as item join gone on gone.id::text = item.example_id;
  else
    select array_agg(item.id) into blank
    from (
      select item.id from public.slm_review_items as item join gone on gone.id::text = item.source_id where item.source_table = 'slm_requests'
      union all
      select item.id from public.slm_review_items as item join gone on gone.id::text = item.other_id where item.source_table = 'slm_requests'
    ) as item;
  end if;
  update public.slm_review_items set prompt_input = null, first_output = null, second_output = null where id = any(blank);
  update public.slm_reviews set corrected = null, reason = case verdict when 'skip' then 'not kept' end where item_id = any(blank);
  return null;
end;
$$;
comment on function public.slm_blank_reviews is 'Takes the texts out of pairs whose row is removed by retention or erasure, with what reviewers wrote about them.';
create or replace trigger slm_blank_reviews after delete on public.slm_requests referencing old table as gone
for each statement execute function public.slm_blank_reviews();
create or replace trigger slm_blank_reviews after delete on public.slm_examples referencing old table as gone
for each statement execute function public.slm_blank_reviews();

create or replace function public.slm_forget_reviewer() returns trigger
language plpgsql
security invoker
set search_path = ''
as $$
begin
  delete from public.slm_reviews where reviewer = new.user_id;
  delete from public.slm_review_turns where reviewer = new.user_id;
  delete from public.slm_console_people where user_id = new.user_id;
  return null;
end;
$$;
comment on function public.slm_forget_reviewer is 'Removes what a person who asks to be forgotten said of answers, and what they may do here.';
create or replace trigger slm_forget_reviewer after insert or update on public.slm_erasures
for each row execute function public.slm_forget_reviewer();

revoke execute on function
public.slm_is_text, public.slm_is_output, public.slm_shown_output, public.slm_next_review, public.slm_blind, public.slm_submit_review, public.slm_undo_review, public.slm_blank_reviews,
public.slm_forget_reviewer
from public, anon, authenticated, service_role;
grant execute on function public.slm_next_review, public.slm_submit_review, public.slm_undo_review to authenticated;
-- The queue is filled with the service key.
grant execute on function public.slm_is_text, public.slm_is_output, public.slm_shown_output to service_role;
