-- The app's own tables, as far as its two AI features touch them (contract.md 3.1). For local use only: never deployed.

create table public.orgs (
  id uuid primary key default gen_random_uuid(),
  name text not null,
  slug text,
  is_active boolean not null default true,
  created_at timestamptz not null default now()
);

create table public.profiles (
  id uuid primary key,
  full_name text,
  email text,
  role text not null default 'employee',
  org_id uuid references public.orgs (id),
  team_id uuid,
  created_at timestamptz not null default now()
);

create table public.tasks (
  id uuid primary key default gen_random_uuid(),
  title text,
  description text,
  assigned_to uuid,
  assigned_by uuid,
  assigned_by_name text,
  project_id uuid,
  priority text default 'medium',
  status text default 'pending',
  start_date date,
  start_time time,
  due_date date,
  due_time time,
  lifecycle_state text,
  sub_state text,
  phase_validations jsonb,
  allocated_hours numeric(10, 2),
  total_points numeric(10, 2),
  steps_count integer not null default 0,
  risk_tag text check (risk_tag in ('red', 'yellow')),
  skills text[] default '{}',
  ai_metadata jsonb default '{}'::jsonb,
  org_id uuid references public.orgs (id),
  started_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz
);

create table public.task_steps (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null,
  task_id uuid not null references public.tasks (id) on delete cascade,
  stage_id text not null,
  step_title text not null,
  step_description text,
  order_index integer not null default 0,
  status text not null default 'pending' check (status in ('pending', 'completed', 'skipped')),
  skipped_reason text,
  estimated_hours numeric default 0,
  step_number integer,
  created_by uuid,
  created_by_role text,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz,
  updated_at timestamptz
);

create table public.task_risk_snapshots (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null,
  task_id uuid not null references public.tasks (id) on delete cascade,
  computed_at timestamptz not null default now(),
  elapsed_hours numeric,
  steps_completed integer,
  total_steps integer,
  progress_ratio numeric,
  predicted_total_hours numeric,
  predicted_delay_hours numeric,
  risk_level text check (risk_level in ('low', 'medium', 'high')),
  confidence integer,
  reasons text[],
  recommended_actions text[],
  model_used text,
  raw_llm_response jsonb
);

create index task_risk_snapshots_task on public.task_risk_snapshots (task_id, computed_at desc);

create table public.notifications (
  id uuid primary key default gen_random_uuid(),
  receiver_id uuid,
  sender_id uuid,
  type text,
  message text,
  data jsonb,
  is_read boolean default false,
  created_at timestamptz,
  receiver_name text,
  sender_name text,
  org_id uuid
);

create table public.skills_master (
  id uuid primary key default gen_random_uuid(),
  skill_name text not null,
  category text
);

-- The app documents its own tables as open to every signed-in user (contract.md 3.9).
grant usage on schema public to anon, authenticated, service_role;
grant select, insert, update, delete on
  public.orgs, public.profiles, public.tasks, public.task_steps, public.task_risk_snapshots, public.notifications, public.skills_master
to authenticated, service_role;
