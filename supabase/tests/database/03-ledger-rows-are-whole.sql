-- A ledger row that makes no sense is refused.
begin;
select plan(8);

create function pg_temp.put(p_changes jsonb) returns void language sql as $$
  insert into public.slm_requests
  select * from jsonb_populate_record(null::public.slm_requests, jsonb_build_object(
    'id', gen_random_uuid(), 'created_at', now(), 'user_id', gen_random_uuid(), 'feature', 'risk', 'prompt_input', '{}'::jsonb, 'output', '{}'::jsonb,
    'provider', 'slm', 'model', 'm', 'prompt_version', 'risk-1/tag', 'latency_ms', 5, 'shortened', '[]'::jsonb, 'details', '{}'::jsonb, 'status', 'closed', 'attempts', '[]'::jsonb, 'scrubbed', '{}'::jsonb, 'cost_usd', 0
  ) || p_changes)
$$;

select lives_ok($$select pg_temp.put('{}')$$, 'a whole row is taken');
select throws_ok($$select pg_temp.put('{"feature": "leave"}')$$, '23514', null, 'an unknown feature is refused');
select throws_ok($$select pg_temp.put('{"provider": "somebody"}')$$, '23514', null, 'an unknown provider is refused');
select throws_ok($$select pg_temp.put('{"confidence": 101}')$$, '23514', null, 'a confidence over 100 is refused');
select throws_ok($$select pg_temp.put('{"confidence": -1}')$$, '23514', null, 'a confidence under 0 is refused');
select throws_ok($$select pg_temp.put('{"output": null}')$$, '23514', null, 'no output without a reason is refused');
select lives_ok($$select pg_temp.put('{"output": null, "provider": "none", "fallback_reason": "timeout"}')$$, 'no output with a reason is taken');
select throws_ok($$select pg_temp.put('{"prompt_input": null}')$$, '23502', null, 'a row without its input is refused');

select * from finish();
rollback;
