-- Two managers judge pairs blind; a third is asked where they differ; nobody else sees anything.
begin;
select plan(64);

create function pg_temp.id(p_name text) returns uuid language sql as $$ select md5(p_name)::uuid $$;
create function pg_temp.act(p_name text) returns void language sql as $$
  select set_config('request.jwt.claims', jsonb_build_object('sub', pg_temp.id(p_name), 'role', 'authenticated')::text, true)
$$;
insert into public.orgs (id, name) values (pg_temp.id('A'), 'A'), (pg_temp.id('B'), 'B');
insert into public.profiles (id, full_name, role, org_id)
select pg_temp.id(person.name), person.name, person.role, pg_temp.id(person.org)
from (values ('Asha', 'manager', 'A'), ('Bela', 'manager', 'A'), ('Chen', 'executive', 'A'), ('Dana', 'manager', 'A'), ('Emil', 'employee', 'A'), ('Zoe', 'manager', 'B')) as person (name, role, org);
insert into public.profiles (id, full_name, role) values (pg_temp.id('Olu'), 'Olu', 'developer');
insert into public.slm_console_people (user_id, role, let_in_by) values (pg_temp.id('Olu'), 'operator', 'test');

create function pg_temp.risk(p_level text) returns jsonb language sql as $$
  select jsonb_build_object('risk_level', p_level, 'reasons', jsonb_build_array('Half of the time is gone at level ' || p_level || '.'), 'recommended_actions', jsonb_build_array('Finish one small step today.'),
    'model', 'must not be seen')
$$;
insert into public.slm_requests (id, org_id, user_id, feature, prompt_input, output, provider, model, prompt_version, latency_ms, confidence, shadow, created_at)
select pg_temp.id('r' || n), pg_temp.id(case when n > 20 then 'B' else 'A' end), pg_temp.id('Emil'), 'risk',
  jsonb_build_object('title', 'Task ' || n, 'suggested', (array['low', 'medium', 'high'])[1 + n % 3], 'milestone', (array['none', '50_percent', '75_percent'])[1 + n % 3]),
  pg_temp.risk((array['low', 'medium', 'high'])[1 + n % 3]), 'cloud', 'gpt-4o-mini', 'p', 1, 80,
  jsonb_build_object('cause', null, 'ms', 1, 'output', pg_temp.risk((array['medium', 'high', 'low'])[1 + n % 3]), 'model', 'smollm2-x', 'confidence', 50 + n, 'agrees', n % 2 = 0), now() - n * interval '1 hour'
from generate_series(1, 24) as n;

select is(public.slm_fill_reviews(50), '{"planted": 0, "from_ledger": 0, "from_evaluation": 0}', 'while nobody may review, no pair is drawn');

set local role authenticated;
select pg_temp.act('Asha');
select is(public.slm_me() ->> 'may_review', 'false', 'a manager is not let in by their role alone');
select throws_ok('select public.slm_next_review()', '42501', 'You may not review answers (ask the operator to let you in)', 'and is told whom to ask');
select throws_ok(format('select public.slm_let_review(%L, true)', pg_temp.id('Asha')), '42501', null, 'nor may they let themselves in');
select pg_temp.act('Olu');
select is(jsonb_array_length(public.slm_reviewers()), 5, 'the operator sees the managers');
select lives_ok(format('select public.slm_let_review(%L, true)', pg_temp.id(name)), 'and lets in ' || name) from unnest(array['Asha', 'Bela', 'Chen', 'Zoe']) as name;
select throws_ok(format('select public.slm_let_review(%L, true)', pg_temp.id('Emil')), 'P0001', null, 'but no employee');
select throws_ok('select public.slm_next_review()', '42501', null, 'an operator sees no texts');
select is(public.slm_fill_review_queue(16), '{"planted": 1, "from_ledger": 16, "from_evaluation": 0}', 'the operator fills the queue, one in ten is planted');
select is(public.slm_fill_review_queue(16), '{"planted": 0, "from_ledger": 0, "from_evaluation": 0}', 'which is full then');
reset role;
select is((select count(*) from public.slm_review_items where org_id = pg_temp.id('B') and not is_gold), 4::bigint, 'every organisation with a reviewer has its share');
select is((select count(distinct stratum) from public.slm_review_items where org_id = pg_temp.id('A') and not is_gold) > 2, true, 'and every stratum');

set local role authenticated;
select pg_temp.act('Asha');
create temporary table given as select public.slm_next_review(3) as body;
select is((select jsonb_array_length(body -> 'items') from given), 3, 'a reviewer gets as many pairs as asked for');
select is((select array_agg(key order by key) from given, jsonb_object_keys(body #> '{items,0}') as key), array['a', 'b', 'feature', 'id', 'prompt_input'], 'with nothing but input and answers');
select unalike((select body::text from given), '%smollm2%', 'no model is named');
select unalike((select body::text from given), '%must not be seen%', 'also not inside an answer');
select is(public.slm_next_review(3) -> 'items', (select body -> 'items' from given), 'asking again gives the same pairs in the same order');

create function pg_temp.say(p_name text, p_item uuid, p_verdict text, p_more jsonb default '{}') returns jsonb language plpgsql as $$
begin
  perform pg_temp.act(p_name);
  return public.slm_submit_review(jsonb_build_object('id', md5(p_name || p_item || p_verdict)::uuid, 'item_id', p_item, 'verdict', p_verdict, 'seconds', 12.5) || p_more);
end $$;
create function pg_temp.item(p_n integer) returns uuid language sql as $$ select (body #>> array['items', p_n::text, 'id'])::uuid from given $$;
select is(pg_temp.say('Asha', pg_temp.item(0), 'both_good', '{"correctness": 5, "usefulness": 4, "voice": 3}'), '{"kept": true}', 'a verdict is kept');
select is(pg_temp.say('Asha', pg_temp.item(0), 'both_good', '{"correctness": 1}'), '{"kept": true}', 'sent again it is there');
select is(pg_temp.say('Asha', pg_temp.item(0), 'both_bad'), '{"kept": false}', 'a second verdict on the same pair is not kept');
select throws_ok(format($$select pg_temp.say('Asha', %L, 'skip')$$, pg_temp.item(1)), '23514', null, 'a skip needs a reason');
select throws_ok(format($$select pg_temp.say('Asha', %L, 'x')$$, pg_temp.item(1)), '22023', null, 'a verdict is one of five');
select throws_ok(format($$select pg_temp.say('Asha', %L, 'a', '{"voice": 6}')$$, pg_temp.item(1)), '23514', null, 'a score is 1 to 5');
select throws_ok(format($$select pg_temp.say('Asha', %L, 'a', '{"corrected": {"risk_level": "low"}}')$$, pg_temp.item(1)), '22023', null, 'a correction has the shape of an answer');
select is(pg_temp.say('Asha', pg_temp.item(1), 'skip', '{"reason": "not my language"}'), '{"kept": true}', 'a skip with a reason is kept');
select throws_ok(format($$select pg_temp.say('Bela', %L, 'a')$$, pg_temp.item(2)), '42501', null, 'a pair that was not given to somebody is not theirs to judge');
select throws_ok(format($$select pg_temp.say('Zoe', %L, 'a')$$, pg_temp.item(2)), '42501', null, 'nor is another organisation''s');
select pg_temp.act('Emil');
select throws_ok('select public.slm_next_review()', '42501', null, 'an employee sees nothing');
select throws_ok('select public.slm_review_results()', '42501', null, 'nor what came of it');
select pg_temp.act('Zoe');
select ok((select count(*) >= 4 and bool_and(item #>> '{prompt_input,title}' in (select 'Task ' || n from generate_series(21, 24) as n)) from jsonb_array_elements(public.slm_next_review(10) -> 'items') as item),
  'a manager of another organisation gets that one''s pairs only');
select throws_ok(format('select public.slm_undo_review(%L)', md5('Asha' || pg_temp.item(0) || 'both_good')), 'P0002', null, 'and takes back nothing of others');

select pg_temp.act('Asha');
select is(public.slm_undo_review(md5('Asha' || pg_temp.item(0) || 'both_good')::uuid), (select body #> '{items,0}' from given), 'undo brings the pair back as it was');
select is(pg_temp.say('Asha', pg_temp.item(0), 'both_good'), '{"kept": false}', 'a late copy of what was taken back changes nothing');
select is(pg_temp.say('Asha', pg_temp.item(0), 'a', jsonb_build_object('corrected', pg_temp.risk('low') - 'model')), '{"kept": true}', 'the new verdict counts');

-- Bela sees the same pair, perhaps the other way round, and differs: Chen is asked; Dana was not let in.
reset role;
delete from public.slm_review_turns where reviewer = pg_temp.id('Zoe');
insert into public.slm_review_turns (item_id, reviewer, is_swapped) values (pg_temp.item(0), pg_temp.id('Bela'), false) on conflict (item_id, reviewer) do update set is_swapped = false;
update public.slm_review_turns set is_swapped = false where item_id = pg_temp.item(0);
update public.slm_reviews set verdict = 'first' where item_id = pg_temp.item(0) and undone_at is null;
set local role authenticated;
select is(pg_temp.say('Bela', pg_temp.item(0), 'b'), '{"kept": true}', 'a second reviewer differs');
reset role;
select is((select wanted from public.slm_review_state where item_id = pg_temp.item(0)), 3, 'so a third is wanted');
insert into public.slm_review_turns (item_id, reviewer, is_swapped) values (pg_temp.item(0), pg_temp.id('Chen'), true);
set local role authenticated;
select is(pg_temp.say('Chen', pg_temp.item(0), 'b'), '{"kept": true}', 'who sees them swapped');
reset role;
select is((select verdict from public.slm_review_state where item_id = pg_temp.item(0)), 'first', 'and decides for the first');
select is((select array[how, output ->> 'risk_level'] from public.slm_human_answers where request_id::text = (select source_id from public.slm_review_items where id = pg_temp.item(0))), array['corrected', 'low'], 'what a person corrected is the answer to learn from');
set local role authenticated;
select pg_temp.act('Asha');
select is(public.slm_review_results() -> 'pairs', '[]', 'whoever has pairs left is not told who wins');
select is(public.slm_review_results() -> 'left', public.slm_next_review() -> 'left', 'but how many are left');
reset role;
create temporary table hidden as select id, prompt_input from public.slm_review_items where org_id = pg_temp.id('A') and id not in (pg_temp.item(0), pg_temp.item(1));
grant select on hidden to authenticated;
update public.slm_review_items set prompt_input = null where id in (select id from hidden);
set local role authenticated;
select pg_temp.act('Asha');
select is(jsonb_array_length(public.slm_review_results() -> 'pairs'), 1, 'when none is left the result is there');
select unalike(public.slm_review_results()::text, '%smollm2%', 'without the model''s name');
select pg_temp.act('Zoe');
select is(jsonb_array_length(public.slm_review_results() -> 'pairs'), 0, 'another organisation does not see it');
reset role;
update public.slm_review_items as item set prompt_input = hidden.prompt_input from hidden where hidden.id = item.id;

-- Two who differ: no result yet, but it counts as disagreement and waits for a third.
create temporary table differing as select item.id from public.slm_review_items as item join hidden using (id) where not item.is_gold order by item.id limit 1;
grant select on differing to authenticated;
create function pg_temp.differing() returns uuid language sql as $$ select id from differing $$;
update public.slm_reviews set created_at = now() - interval '1 minute';
insert into public.slm_review_turns (item_id, reviewer, is_swapped) values (pg_temp.differing(), pg_temp.id('Asha'), true), (pg_temp.differing(), pg_temp.id('Bela'), false) on conflict (item_id, reviewer) do update set is_swapped = excluded.is_swapped;
set local role authenticated;
select is(pg_temp.say('Asha', pg_temp.differing(), 'b', jsonb_build_object('corrected', pg_temp.risk('high') - 'model', 'corrected_of', 'b')), '{"kept": true}', 'one prefers B, as corrected');
select is((select jsonb_build_array(said #> '{pair,id}', said #> '{review,verdict}', said #> '{review,corrected_of}', said #> '{review,corrected,risk_level}') from public.slm_last_review() as said),
  jsonb_build_array(pg_temp.differing(), 'b', 'b', 'high'), 'and is given back what they said last, as they saw it');
select is(pg_temp.say('Bela', pg_temp.differing(), 'b'), '{"kept": true}', 'another the other one');
reset role;
select results_eq(format('select verdict, corrected_of from public.slm_reviews where item_id = %L and undone_at is null order by verdict', pg_temp.differing()), $$values ('first', 'first'), ('second', null)$$, 'the correction stays with its answer');
set local role authenticated;
select pg_temp.act('Olu');
select is((select jsonb_agg(jsonb_build_array(pair -> 'is_settled', pair -> 'verdict', jsonb_array_length(pair -> 'votes')) order by pair -> 'is_settled') from jsonb_array_elements(public.slm_review_results() -> 'pairs') as pair),
  '[[false, null, 2], [true, "first", 3]]', 'the operator sees both, and which of them is settled');
select is((select jsonb_build_array(queue -> 'settled', queue -> 'waiting_for_third', queue -> 'reviewers') from jsonb_array_elements(public.slm_review_queue()) as queue where queue ->> 'org' = 'A'), '[1, 1, 3]', 'and that one waits for a third reviewer');
select matches(public.slm_review_results()::text, 'slm:smollm2-x', 'the operator sees which model it was');
reset role;
select is(public.slm_review_verdict('risk', 'smollm2-x') - 'share_low', '{"equal": 0, "pairs": 1, "share": 1.0000, "worse": 0, "better": 1}', 'a gate can ask for it');
delete from public.slm_requests where id::text = (select source_id from public.slm_review_items where id = pg_temp.item(0));
select results_eq(format('select prompt_input is null and first_output is null, (select count(*) from public.slm_reviews where item_id = item.id and corrected is not null) from public.slm_review_items as item where id = %L', pg_temp.item(0)),
  'values (true, 0::bigint)', 'a row that is not kept any more leaves no text behind');
select is((select verdict from public.slm_review_state where item_id = pg_temp.item(0)), 'first', 'but its verdict');
update public.profiles set role = 'employee' where id = pg_temp.id('Bela');
set local role authenticated;
select pg_temp.act('Bela');
select throws_ok('select public.slm_next_review()', '42501', null, 'who is no manager any more may not review any more');
reset role;
select public.slm_erase_user(pg_temp.id('Chen'));
select is((select count(*) from public.slm_reviews where reviewer = pg_temp.id('Chen')) + (select count(*) from public.slm_console_people where user_id = pg_temp.id('Chen')), 0::bigint, 'a reviewer can be forgotten');

-- Evaluations: the judged model against the others, on examples of one organisation that has a reviewer, or of none.
insert into public.slm_examples (id, feature, origin, prompt_version, prompt_input, output)
select repeat(letter, 64), 'risk', 'ledger', 'p', jsonb_build_object('title', 'Gold ' || letter), pg_temp.risk('low') - 'model' from unnest(array['a', 'b', 'c']) as letter;
insert into public.slm_example_sources (example_id, source_table, source_id, org_id, created_at)
values (repeat('a', 64), 'tasks', '1', pg_temp.id('A'), now()), (repeat('b', 64), 'tasks', '2', pg_temp.id('A'), now()), (repeat('b', 64), 'tasks', '3', pg_temp.id('B'), now());
insert into public.slm_eval_runs (id, feature, gold_sha256, n, models, summary) values (pg_temp.id('run'), 'risk', repeat('0', 64), 3, array['tuned', 'gpt-4o-mini'], '{}');
insert into public.slm_eval_results (eval_run_id, example_id, model, accepted, output, scores, confidence)
select pg_temp.id('run'), example.id, model, true, pg_temp.risk(case model when 'tuned' then 'low' else 'high' end) - 'model', '{"rouge_l": 0.5}', 70
from public.slm_examples as example, unnest(array['tuned', 'gpt-4o-mini']) as model;
select is(public.slm_fill_reviews(100) -> 'from_evaluation', '2', 'evaluations give pairs too');
select results_eq($$select org_id, first_made_by, second_made_by, metrics #>> '{first,accepted}' from public.slm_review_items where source_table = 'slm_eval_results' order by example_id$$,
  $$values (pg_temp.id('A'), 'slm:tuned', 'model:gpt-4o-mini', '1'), (null::uuid, 'slm:tuned', 'model:gpt-4o-mini', '1')$$, 'of one organisation, or made up; never of two');
delete from public.slm_examples where id = repeat('a', 64);
select is((select prompt_input from public.slm_review_items where example_id = repeat('a', 64)), null, 'an example that is erased leaves no text here either');

-- Whatever three people say, or fewer: the results are what the state of the pairs is.
insert into public.slm_review_items (id, feature, stratum, prompt_input, first_made_by, second_made_by, source_table, source_id)
select md5('said ' || a || b || c)::uuid, 'risk', 'said ' || a || b || c, '{}', 'slm:m', 'cloud:m', 'made up', 'said ' || a || b || c
from generate_series(0, 5) as a, generate_series(0, 5) as b, generate_series(0, 5) as c;
insert into public.slm_reviews (id, item_id, reviewer, verdict, reason, seconds)
select gen_random_uuid(), md5('said ' || a || b || c)::uuid, md5(who)::uuid, (array['first', 'second', 'both_good', 'both_bad', 'skip'])[said], 'why', 1
from generate_series(0, 5) as a, generate_series(0, 5) as b, generate_series(0, 5) as c, lateral (values ('Asha', a), ('Bela', b), ('Zoe', c)) as voice (who, said) where said > 0;
set local role authenticated;
select pg_temp.act('Olu');
create temporary table results as select public.slm_review_results() as body;
reset role;
select results_eq(
  $$select pair ->> 'stratum', pair -> 'is_settled', pair ->> 'verdict', jsonb_array_length(pair -> 'votes') from results, jsonb_array_elements(body -> 'pairs') as pair where pair ->> 'stratum' like 'said%' order by 1$$,
  $$select stratum, to_jsonb(is_settled), verdict, votes from public.slm_review_state where votes >= 2 and stratum like 'said%' order by 1$$, 'the results are of every pair with two verdicts, settled or not');
select is((select (body #>> '{open,risk}')::bigint from results), (select count(*) from public.slm_review_state where is_kept and not is_settled and not is_gold and feature = 'risk'), 'and of how many are open');
select * from finish();
rollback;
