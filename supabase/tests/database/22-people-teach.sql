-- What reviewers corrected or agreed on may be learned from, where the request itself may.
begin;
select plan(17);

create function pg_temp.id(p_name text) returns uuid language sql as $$ select md5(p_name)::uuid $$;
create function pg_temp.said(p_text text) returns jsonb language sql as $$
  select jsonb_build_object('risk_level', 'low', 'reasons', jsonb_build_array(p_text), 'recommended_actions', jsonb_build_array('Finish one small step today.'))
$$;
insert into public.orgs (id, name) select pg_temp.id(name), name from unnest(array['Open', 'Closed']) as name;
insert into public.slm_org_settings (org_id, allow_training) values (pg_temp.id('Open'), true), (pg_temp.id('Closed'), false);
insert into public.tasks (id, title, org_id, assigned_to) values (pg_temp.id('task'), 'A task', pg_temp.id('Open'), pg_temp.id('Emil'));
insert into public.slm_requests (id, org_id, user_id, task_id, feature, prompt_input, output, provider, model, prompt_version, latency_ms, created_at)
select pg_temp.id(pair.name), pg_temp.id(pair.org), pg_temp.id(pair.asker), case pair.name when 'corrected' then pg_temp.id('task') end, 'risk', jsonb_build_object('title', pair.name), pg_temp.said('The cloud said this.'), 'cloud', 'm', 'p', 1, '2026-03-05'
from (values ('corrected', 'Open', 'Asha'), ('both good', 'Open', 'Asha'), ('both bad', 'Open', 'Asha'), ('one vote', 'Open', 'Asha'), ('planted', 'Open', 'Asha'), ('secret', 'Closed', 'Asha'), ('of Ines', 'Open', 'Ines')) as pair (name, org, asker);
insert into public.slm_review_items (id, org_id, feature, stratum, prompt_input, first_output, second_output, first_made_by, second_made_by, source_table, source_id, is_gold)
select pg_temp.id('item ' || (request.prompt_input ->> 'title')), request.org_id, 'risk', 's', request.prompt_input, pg_temp.said('The small one said this.'), request.output, 'slm:m', 'cloud:m', 'slm_requests', request.id::text,
  request.prompt_input ->> 'title' = 'planted'
from public.slm_requests as request;
insert into public.slm_reviews (id, item_id, reviewer, verdict, corrected, seconds)
select gen_random_uuid(), pg_temp.id('item ' || vote.item), pg_temp.id(vote.reviewer), vote.verdict, case when vote.item = 'corrected' and vote.reviewer = 'Bela' then pg_temp.said('A person wrote this.') end, 1
from (values ('corrected', 'first'), ('both good', 'both_good'), ('both bad', 'both_bad'), ('planted', 'first'), ('secret', 'second'), ('of Ines', 'second')) as pair (item, verdict),
  lateral (values (pair.item, 'Bela', pair.verdict), (pair.item, 'Chen', pair.verdict)) as vote (item, reviewer, verdict);
insert into public.slm_reviews (id, item_id, reviewer, verdict, seconds) values (gen_random_uuid(), pg_temp.id('item one vote'), pg_temp.id('Bela'), 'first', 1);

create function pg_temp.rows() returns setof jsonb language sql as $$ select jsonb_array_elements(public.slm_history_page('slm_human_answers', now(), null)) $$;
create function pg_temp.read(p_name text) returns jsonb language sql as $$
  select coalesce(jsonb_agg((row ->> 'output')::jsonb #>> '{reasons,0}' order by row ->> 'output'), '[]') from pg_temp.rows() as row where row ->> 'request_id' = pg_temp.id(p_name)::text
$$;
select is(pg_temp.read('corrected'), '["A person wrote this."]', 'a correction is the answer');
select is(pg_temp.read('both good'), '["The cloud said this.", "The small one said this."]', 'two who find both good agree on both');
select is(pg_temp.read('both bad'), '[]', 'nobody learns from what is bad');
select is(pg_temp.read('one vote'), '[]', 'nor from one person''s word');
select is(pg_temp.read('planted'), '[]', 'nor from what was planted');
select is(pg_temp.read('secret'), '[]', 'nor from an organisation that does not allow it');
select is(pg_temp.read('of Ines'), '["The cloud said this."]', 'an agreed answer is there');
select is(public.slm_history_days('slm_human_answers') ->> 'withheld', '1', 'what may not be read is counted');
select is((select count(distinct row ->> 'id') from pg_temp.rows() as row), 4::bigint, 'each answer has an id of its own');
select is((select row -> 'people' from pg_temp.rows() as row where row ->> 'how' = 'corrected'), to_jsonb(array[pg_temp.id('Emil'), pg_temp.id('Asha'), pg_temp.id('Bela')]),
  'whoever wrote the correction is among its people, with those of the request');
select is((select jsonb_agg(distinct row -> 'people') from pg_temp.rows() as row where row ->> 'request_id' = pg_temp.id('both good')::text), jsonb_build_array(jsonb_build_array(pg_temp.id('Asha'))), 'who only judged is not');

select public.slm_erase_user(pg_temp.id('Ines'));
select is(pg_temp.read('of Ines'), '[]', 'who asked and is forgotten takes the answer along');
select public.slm_erase_user(pg_temp.id('Emil'));
select is(pg_temp.read('corrected'), '[]', 'so does whose task it was');
delete from public.slm_erasures;
select is(pg_temp.read('corrected'), '["A person wrote this."]', '(it was there)');
select public.slm_erase_user(pg_temp.id('Bela'));
select is(pg_temp.read('corrected'), '[]', 'and whoever wrote the correction');
select is(pg_temp.read('both good'), '[]', 'one vote that is left settles nothing');
update public.slm_org_settings set allow_training = false;
select is((select count(*) from pg_temp.rows()), 0::bigint, 'consent that is taken back leaves nothing');

select * from finish();
rollback;
