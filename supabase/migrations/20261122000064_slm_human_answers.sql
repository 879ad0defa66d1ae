-- What reviewers agreed on, and what they wrote themselves, for the next dataset.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace view public.slm_human_answers with (security_invoker = true) as
select item.id, said.at as created_at, item.org_id, request.user_id, request.task_id, item.feature, item.prompt_input, request.prompt_version, request.id as request_id,
  coalesce(said.corrected, case state.verdict when 'first' then item.first_output when 'second' then item.second_output end) as output,
  case when said.corrected is not null then 'corrected' else 'agreed' end as how, said.reviewers
from public.slm_review_items as item
join public.slm_review_state as state on state.item_id = item.id
join public.slm_requests as request on item.source_table = 'slm_requests' and request.id::text = item.source_id
cross join lateral (
  select max(review.created_at) as at, array_agg(review.reviewer order by review.reviewer) as reviewers,
    (array_agg(review.corrected order by review.created_at desc) filter (where review.corrected is not null))[1] as corrected
  from public.slm_reviews as review where review.item_id = item.id and review.undone_at is null and review.verdict <> 'skip'
) as said
where state.is_settled and not item.is_gold and item.prompt_input is not null and (said.corrected is not null or state.verdict in ('first', 'second'));
comment on view public.slm_human_answers is
'One good answer for each settled pair of the ledger that has one: as a reviewer corrected it (the latest), else the one that at least two people preferred. Gold inputs are never among them: they do not train.';
revoke all on public.slm_human_answers from public, anon, authenticated;
grant select on public.slm_human_answers to service_role;
