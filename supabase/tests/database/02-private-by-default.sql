-- An organisation that never said anything allows nothing.
begin;
select plan(9);

select is((select count(*) from public.slm_org_settings), 1::bigint, 'one row is there from the start');
select is((select org_id from public.slm_org_settings), null, 'it is the operator''s default for everybody');
select is((select allow_cloud from public.slm_org_settings), false, 'no cloud model sees anything');
select is((select allow_training from public.slm_org_settings), false, 'no history trains');
select is((select retention_days from public.slm_org_settings), 90, 'rows shall be kept for 90 days');
select throws_ok('insert into public.slm_org_settings (org_id) values (null)', '23505', null, 'there is one default only');
select lives_ok($$insert into public.slm_org_settings (org_id) values ('00000000-0000-4000-8000-00000000000a')$$, 'an organisation has a row of its own');
select throws_ok($$insert into public.slm_org_settings (org_id) values ('00000000-0000-4000-8000-00000000000a')$$, '23505', null, 'but not two');
select throws_ok('update public.slm_org_settings set retention_days = 0', '23514', null, 'nothing is kept for no time at all');

select * from finish();
rollback;
