-- What each organisation allows. Private by default: no cloud, no training.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists public.slm_org_settings (
  id bigint generated always as identity primary key,
  org_id uuid,
  allow_cloud boolean not null default false,
  allow_training boolean not null default false,
  retention_days integer not null default 90 constraint slm_org_settings_retention check (retention_days between 1 and 3650),
  daily_cloud_usd numeric(12, 6) not null default 1,
  updated_at timestamptz not null default now(),
  constraint slm_org_settings_one_per_org unique nulls not distinct (org_id)
);

comment on table public.slm_org_settings is
'Per organisation: may a cloud model see its text, may its history train, how long is it kept, what may a day cost. The row without an organisation is the default for all others.';
comment on column public.slm_org_settings.org_id is 'The app''s organisation (profiles.org_id); null for the operator''s default.';
comment on column public.slm_org_settings.retention_days is 'Days that slm_requests rows are kept; slm_apply_retention() removes the older ones.';
comment on column public.slm_org_settings.daily_cloud_usd is 'The most that one organisation''s cloud answers may cost in a day (UTC), in US dollars.';

alter table public.slm_org_settings enable row level security;
revoke all on public.slm_org_settings from public, anon, authenticated;
revoke all on sequence public.slm_org_settings_id_seq from public, anon, authenticated;
grant select, insert, update, delete on public.slm_org_settings to service_role;

insert into public.slm_org_settings (org_id) values (null) on conflict do nothing;
