-- The ledger reproduces a month's invoice, a machine is never free, and a saving that may be none says so.
begin;
select plan(22);

-- A month of cloud answers with a price change on the 16th; the generator is the invoice's own record of what was used.
create temp table usage on commit drop as
select n, ('2026-10-01'::date + (n % 31))::date as day, 300 + (n * 7919) % 400 as input, 40 + (n * 104729) % 200 as output, n % 5 = 0 as in_vain
from generate_series(1, 3100) as n;
insert into public.slm_prices (model, valid_from, input_usd_per_million, output_usd_per_million) values ('gpt-4o-mini', '2026-10-16', 0.12, 0.48);
select public.slm_close(jsonb_build_object(
  'id', ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'created_at', day + time '12:00' , 'user_id', gen_random_uuid(), 'feature', 'risk', 'prompt_input', jsonb_build_object('n', n),
  'prompt_version', 'p', 'output', jsonb_build_object('n', n), 'provider', case when in_vain then 'slm' else 'cloud' end, 'model', 'gpt-4o-mini', 'latency_ms', 900,
  'fallback_reason', case when in_vain then 'schema' end,
  'cloud_model', 'gpt-4o-mini', 'cloud_input_tokens', input, 'cloud_output_tokens', output, 'alternative_input_tokens', input, 'alternative_output_tokens', output))
from usage;
create temp table invoice on commit drop as
select sum(round((case when day < '2026-10-16' then 0.15 * input + 0.60 * output else 0.12 * input + 0.48 * output end) / 1e6, 9)) as usd from usage;

select is((select count(*) from public.slm_requests), 3100::bigint, 'a month of 3,100 requests');
select cmp_ok((select abs(sum(daily.cloud_usd) / (select usd from invoice) - 1) from public.slm_daily as daily), '<', 0.01::numeric, 'the ledger reproduces the invoice within 1 %');
select cmp_ok((select abs(sum(spending.usd) / (select usd from invoice) - 1) from public.slm_cloud_spending as spending), '<', 0.01::numeric, 'so do the books of what was paid');
select is((select sum(requests)::integer from public.slm_daily), 3100, 'no request is counted twice or lost');
select cmp_ok((select sum(spent_in_vain_usd) from public.slm_daily), '>', 0::numeric, 'money for answers that were not used is shown');
select is((select count(*) from public.slm_daily), 31::bigint, 'on 31 days');
delete from public.slm_prices where valid_from = '2026-10-16';

select is((select count(*) from public.slm_savings_daily where saved_usd is not null), 0::bigint, 'without a machine price no saving is shown');
insert into public.slm_machine_prices (valid_from, usd_per_hour) values ('2026-10-01', 0.5);
select is((select machine_usd from public.slm_savings_daily where day = '2026-10-05'), 12::numeric, 'the machine costs 24 hours a day');
select is((select machine_usd from public.slm_savings_daily order by day desc limit 1), 12::numeric, 'also on a day without requests');
select cmp_ok((select saved_usd from public.slm_savings_daily where day = '2026-10-05'), '<', 0::numeric, 'a hundred requests a day do not pay for it');
select cmp_ok((select break_even_requests_per_day from public.slm_break_even), '>', 10000::numeric, 'and the break-even says how many would')
where exists (select from public.slm_break_even where break_even_requests_per_day is not null)
union all select skip('no requests in the last 30 days', 1) where not exists (select from public.slm_break_even where break_even_requests_per_day is not null);

insert into public.slm_machine_prices (valid_from, usd_per_hour) values ('2026-10-06', 0);
insert into public.slm_expenses (day, kind, usd, note) select '2026-10-07', 'training', sum(alternative_usd) - sum(cloud_usd), 'one night' from public.slm_daily where day = '2026-10-07';
select is((select round(saved_usd, 6) from public.slm_savings_daily where day = '2026-10-07'), 0.000000, 'training is paid from what was saved');
select ok((select saved_low_usd <= 0 and saved_high_usd >= 0 from public.slm_savings_daily where day = '2026-10-07'), 'its interval crosses zero');
select is((select ratio from public.slm_token_ratio), 1::double precision, 'our token count is the cloud''s here');
select is((select local_share from public.slm_local_share_daily where day = '2026-10-05'), 0.2000, 'a fifth was answered by the private model');
select is((select goal from public.slm_local_share_daily where day = '2026-10-05'), 0.9, 'the goal stands beside it');
select is((select sum(requests)::integer from public.slm_fallback_reasons_daily where reason = 'schema' and answered_by = 'slm'), 620, 'reasons are counted');
select is((select min(machine_usd) from public.slm_savings_daily where day < '2026-10-06'), 12::numeric, 'a price holds from its day only');

create temp table before on commit drop as select * from public.slm_savings_daily;
create temp table reasons on commit drop as select * from public.slm_fallback_reasons_daily;
create temp table shares on commit drop as select day, feature, requests, by_slm, by_cloud, by_rules, unanswered, lost, mean_ms, cloud_usd, spent_in_vain_usd, alternative_usd from public.slm_daily;
delete from public.slm_requests where created_at < '2026-10-12';
select public.slm_erase_user(user_id) from public.slm_requests where created_at >= '2026-10-25' and created_at < '2026-10-26';
select cmp_ok((select count(*) from public.slm_requests), '<', 2000::bigint, 'retention and erasure remove rows');
select set_eq('select day, requests, by_slm, cloud_usd, spent_in_vain_usd, alternative_usd, saved_usd from public.slm_savings_daily', 'select day, requests, by_slm, cloud_usd, spent_in_vain_usd, alternative_usd, saved_usd from before', 'and no figure changes');
select set_eq('select * from public.slm_fallback_reasons_daily', 'select * from reasons', 'no reason either');
select set_eq('select day, feature, requests, by_slm, by_cloud, by_rules, unanswered, lost, mean_ms, cloud_usd, spent_in_vain_usd, alternative_usd from public.slm_daily', 'select * from shares', 'nor any count');

select * from finish();
rollback;
