-- What the cloud may cost is reserved before a question leaves; what became of it is settled afterwards, whoever died meanwhile.
begin;
select plan(18);

insert into public.orgs (id, name) values ('00000000-0000-4000-8000-00000000000a', 'A'), ('00000000-0000-4000-8000-00000000000b', 'B');
insert into public.profiles (id, full_name, org_id) values ('00000000-0000-4000-8000-0000000000aa', 'Asha Rao', '00000000-0000-4000-8000-00000000000a');
insert into public.slm_org_settings (org_id, allow_cloud, daily_cloud_usd) values ('00000000-0000-4000-8000-00000000000a', true, 0.01);

create function pg_temp.id(n integer) returns uuid language sql as $$ select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid $$;
-- 10,000 tokens in and 1,000 out at most: 0.0015 + 0.0006 dollars.
create function pg_temp.ask(n integer, p_org uuid default '00000000-0000-4000-8000-00000000000a') returns jsonb language sql as $$
  select public.slm_permit_cloud(pg_temp.id(n), p_org, 'gpt-4o-mini', 10000, 1000)
$$;
create function pg_temp.close(n integer, p_model text, p_input integer, p_output integer, p_user uuid default '00000000-0000-4000-8000-0000000000aa') returns void language sql as $$
  select public.slm_close(jsonb_build_object('id', pg_temp.id(n), 'user_id', p_user, 'org_id', '00000000-0000-4000-8000-00000000000a', 'feature', 'risk', 'prompt_input', '{}'::jsonb,
    'prompt_version', 'p', 'output', '{}'::jsonb, 'provider', case when p_model is null then 'slm' else 'cloud' end, 'model', 'm', 'latency_ms', 900,
    'cloud_model', p_model, 'cloud_input_tokens', p_input, 'cloud_output_tokens', p_output))
$$;
create function pg_temp.spent() returns numeric language sql as $$ select public.slm_cloud_usd_today('00000000-0000-4000-8000-00000000000a') $$;

select is((select array_agg(pg_temp.ask(n) is not null order by n) from generate_series(1, 6) as n), '{t,t,t,t,f,f}', 'of a burst as many may ask as can be paid at most');
select is(pg_temp.spent(), 0.0084::numeric, 'and that much is reserved');
select pg_temp.close(1, 'gpt-4o-mini', 1000, 100);
select is(pg_temp.spent(), 0.00651::numeric, 'a closed request costs what it did cost');
select is((select cost_usd from public.slm_requests where id = pg_temp.id(1)), 0.00021::numeric, 'as its row says');
select is(pg_temp.ask(7), '["Asha Rao"]'::jsonb, 'what was not needed may be spent by the next one, who gets the names to take out');
select pg_temp.close(2, null, null, null);
select is(pg_temp.spent(), 0.00651::numeric, 'a request that did not need the cloud gives its money back');
select pg_temp.close(1, 'gpt-4o-mini', 9999, 999);
select is(pg_temp.spent(), 0.00651::numeric, 'closing again changes nothing');
select is(pg_temp.ask(8, '00000000-0000-4000-8000-00000000000b'), null, 'an organisation that does not allow the cloud gets no permit');
update public.slm_operator_settings set daily_cloud_usd = 0.007;
select is(pg_temp.ask(9), null, 'what all may spend together holds too');
update public.slm_operator_settings set daily_cloud_usd = 5;
select is(public.slm_permit_cloud(pg_temp.id(10), '00000000-0000-4000-8000-00000000000a', 'unknown', 1, 1), null, 'a model without a price is not asked');

select public.slm_open(jsonb_build_object('id', pg_temp.id(3), 'user_id', '00000000-0000-4000-8000-0000000000aa', 'feature', 'risk', 'prompt_input', '{}'::jsonb, 'prompt_version', 'p'));
select is(public.slm_sweep('-1 seconds'), 1, 'a dead worker''s request is swept');
select is((select cost_usd from public.slm_requests where id = pg_temp.id(3)), 0.0021::numeric, 'at the most that it may have cost');
select pg_temp.close(3, 'gpt-4o-mini', 1000, 100);
select is((select cost_usd from public.slm_requests where id = pg_temp.id(3)), 0.00021::numeric, 'until a late worker knows better');
select is(pg_temp.spent(), 0.00462::numeric, 'and so do the books');

select public.slm_erase_user('00000000-0000-4000-8000-0000000000aa');
select is(pg_temp.spent(), 0.00462::numeric, 'what an erased person''s requests cost stays paid');
select pg_temp.close(4, 'gpt-4o-mini', 1000, 100);
select is((select count(*) from public.slm_requests), 0::bigint, 'a request that was under way leaves no row');
select is((select usd from public.slm_cloud_spending where request_id = pg_temp.id(4)), 0.00021::numeric, 'but its price');
select pg_temp.close(7, null, null, null, gen_random_uuid());
select pg_temp.ask(7);
select public.slm_sweep();
select is((select count(*) from public.slm_cloud_spending where request_id = pg_temp.id(7)), 0::bigint, 'a reservation that came after its request was closed is given back');

select * from finish();
rollback;
