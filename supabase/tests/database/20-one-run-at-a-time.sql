-- The learning loop runs once at a time: a dead holder is taken over, and what it still tries to write is refused.
begin;
select plan(22);

create temp table run on commit drop as
select public.slm_take_training_lease('a', '{risk,plan}', 'smollm2-135m', 60) as got;
select is((select got - 'run' from run), '{"taken": true, "fence": 1, "from": null}'::jsonb, 'the first gets the lease');
select is(public.slm_take_training_lease('a', '{risk,plan}', 'smollm2-135m', 60), (select got from run), 'asking again gets the same');
select is(public.slm_take_training_lease('b', '{risk,plan}', 'smollm2-135m', 60) - array['run', 'heartbeat_at', 'lease_until'], '{"taken": false, "holder": "a", "stage": null}'::jsonb, 'another one does not, and hears who has it');
select lives_ok($$select public.slm_beat_training_run((select (got ->> 'run')::uuid from run), 1, 60, 'fine-tune', '{"step": 3}', array['d'])$$, 'the holder says how far it is');
select is((select to_jsonb(r) ->> 'stage' from public.slm_training_runs as r), 'fine-tune', 'everybody can see it');
select throws_ok($$insert into public.slm_training_runs (features, preset, holder, fence, lease_until) values ('{risk}', 'x', 'c', 9, now())$$, '23505', null, 'no second run can be at work');

update public.slm_training_runs set lease_until = clock_timestamp() - interval '1 second';
select is(public.slm_take_training_lease('b', '{risk,plan}', 'smollm2-135m', 60), (select got || '{"fence": 2, "from": "a"}' from run), 'the holder has died: its run goes on under a higher fence');
select is((select progress from public.slm_training_runs), '{"step": 3}'::jsonb, 'where it was');
select throws_like($$select public.slm_beat_training_run((select (got ->> 'run')::uuid from run), 1, 60)$$, '%was taken over by b (fence 2, yours is 1)', 'the dead one comes back and hears it');
select throws_ok($$select public.slm_beat_training_run((select (got ->> 'run')::uuid from run), 1, 60)$$, 'PT409', null, 'by a code of its own');
select throws_ok($$select public.slm_finish_training_run((select (got ->> 'run')::uuid from run), 1, 'done')$$, 'PT409', null, 'it cannot end the run');
select throws_ok($$select public.slm_register_model((select (got ->> 'run')::uuid from run), 1, '{"name": "m", "feature": "risk", "prompt_version": "p", "bytes": 1}')$$, 'PT409', null, 'nor register a model');
select throws_ok($$select public.slm_promote_model((select (got ->> 'run')::uuid from run), 1, 'm', '{risk}')$$, 'PT409', null, 'nor promote one');
select throws_ok($$select public.slm_refuse_model((select (got ->> 'run')::uuid from run), 1, 'm', '{risk}', 'no')$$, 'PT409', null, 'nor refuse one');
select is((select count(*) from public.slm_models), 0::bigint, 'nothing of it was written');

update public.slm_training_runs set lease_until = clock_timestamp() - interval '1 second';
select is(public.slm_take_training_lease('c', '{risk}', 'smollm2-135m', 60) - 'run', '{"taken": true, "fence": 3, "from": null}'::jsonb, 'a run of other features begins anew');
select is((select array_agg(format('%s %s', status, why) order by fence) from public.slm_training_runs), array['failed its holder b died in fine-tune', 'running '], 'the dead one''s has failed, and why');
select lives_ok($$select public.slm_finish_training_run((select id from public.slm_training_runs where fence = 3), 3, 'refused', 'accepted: 0.10, at least 0.95')$$, 'it ends');
select lives_ok($$select public.slm_finish_training_run((select id from public.slm_training_runs where fence = 3), 3, 'refused', 'accepted: 0.10, at least 0.95')$$, 'and may say so twice');
select throws_ok($$select public.slm_finish_training_run((select id from public.slm_training_runs where fence = 3), 3, 'done')$$, 'PT409', null, 'but not otherwise');
select throws_ok($$select public.slm_beat_training_run(gen_random_uuid(), 1, 60)$$, 'PT409', null, 'there is no such run');
select is(public.slm_take_training_lease('d', '{risk}', 'smollm2-135m', 60) ->> 'fence', '4', 'the next one may begin');

select * from finish();
rollback;
