-- A verdict that comes in after the pair's texts were erased is kept without words; a reviewer who moved on has left their former pairs.
begin;
select plan(18);

create function pg_temp.id(p_name text) returns uuid language sql as $$ select md5(p_name)::uuid $$;
create function pg_temp.act(p_name text) returns void language sql as $$
  select set_config('request.jwt.claims', jsonb_build_object('sub', pg_temp.id(p_name), 'role', 'authenticated')::text, true)
$$;
create function pg_temp.risk(p_level text) returns jsonb language sql as $$
  select jsonb_build_object('risk_level', p_level, 'reasons', jsonb_build_array('Half of the time is gone.'), 'recommended_actions', jsonb_build_array('Finish one small step today.'))
$$;
create function pg_temp.say(p_item text, p_verdict text, p_more jsonb default '{}') returns jsonb language sql as $$
  select public.slm_submit_review(jsonb_build_object('id', pg_temp.id(p_item || p_verdict), 'item_id', pg_temp.id(p_item), 'verdict', p_verdict, 'seconds', 9, 'voice', 4,
    'reason', 'Emil is always late', 'corrected', pg_temp.risk('low'), 'corrected_of', 'a') || p_more)
$$;
create function pg_temp.said(p_item text) returns text language sql as $$
  select format('%s, voice %s: %s, %s, %s', verdict, voice, reason, corrected ->> 'risk_level', corrected_of) from public.slm_reviews where item_id = pg_temp.id(p_item) and undone_at is null
$$;
insert into public.orgs (id, name) values (pg_temp.id('A'), 'A'), (pg_temp.id('B'), 'B');
insert into public.profiles (id, full_name, role, org_id) values (pg_temp.id('Asha'), 'Asha', 'manager', pg_temp.id('A'));
insert into public.slm_console_people (user_id, role, org_id, let_in_by) values (pg_temp.id('Asha'), 'reviewer', pg_temp.id('A'), 'test');
insert into public.slm_requests (id, org_id, user_id, feature, prompt_input, output, provider, model, prompt_version, latency_ms)
select pg_temp.id('request ' || name), pg_temp.id('A'), pg_temp.id('Emil'), 'risk', '{}', '{}', 'cloud', 'm', 'p', 1 from unnest(array['gone', 'skipped', 'kept']) as name;
insert into public.slm_review_items (id, org_id, feature, stratum, prompt_input, first_output, second_output, first_made_by, second_made_by, source_table, source_id)
select pg_temp.id(name), pg_temp.id(org), 'risk', 'risk: plain', '{"title": "T"}', pg_temp.risk('low'), pg_temp.risk('high'), 'slm:m', 'cloud:m', 'slm_requests', pg_temp.id('request ' || name)::text
from (values ('gone', 'A'), ('skipped', 'A'), ('kept', 'A'), ('made up', null)) as item (name, org);
insert into public.slm_review_turns (item_id, reviewer, is_swapped) select item.id, pg_temp.id('Asha'), false from public.slm_review_items as item;

delete from public.slm_requests where id in (pg_temp.id('request gone'), pg_temp.id('request skipped'));
set local role authenticated;
select pg_temp.act('Asha');
select is(pg_temp.say('gone', 'a'), '{"kept": true}', 'a verdict that comes in late is kept');
select is(pg_temp.say('skipped', 'skip'), '{"kept": true}', 'a skip too');
select is(pg_temp.say('kept', 'a'), '{"kept": true}', 'and one in time');
select lives_ok($$select pg_temp.say('gone', 'a', '{"corrected": {"risk_level": "of another version"}}')$$, 'what is not kept need not have a shape');
select throws_ok($$select pg_temp.say('gone', 'x')$$, '22023', null, 'a verdict is one of five all the same');
reset role;
select is(pg_temp.said('gone'), 'first, voice 4: , , ', 'without the words of whom the pair was about');
select is(pg_temp.said('skipped'), 'skip, voice 4: not kept, , ', 'nor why it was skipped');
select is(pg_temp.said('kept'), 'first, voice 4: Emil is always late, low, first', 'where the texts are there, so are the words');
select matches(pg_get_functiondef('public.slm_submit_review'::regproc), 'for share', 'an erasure and a verdict wait for each other');

-- Asha moves on.
set local role authenticated;
select is(pg_temp.say('made up', 'b'), '{"kept": true}', 'a pair of nobody''s');
reset role;
update public.slm_reviews set created_at = now() - interval '1 hour' where item_id = pg_temp.id('made up');
update public.slm_reviews set created_at = now() - interval '1 minute' where item_id = pg_temp.id('kept');
set local role authenticated;
select is((public.slm_last_review() #>> '{pair,id}')::uuid, pg_temp.id('kept'), 'who reviews for the organisation sees their last pair');
reset role;
update public.profiles set org_id = pg_temp.id('B') where id = pg_temp.id('Asha');
update public.slm_console_people set org_id = pg_temp.id('B') where user_id = pg_temp.id('Asha');
set local role authenticated;
select is((public.slm_last_review() #>> '{pair,id}')::uuid, pg_temp.id('made up'), 'who moved to another one sees none of the former');
select throws_ok(format('select public.slm_undo_review(%L)', pg_temp.id('kepta')), 'P0002', null, 'and takes none of it back');
select is((public.slm_undo_review(pg_temp.id('made upb')) ->> 'id')::uuid, pg_temp.id('made up'), 'but what is nobody''s');
select is((public.slm_undo_review(pg_temp.id('made upb')) ->> 'id')::uuid, pg_temp.id('made up'), 'again changes nothing');
select is(public.slm_last_review(), null, 'then there is none left');
reset role;
select is((select undone_at from public.slm_reviews where id = pg_temp.id('kepta')), null, 'the former verdict stands');
update public.profiles set org_id = pg_temp.id('A') where id = pg_temp.id('Asha');
update public.slm_console_people set org_id = pg_temp.id('A') where user_id = pg_temp.id('Asha');
set local role authenticated;
select is((public.slm_undo_review(pg_temp.id('kepta')) ->> 'id')::uuid, pg_temp.id('kept'), 'until they are back');
reset role;

select * from finish();
rollback;
