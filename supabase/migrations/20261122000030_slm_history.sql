-- What the trainer needs to read the history and be sure that it has all of it.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table public.slm_operator_settings add column if not exists ledger_since timestamptz not null default now();
comment on column public.slm_operator_settings.ledger_since is
'Since when the ledger is kept. A risk snapshot from after that counts as an answer only with its ledger row: any client can write snapshots (contract.md, trap T33). Stays when retention removes the first rows.';
update public.slm_operator_settings as operator set ledger_since = ledger.began
from (select min(request.created_at) as began from public.slm_requests as request) as ledger
where ledger.began < operator.ledger_since;

create or replace function public.slm_history_days(p_relation text, p_until timestamptz default null)
returns jsonb
language plpgsql stable
security invoker
set search_path = ''
as $$
declare
  dated text := case p_relation
    when 'slm_requests' then 'created_at' when 'tasks' then 'created_at' when 'task_steps' then 'created_at' when 'task_risk_snapshots' then 'computed_at'
  end;
  until timestamptz := coalesce(p_until, now());
  days jsonb;
  later bigint;
begin
  if dated is null then
    raise exception 'Cannot count %: it is no part of the history', p_relation;
  end if;
  -- One value, not rows: the server cuts rows at its limit without a word.
  execute format(
    $query$
      select coalesce(jsonb_object_agg(day.day, jsonb_build_array(day.rows, day.sum)), '{}')
      from (
        select case when row.%1$I between '0001-01-01' and '9999-12-31' then (row.%1$I at time zone 'utc')::date::text else 'undated' end as day,
          count(*) as rows, sum(hashtextextended(row::text, 0))::text as sum
        from public.%2$I as row
        where row.%1$I is null or row.%1$I <= $1
        group by 1
      ) as day
    $query$, dated, p_relation
  ) into days using until;
  execute format('select count(*) from public.%I as row where row.%I > $1', p_relation, dated) into later using until;
  return jsonb_build_object('until', until, 'days', days, 'later', later);
end;
$$;
comment on function public.slm_history_days is
'For each day (UTC) up to p_until (null: now): how many rows a table of the history has, and a sum over their whole content. The trainer reads the days whose sum has changed, and then knows that it has every row as it is. later: rows dated after that.';

revoke execute on function public.slm_history_days from public, anon, authenticated;
grant execute on function public.slm_history_days to service_role;
