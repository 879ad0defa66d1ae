-- How long rows are kept, and how a person is forgotten.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists public.slm_erasures (
  user_id uuid primary key,
  at timestamptz not null default now()
);
comment on table public.slm_erasures is 'Who asked to be forgotten, and when: a request that was still being answered then is not written down afterwards.';
alter table public.slm_erasures enable row level security;
revoke all on public.slm_erasures from public, anon, authenticated;
grant select, insert, update, delete on public.slm_erasures to service_role;

create or replace function public.slm_forget_late_rows() returns trigger
language plpgsql
security invoker
set search_path = ''
as $$
begin
  -- A minute more than asked for: the edge's clock may be ahead of the database's.
  perform pg_advisory_xact_lock_shared(hashtextextended(new.user_id::text, 0));
  if exists (select from public.slm_erasures as erasure where erasure.user_id = new.user_id and erasure.at + interval '1 minute' >= new.created_at) then
    return null;
  end if;
  return new;
end;
$$;
comment on function public.slm_forget_late_rows is 'Keeps ledger rows of erased users from coming back.';
create or replace trigger slm_forget_late_rows before insert on public.slm_requests
for each row execute function public.slm_forget_late_rows();

create or replace function public.slm_erase_user(p_user_id uuid)
returns jsonb
language plpgsql
security invoker
set search_path = ''
as $$
declare
  removed integer;
begin
  -- Waits for rows that are being written, and makes later ones wait until it can see them coming.
  perform pg_advisory_xact_lock(hashtextextended(p_user_id::text, 0));
  insert into public.slm_erasures (user_id, at) values (p_user_id, clock_timestamp())
  on conflict (user_id) do update set at = excluded.at;
  delete from public.slm_requests where user_id = p_user_id;
  get diagnostics removed = row_count;
  return jsonb_build_object('requests', removed, 'datasets', '[]'::jsonb, 'models', '[]'::jsonb);
end;
$$;
comment on function public.slm_erase_user is
'Removes all ledger rows of a user and keeps later ones of requests under way from being written. Names the datasets and models that used them: none exist before the trainer writes datasets.';

create or replace function public.slm_apply_retention()
returns integer
language sql
security invoker
set search_path = ''
as $$
  with gone as (
    delete from public.slm_requests as request
    where request.created_at < now() - make_interval(days => (
      select settings.retention_days from public.slm_org_settings as settings
      where settings.org_id = request.org_id or settings.org_id is null order by settings.org_id nulls last limit 1
    ))
    returning 1
  )
  select count(*)::integer from gone;
$$;
comment on function public.slm_apply_retention is 'Removes ledger rows that are older than their organisation keeps them; returns how many.';

revoke execute on function public.slm_forget_late_rows, public.slm_erase_user, public.slm_apply_retention from public, anon, authenticated, service_role;
grant execute on function public.slm_erase_user, public.slm_apply_retention to service_role;
