-- No acknowledged request is without its one row, and a row knows what it cost.
begin;
select plan(23);

create function pg_temp.row(p_changes jsonb default '{}') returns jsonb language sql as $$
  select jsonb_build_object(
    'id', '00000000-0000-4000-8000-000000000001', 'user_id', '00000000-0000-4000-8000-0000000000aa', 'feature', 'risk', 'prompt_input', jsonb_build_object('title', 'T'),
    'prompt_version', 'risk-1/tag', 'stage', 'full', 'arm', 'private', 'shortened', jsonb_build_array('title')
  ) || p_changes
$$;
create function pg_temp.done(p_changes jsonb default '{}') returns jsonb language sql as $$
  select pg_temp.row('{"output": {"risk_level": "low"}, "provider": "slm", "model": "m", "confidence": 80, "latency_ms": 900, "model_ms": 890,
    "alternative_input_tokens": 400, "alternative_output_tokens": 100}' || p_changes)
$$;
create function pg_temp.kept() returns public.slm_requests language sql as $$ select r from public.slm_requests as r where id = '00000000-0000-4000-8000-000000000001' $$;

select public.slm_open(pg_temp.row());
select is((pg_temp.kept()).status, 'open', 'a request is open while the model works');
select is((pg_temp.kept()).provider, 'none', 'nobody has answered it yet');
select public.slm_open(pg_temp.row('{"feature": "plan"}'));
select is((pg_temp.kept()).feature, 'risk', 'opening again changes nothing');
select public.slm_close(pg_temp.done());
select is((pg_temp.kept()).status, 'closed', 'then it is closed');
select is((pg_temp.kept()).shortened, '{title}', 'what was shortened stays');
select public.slm_close(pg_temp.done('{"provider": "rules"}'));
select is((pg_temp.kept()).provider, 'slm', 'closing again changes nothing');
select public.slm_open(pg_temp.row());
select is((pg_temp.kept()).status, 'closed', 'opening after closing changes nothing');
select is((select count(*) from public.slm_requests), 1::bigint, 'there is one row');

select public.slm_close(pg_temp.done('{"id": "00000000-0000-4000-8000-000000000002"}'));
select is((select status from public.slm_requests where id = '00000000-0000-4000-8000-000000000002'), 'closed', 'a row that could not be opened is written whole');

select public.slm_open(pg_temp.row('{"id": "00000000-0000-4000-8000-000000000003"}'));
select is(public.slm_sweep(), 0, 'a young open row is left alone');
update public.slm_requests set created_at = now() - interval '10 minutes' where status = 'open';
select is(public.slm_sweep(), 1, 'an old one is lost');
select is((select status from public.slm_requests where id = '00000000-0000-4000-8000-000000000003'), 'lost', 'and says so');
select public.slm_close(pg_temp.done('{"id": "00000000-0000-4000-8000-000000000003"}'));
select is((select status from public.slm_requests where id = '00000000-0000-4000-8000-000000000003'), 'closed', 'a late worker still completes it');

select is((pg_temp.kept()).cost_usd, 0::numeric, 'the cloud was not paid for a private answer');
select is((pg_temp.kept()).alternative_usd, 0.00012::numeric, 'it would have cost 400 * 0.15 + 100 * 0.60 dollars a million');
insert into public.slm_prices (model, valid_from, input_usd_per_million, output_usd_per_million) values ('gpt-4o-mini', (now() at time zone 'utc')::date, 1, 2);
select is(public.slm_price('gpt-4o-mini', (now() at time zone 'utc')::date - 1, 1000000, 0), 0.15::numeric, 'yesterday''s price stays yesterday''s');
select is(public.slm_price('gpt-4o-mini', (now() at time zone 'utc')::date, 1000000, 1000000), 3::numeric, 'today''s is today''s');
select is(public.slm_price('unknown', now()::date, 1, 1), null, 'a model that is not on the list has no price');
select is(public.slm_alternative_usd('2027-02-01', 1000000, 0), 0.10::numeric, 'after the end of a model the next one is the alternative');
select public.slm_close(pg_temp.done('{"id": "00000000-0000-4000-8000-000000000004", "provider": "slm", "cloud_model": "gpt-4o-mini", "cloud_input_tokens": 1000, "cloud_output_tokens": 0, "fallback_reason": "schema"}'));
select is((select cost_usd from public.slm_requests where id = '00000000-0000-4000-8000-000000000004'), 0.001::numeric, 'a cloud answer that was not used is paid all the same');

select is((public.slm_erase_user('00000000-0000-4000-8000-0000000000aa') ->> 'requests')::integer, 4, 'erasing a user removes all their rows');
select public.slm_close(pg_temp.done(jsonb_build_object('created_at', now() - interval '1 minute')));
select is((select count(*) from public.slm_requests), 0::bigint, 'a request that was under way does not bring them back');

insert into public.slm_org_settings (org_id, retention_days) values ('00000000-0000-4000-8000-00000000000a', 7);
insert into public.slm_requests (id, org_id, user_id, feature, prompt_input, output, provider, model, prompt_version, latency_ms, created_at)
select gen_random_uuid(), org, gen_random_uuid(), 'risk', '{}', '{}', 'slm', 'm', 'p', 1, now() - age
from (values (null::uuid), ('00000000-0000-4000-8000-00000000000a')) as o (org), (values (interval '8 days'), (interval '89 days'), (interval '91 days')) as a (age);
select is(public.slm_apply_retention(), 4, 'each organisation keeps its rows as long as it says, the default 90 days');

select * from finish();
rollback;
