-- A row that was written while the policy could not be looked up is under its organisation's rules, not under the operator's default.
begin;
select plan(17);

create function pg_temp.id(n integer) returns uuid language sql as $$ select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid $$;
insert into public.orgs (id, name) values (pg_temp.id(100), 'Strict'), (pg_temp.id(101), 'Other');
insert into public.profiles (id, full_name, org_id) values (pg_temp.id(1), 'Asha', pg_temp.id(100)), (pg_temp.id(2), 'Nobody''s', null);
update public.slm_org_settings set allow_cloud = true, allow_training = true, retention_days = 90 where org_id is null;
insert into public.slm_org_settings (org_id, retention_days) values (pg_temp.id(100), 7);

create function pg_temp.row(n integer, p_user integer, p_more jsonb default '{}') returns jsonb language sql as $$
  select jsonb_build_object('id', pg_temp.id(n), 'org_id', null, 'user_id', pg_temp.id(p_user), 'feature', 'risk', 'prompt_input', jsonb_build_object('title', 'T'), 'prompt_version', 'p',
    'stage', 'full', 'arm', 'private') || p_more
$$;
create function pg_temp.done(n integer, p_user integer, p_more jsonb default '{}') returns jsonb language sql as $$
  select pg_temp.row(n, p_user, jsonb_build_object('output', '{}'::jsonb, 'provider', 'slm', 'model', 'm', 'latency_ms', 900) || p_more)
$$;
create function pg_temp.org(n integer) returns uuid language sql as $$ select org_id from public.slm_requests where id = pg_temp.id(n) $$;

set local role service_role;
select public.slm_open(pg_temp.row(11, 1));
reset role;
select is(pg_temp.org(11), pg_temp.id(100), 'an opened row belongs to the caller''s organisation, though the edge did not know it');
set local role service_role;
select public.slm_close(pg_temp.done(12, 1));
reset role;
select is(pg_temp.org(12), pg_temp.id(100), 'so does one that was never opened');
insert into public.slm_requests (id, user_id, feature, prompt_input, provider, model, prompt_version, latency_ms, status) values (pg_temp.id(13), pg_temp.id(1), 'risk', '{}', 'none', 'none', 'p', 0, 'open');
select public.slm_close(pg_temp.done(13, 1));
select is(pg_temp.org(13), pg_temp.id(100), 'and one that was opened before it was known');
select public.slm_open(pg_temp.row(14, 1, jsonb_build_object('org_id', pg_temp.id(101))));
select public.slm_close(pg_temp.done(14, 1, jsonb_build_object('org_id', pg_temp.id(100))));
select is(pg_temp.org(14), pg_temp.id(101), 'what the edge knew when the request came stays');
select public.slm_open(pg_temp.row(15, 2));
select public.slm_close(pg_temp.done(16, 3));
select is(array[pg_temp.org(15), pg_temp.org(16)], array[null, null]::uuid[], 'who belongs to nobody, or is not known, has no organisation');

select is((select count(*) from jsonb_array_elements(public.slm_history_page('slm_requests', now() + interval '1 day')) as row where row ->> 'user_id' = pg_temp.id(1)::text and row ->> 'id' <> pg_temp.id(14)::text), 0::bigint,
  'an organisation that does not let its history train keeps it, whatever the default is');
update public.slm_requests set created_at = now() - interval '8 days' where id in (pg_temp.id(11), pg_temp.id(15));
select is(public.slm_apply_retention(), 1, 'and its rows go when it says');
select is(pg_temp.org(11), null, 'as this one did');

-- What an unknown usage costs.
create function pg_temp.ask(n integer) returns jsonb language sql as $$ select public.slm_permit_cloud(pg_temp.id(n), pg_temp.id(101), 'gpt-4o-mini', 10000, 1000) $$;
create function pg_temp.paid(n integer, p_input integer, p_output integer) returns void language sql as $$
  select public.slm_close(pg_temp.done(n, 1, jsonb_build_object('org_id', pg_temp.id(101), 'provider', 'rules', 'fallback_reason', 'timeout', 'cloud_model', 'gpt-4o-mini', 'cloud_input_tokens', p_input, 'cloud_output_tokens', p_output)))
$$;
create function pg_temp.cost(n integer) returns numeric language sql as $$ select cost_usd from public.slm_requests where id = pg_temp.id(n) $$;
insert into public.slm_org_settings (org_id, allow_cloud, daily_cloud_usd) values (pg_temp.id(101), true, 0.0045);
select pg_temp.ask(21), pg_temp.ask(22);
select pg_temp.paid(21, null, null), pg_temp.paid(22, 1000, null);
select is(array[pg_temp.cost(21), pg_temp.cost(22)], array[0.0021, 0.0021], 'a cloud answer that broke off costs what was reserved for it');
select is((select array_agg(array[usd, is_settled::integer]) from public.slm_cloud_spending where request_id in (pg_temp.id(21), pg_temp.id(22))), '{{0.002100000,1},{0.002100000,1}}', 'so do the books, for good');
select pg_temp.paid(21, 1, 1);
select public.slm_sweep();
select is(public.slm_cloud_usd_today(pg_temp.id(101)), 0.0042, 'whatever comes later');
select is(pg_temp.ask(23), null, 'and the daily cap holds');
update public.slm_org_settings set daily_cloud_usd = 1 where org_id = pg_temp.id(101);
select pg_temp.ask(24);
select public.slm_open(pg_temp.row(24, 1));
select public.slm_sweep('-1 seconds');
select pg_temp.paid(24, null, null);
select is((select array[cost_usd::text, status] from public.slm_requests where id = pg_temp.id(24)), array['0.002100000', 'closed'], 'a late worker that does not know either leaves it so');
select pg_temp.paid(25, null, null);
select is(pg_temp.cost(25), 0::numeric, 'where nothing was reserved nothing is known');

-- What a private answer would have cost otherwise.
insert into public.slm_prices (model, valid_from, input_usd_per_million, output_usd_per_million) values ('azure-mini', '2024-01-01', 0.05, 0.05);
update public.slm_providers set is_enabled = false where model <> 'gpt-4o-mini';
insert into public.slm_providers (name, endpoint, model, priced_as, is_enabled) values ('ours', 'https://x', 'azure-mini', null, false);
select is(public.slm_alternative_usd('2026-11-23', 1000000, 0), 0.15, 'a model that is switched off is no alternative');
update public.slm_providers set is_enabled = true, model = 'our-deployment', priced_as = 'azure-mini' where name = 'ours';
select is(public.slm_alternative_usd('2026-11-23', 1000000, 0), 0.05, 'one that is called otherwise in the price list is');
update public.slm_providers set is_enabled = false;
select is(public.slm_alternative_usd('2026-11-23', 1000000, 0), 0.05, 'whoever has switched the whole cloud off still saves what it would have cost');

select * from finish();
rollback;
