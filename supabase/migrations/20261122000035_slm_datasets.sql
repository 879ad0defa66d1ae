-- Datasets: each example once, under the hash of its content, with the rows it came from and the datasets it is in.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists public.slm_datasets (
  id text primary key constraint slm_datasets_id check (id ~ '^[0-9a-f]{64}$'),
  created_at timestamptz not null default now(),
  feature text not null constraint slm_datasets_feature check (feature in ('risk', 'plan')),
  status text not null default 'writing' constraint slm_datasets_status check (status in ('writing', 'complete')),
  splits jsonb not null,
  manifest jsonb not null default '{}',
  erased integer not null default 0
);
comment on table public.slm_datasets is 'One row for each version of a dataset, named by the hash of its content: the same content is the same dataset.';
comment on column public.slm_datasets.status is 'writing: the trainer has not written all examples yet (or was killed: run it again); complete: all are there.';
comment on column public.slm_datasets.splits is 'How many examples train, validate, test and judge (gold), as the trainer counted them.';
comment on column public.slm_datasets.manifest is 'What made it: counts by origin, seeds, versions, leakage report.';
comment on column public.slm_datasets.erased is 'Examples removed since because their person asked to be forgotten: the content no longer matches the hash when it is not 0.';

create table if not exists public.slm_examples (
  id text primary key constraint slm_examples_id check (id ~ '^[0-9a-f]{64}$'),
  created_at timestamptz not null default now(),
  feature text not null constraint slm_examples_feature check (feature in ('risk', 'plan')),
  origin text not null constraint slm_examples_origin check (origin in ('ledger', 'snapshot', 'steps', 'human', 'teacher', 'template')),
  prompt_version text not null,
  prompt_input jsonb not null,
  output jsonb not null,
  seed_id text,
  cell text,
  copies integer not null default 1,
  quality jsonb not null default '{}'
);
comment on table public.slm_examples is 'Inputs with good answers to them, personal data replaced. The id is the hash of feature, input and answer.';
comment on column public.slm_examples.origin is 'ledger, snapshot, steps: the app''s history; human: written by a person; teacher: by a larger model; template: by the offline template teacher.';
comment on column public.slm_examples.seed_id is 'The example that a synthetic one varies; it may be in no dataset itself.';
comment on column public.slm_examples.quality is 'Figures from 0 to 1, such as how much of the proposed plan the manager kept.';

create table if not exists public.slm_dataset_examples (
  dataset_id text not null references public.slm_datasets (id) on delete cascade,
  example_id text not null references public.slm_examples (id) on delete cascade,
  split text not null constraint slm_dataset_examples_split check (split in ('train', 'validation', 'test', 'gold')),
  primary key (dataset_id, example_id)
);
create index if not exists slm_dataset_examples_by_example on public.slm_dataset_examples (example_id);
comment on table public.slm_dataset_examples is 'Which example is in which dataset, and for what.';

create table if not exists public.slm_example_sources (
  example_id text not null references public.slm_examples (id) on delete cascade,
  source_table text not null,
  source_id text not null,
  org_id uuid,
  user_id uuid,
  task_id uuid,
  created_at timestamptz not null,
  primary key (example_id, source_table, source_id)
);
create index if not exists slm_example_sources_by_source on public.slm_example_sources (source_table, source_id);
create index if not exists slm_example_sources_by_user on public.slm_example_sources (user_id) where user_id is not null;
comment on table public.slm_example_sources is 'The rows of the app that an example came from: several where equal rows collapsed into one, those of its seed for a synthetic one.';
comment on column public.slm_example_sources.user_id is 'Whose row it was: erasing that person removes it.';

create table if not exists public.slm_gold (
  example_id text primary key references public.slm_examples (id) on delete cascade,
  feature text not null constraint slm_gold_feature check (feature in ('risk', 'plan')),
  frozen_at timestamptz not null default now()
);
comment on table public.slm_gold is 'The examples that every model is judged by: frozen once for each feature, never trained on.';

create or replace view public.slm_lineage with (security_invoker = true) as
select membership.dataset_id, dataset.feature, membership.split, membership.example_id, example.origin, source.source_table, source.source_id, source.org_id, source.user_id, source.task_id
from public.slm_dataset_examples as membership
join public.slm_datasets as dataset on dataset.id = membership.dataset_id
join public.slm_examples as example on example.id = membership.example_id
left join public.slm_example_sources as source on source.example_id = membership.example_id;
comment on view public.slm_lineage is 'From a row of the app to every dataset that used it (by source_table and source_id), and from a dataset back to its rows (by dataset_id).';

alter table public.slm_datasets enable row level security;
alter table public.slm_examples enable row level security;
alter table public.slm_dataset_examples enable row level security;
alter table public.slm_example_sources enable row level security;
alter table public.slm_gold enable row level security;
revoke all on public.slm_datasets, public.slm_examples, public.slm_dataset_examples, public.slm_example_sources, public.slm_gold, public.slm_lineage from public, anon, authenticated;
grant select, insert, update, delete on public.slm_datasets, public.slm_examples, public.slm_dataset_examples, public.slm_example_sources, public.slm_gold to service_role;
grant select on public.slm_lineage to service_role;
