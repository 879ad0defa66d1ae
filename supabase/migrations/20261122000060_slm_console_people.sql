-- Who may use the console: nobody, until an operator lets a person in.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists public.slm_console_people (
  user_id uuid not null,
  role text not null constraint slm_console_people_role check (role in ('reviewer', 'operator')),
  org_id uuid,
  let_in_by text not null,
  let_in_at timestamptz not null default now(),
  primary key (user_id, role),
  constraint slm_console_people_reviews_for_one_org check ((role = 'reviewer') = (org_id is not null))
);
comment on table public.slm_console_people is
'Who may judge answers (reviewer, of one organisation) and who may see and move the rollout (operator). The app lets users write their own profile, so its role alone opens nothing; a reviewer must also still be a manager of that organisation there.';
comment on column public.slm_console_people.user_id is 'The signed-in person (auth.users.id).';
alter table public.slm_console_people enable row level security;
revoke all on public.slm_console_people from public, anon, authenticated;
grant select, insert, update, delete on public.slm_console_people to service_role;

create or replace function public.slm_caller()
returns uuid
language sql stable
security invoker
set search_path = ''
as $$
  select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid;
$$;
comment on function public.slm_caller is 'The signed-in person of this request; null for a visitor.';

create or replace function public.slm_manages(p_user_id uuid)
returns uuid
language sql stable
security invoker
set search_path = ''
as $$
  select profile.org_id from public.profiles as profile
  where profile.id = p_user_id and lower(profile.role) in ('manager', 'executive', 'admin', 'owner');
$$;
comment on function public.slm_manages is 'The organisation that a person manages, as the app''s profile says; null for none.';

create or replace function public.slm_reviews_for()
returns uuid
language plpgsql stable
security invoker
set search_path = ''
as $$
declare
  org uuid;
begin
  select person.org_id into org from public.slm_console_people as person
  where person.user_id = public.slm_caller() and person.role = 'reviewer' and person.org_id = public.slm_manages(person.user_id);
  if org is null then
    raise exception 'You may not review answers (ask the operator to let you in)' using errcode = '42501';
  end if;
  return org;
end;
$$;
comment on function public.slm_reviews_for is 'The organisation whose answers the caller may review. Raises 42501 for everybody else.';

create or replace function public.slm_operates()
returns text
language plpgsql stable
security invoker
set search_path = ''
as $$
begin
  if not exists (select from public.slm_console_people as person where person.user_id = public.slm_caller() and person.role = 'operator') then
    raise exception 'You may not do that (only an operator may)' using errcode = '42501';
  end if;
  return coalesce((select nullif(btrim(profile.full_name), '') from public.profiles as profile where profile.id = public.slm_caller()), public.slm_caller()::text);
end;
$$;
comment on function public.slm_operates is 'The operator''s name, for what is written down. Raises 42501 for everybody else.';

create or replace function public.slm_me()
returns jsonb
language sql stable
security definer
set search_path = ''
as $$
  select jsonb_build_object(
    'name', profile.full_name, 'org', org.name, 'is_manager', public.slm_manages(caller.id) is not null,
    'may_review', exists (
      select from public.slm_console_people as person where person.user_id = caller.id and person.role = 'reviewer' and person.org_id = public.slm_manages(caller.id)
    ),
    'is_operator', exists (select from public.slm_console_people as person where person.user_id = caller.id and person.role = 'operator')
  )
  from (select public.slm_caller() as id) as caller
  left join public.profiles as profile on profile.id = caller.id
  left join public.orgs as org on org.id = profile.org_id;
$$;
comment on function public.slm_me is 'What the console shows to the caller: their name, organisation and what they may do.';

create or replace function public.slm_reviewers()
returns jsonb
language plpgsql stable
security definer
set search_path = ''
as $$
begin
  perform public.slm_operates();
  return (
    select coalesce(jsonb_agg(jsonb_build_object('user_id', manager.id, 'name', manager.full_name, 'org', org.name, 'is_in', person.user_id is not null, 'since', person.let_in_at)
      order by org.name, manager.full_name, manager.id), '[]')
    from public.profiles as manager
    join public.orgs as org on org.id = manager.org_id
    left join public.slm_console_people as person on person.user_id = manager.id and person.role = 'reviewer' and person.org_id = manager.org_id
    where public.slm_manages(manager.id) is not null
  );
end;
$$;
comment on function public.slm_reviewers is 'For an operator: every manager of the app, and whether they may review.';

create or replace function public.slm_let_review(p_user_id uuid, p_may boolean)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
  operator text := public.slm_operates();
  org uuid := public.slm_manages(p_user_id);
begin
  if not p_may then
    delete from public.slm_console_people where user_id = p_user_id and role = 'reviewer';
  elsif org is null then
    raise exception 'Only a manager of an organisation can review its answers' using errcode = 'P0001';
  else
    insert into public.slm_console_people (user_id, role, org_id, let_in_by) values (p_user_id, 'reviewer', org, operator)
    on conflict (user_id, role) do update set org_id = excluded.org_id, let_in_by = excluded.let_in_by, let_in_at = now();
  end if;
  return public.slm_reviewers();
end;
$$;
comment on function public.slm_let_review is 'For an operator: lets a manager review the answers of the organisation that they manage today, or no longer. Operators themselves are let in with the service key.';

revoke execute on function public.slm_caller, public.slm_manages, public.slm_reviews_for, public.slm_operates, public.slm_me, public.slm_reviewers, public.slm_let_review
from public, anon, authenticated, service_role;
grant execute on function public.slm_me, public.slm_reviewers, public.slm_let_review to authenticated;
