-- A dataset is written in batches that may be repeated, knows its rows both ways, and forgets a person who asks for it.
begin;
select plan(36);

create temp table line on commit drop as
select n, lpad(to_hex(n), 64, '0') as id, ('00000000-0000-4000-8000-0000000000' || lpad(((n - 1) / 3)::text, 2, '0'))::uuid as person from generate_series(1, 6) as n;
create temp table batch on commit drop as
select jsonb_agg(jsonb_build_object(
  'id', id, 'split', case n when 6 then 'test' else 'train' end, 'feature', 'risk', 'origin', 'ledger', 'prompt_version', 'risk-1/tag', 'prompt_input', jsonb_build_object('n', n),
  'output', '{}'::jsonb, 'seed_id', null, 'cell', null, 'copies', 1, 'cluster', repeat('c', 64), 'quality', '{}'::jsonb,
  'sources', jsonb_build_array(jsonb_build_object('table', 'slm_requests', 'id', 'r' || n, 'org_id', null, 'user_id', person, 'task_id', null, 'created_at', '2026-11-01T00:00:00.000000Z'))
) order by n) as rows from line;
create temp table name on commit drop as select repeat('a', 64) as id;

select is(public.slm_begin_dataset((select id from name), 'risk', '{"train": 5, "test": 1, "gold": 0}', '{}'), 'writing', 'a new dataset is open');
select lives_ok($$select public.slm_write_dataset((select id from name), (select jsonb_path_query_array(rows, '$[0 to 2]') from batch))$$, 'a batch');
select throws_ok($$select public.slm_finish_dataset((select id from name))$$, 'P0001', 'it holds {"train": 3} examples, not {"test": 1, "train": 5}', 'half a dataset is not called complete');
select lives_ok($$select public.slm_write_dataset((select id from name), (select rows from batch))$$, 'a run that was killed writes all of it again');
select is(public.slm_finish_dataset((select id from name)), '{"test": 1, "train": 5}', 'complete');
select is(public.slm_begin_dataset((select id from name), 'risk', '{}', '{}'), 'complete', 'the next run has nothing to write');
select is((select count(*) from public.slm_examples), 6::bigint, 'nothing twice');
select is((select count(*) from public.slm_example_sources), 6::bigint, 'no source twice');
select throws_ok($$insert into public.slm_dataset_examples values ((select id from name), lpad('1', 64, '0'), 'holdout')$$, '23514', null, 'a split has one of four names');

select is((select array_agg(dataset_id) from public.slm_lineage where source_table = 'slm_requests' and source_id = 'r4'), (select array[id] from name), 'from a row to its datasets');
select is((select array_agg(source_id order by source_id) from public.slm_lineage where dataset_id = (select id from name) and split = 'train'), array['r1', 'r2', 'r3', 'r4', 'r5'], 'from a dataset to its rows');

select lives_ok(
  $$select public.slm_write_dataset((select id from name), (select jsonb_build_array(jsonb_set(jsonb_set(rows -> 0, '{sources,0,id}', '"later"'), '{cluster}', to_jsonb(repeat('d', 64)))) from batch))$$,
  'the same text came up again in a row that is new');
select is((select array_agg(dataset_id) from public.slm_lineage where source_id = 'later'), (select array[id] from name), 'the dataset is the same, and leads from that row too');
select is((select cluster from public.slm_examples where id = lpad('1', 64, '0')), repeat('d', 64), 'its cluster is the newest one');

select throws_ok($$select public.slm_freeze_gold('risk', (select jsonb_build_array(jsonb_set(rows -> 5, '{origin}', '"template"')) from batch))$$, 'P0001', 'made-up examples are among them (gold is frozen from the history)', 'made-up gold is refused');
select is((select count(*) from public.slm_gold), 0::bigint, 'and nothing of it is frozen');
select is(public.slm_freeze_gold('risk', (select jsonb_path_query_array(rows, '$[5]') from batch)), 1, 'gold is frozen');
select is(public.slm_freeze_gold('risk', (select jsonb_path_query_array(rows, '$[5]') from batch)), 1, 'the same again changes nothing');
select throws_ok($$select public.slm_freeze_gold('risk', (select jsonb_path_query_array(rows, '$[4]') from batch))$$, 'P0001', 'another gold set is frozen already (remove the local gold file to take that one)', 'another one is refused');
select is(public.slm_gold_rows('risk') -> 0 -> 'row' -> 'sources' -> 0 ->> 'created_at', '2026-11-01T00:00:00.000000Z', 'it comes back as it went');
select is(public.slm_gold_rows('risk') -> 0 -> 'allow_cloud', 'false', 'no organisation has allowed a cloud model to see it');
select is(public.slm_gold_rows('risk') -> 0 -> 'row' ->> 'cluster', repeat('c', 64), 'with its cluster');
delete from public.slm_org_settings where org_id is null;
select is(public.slm_gold_rows('risk') -> 0 -> 'allow_cloud', 'false', 'nor without any settings');
insert into public.slm_org_settings (org_id, allow_cloud) values (null, true);
select is(public.slm_gold_rows('risk') -> 0 -> 'allow_cloud', 'true', 'until it does');
select is(public.slm_record_baseline(jsonb_build_array(jsonb_build_object('example_id', lpad('6', 64, '0'), 'model', 'm', 'prompt_version', 'p', 'feature', 'risk', 'asked_at', now(), 'provider', 'x',
  'model_snapshot', 'm-1', 'said', '{}', 'output', '{}'::jsonb, 'fault', null, 'input_tokens', 1, 'output_tokens', 1, 'input_usd_per_million', 1, 'output_usd_per_million', 1, 'usd', 0, 'latency_ms', 1))), 1, 'an answer goes into the vault');

select is(
  public.slm_erase_user('00000000-0000-4000-8000-000000000001') - 'requests',
  jsonb_build_object('examples', 3, 'datasets', jsonb_build_array((select id from name)), 'models', '[]'::jsonb),
  'a person is forgotten, and the dataset that used them is named');
select is((select erased from public.slm_datasets), 3, 'the dataset says how many it lost');
select is((select count(*) from public.slm_examples), 3::bigint, 'their examples are gone');
select is((select count(*) from public.slm_baseline_answers) + (select count(*) from public.slm_gold), 0::bigint, 'from the vault too');
select throws_ok($$select public.slm_write_dataset((select id from name), (select rows from batch))$$, 'P0001', 'rows of a person who asked to be forgotten are among them (extract again)', 'and they do not come back');

-- Everybody who is involved counts, also where others are too, and also in rows that name no user.
insert into public.slm_example_sources select lpad('1', 64, '0'), 'slm_requests', 'shared', null, '00000000-0000-4000-8000-000000000009', null, now(), array['00000000-0000-4000-8000-000000000009']::uuid[];
select is(public.slm_erase_user('00000000-0000-4000-8000-000000000009') -> 'examples', '1', 'an example that another person also wrote goes');
create temp table of_two on commit drop as
select jsonb_build_array(jsonb_build_object('id', lpad('7', 64, '0'), 'split', 'train', 'feature', 'risk', 'origin', 'ledger', 'prompt_version', 'p', 'prompt_input', '{}'::jsonb, 'output', '{}'::jsonb, 'copies', 1, 'quality', '{}'::jsonb,
  'sources', jsonb_build_array(
    jsonb_build_object('table', 'slm_requests', 'id', 'r7', 'user_id', '00000000-0000-4000-8000-000000000071', 'task_id', null, 'created_at', '2026-11-01T00:00:00.000000Z', 'people', jsonb_build_array('00000000-0000-4000-8000-000000000071', '00000000-0000-4000-8000-000000000072')),
    jsonb_build_object('table', 'task_risk_snapshots', 'id', 's7', 'user_id', null, 'task_id', '00000000-0000-4000-8000-000000000077', 'created_at', '2026-11-01T00:00:00.000000Z', 'people', jsonb_build_array('00000000-0000-4000-8000-000000000072'))
  ))) as rows;
select lives_ok($$select public.slm_write_dataset((select id from name), (select rows from of_two))$$, 'a ledger row and its snapshot are one example');
select is(public.slm_erase_user('00000000-0000-4000-8000-000000000072') -> 'examples', '1', 'the person whose task it was is forgotten: it goes whole');
select is((select count(*) from public.slm_examples where id = lpad('7', 64, '0')), 0::bigint, 'nothing of it is left');
select throws_ok($$select public.slm_write_dataset((select id from name), (select rows from of_two))$$, 'P0001', 'rows of a person who asked to be forgotten are among them (extract again)', 'nor does it come back');
insert into public.tasks (id, title, assigned_to) values ('00000000-0000-4000-8000-000000000077', 'T', '00000000-0000-4000-8000-000000000071');
select public.slm_erase_user('00000000-0000-4000-8000-000000000071');
select throws_ok($$select public.slm_put_examples((select jsonb_set(rows, '{0,sources}', jsonb_build_array(rows -> 0 -> 'sources' -> 1 || '{"people": []}')) from of_two))$$, 'P0001', 'rows of a person who asked to be forgotten are among them (extract again)', 'also where only the task says whose it is');

select * from finish();
rollback;
