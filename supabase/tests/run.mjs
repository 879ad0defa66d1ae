/**
 * Runs the pgTAP stories of supabase/tests/database on PGlite: the app's own tables, then our migrations, under the
 * default privileges of a hosted project. Each story is a transaction of its own, rolled back. Knows nothing of what is tested.
 *
 * node --test supabase/tests/run.mjs
 */
import { test } from "node:test";
import { appDatabase as database, files, here, migrate, read } from "./database.mjs";

/** Fails for each assertion that is not ok, for a wrong plan, and for a story that asserts nothing. */
async function tell(db, file, t) {
  await db.exec("set search_path = public, extensions");
  const lines = (await db.exec(read(file))).flatMap((result) => result.rows).flatMap((row) => Object.values(row)).map(String);
  const planned = Number(/^1\.\.(\d+)$/m.exec(lines.join("\n"))?.[1] ?? 0);
  const told = lines.filter((line) => /^(not )?ok \d+/.test(line));
  for (const line of told) {
    await t.test(line.replace(/^(not )?ok \d+ - /, "").split("\n")[0], () => {
      if (line.startsWith("not ok")) throw new Error(line);
    });
  }
  if (planned === 0 || told.length !== planned) throw new Error(`planned ${planned} assertions, ran ${told.length}: ${lines.slice(-3).join(" | ")}`);
}

test("stories", async (t) => {
  const db = await database();
  await migrate(db);
  const stories = files("tests/database");
  if (stories.length === 0) throw new Error("found no story");
  for (const file of stories) await t.test(file.slice(here.length + 1), (t) => tell(db, file, t));
  await db.close();
});

test("migrations applied twice, on a database with data, lose nothing and change nothing", async () => {
  const db = await database();
  const org = "00000000-0000-4000-8000-00000000000a";
  await db.exec(`
    insert into public.orgs (id, name) values ('${org}', 'Old');
    insert into public.tasks (id, title, org_id) values ('00000000-0000-4000-8000-000000000001', 'Before us', '${org}');
    insert into public.task_risk_snapshots (org_id, task_id, model_used, raw_llm_response)
    values ('${org}', '00000000-0000-4000-8000-000000000001', 'gpt-4o-mini', '{"_meta": {"model": "forged before us"}}');
  `);
  await migrate(db);
  await db.exec(`
    insert into public.slm_org_settings (org_id, allow_cloud) values ('${org}', true);
    insert into public.slm_requests (id, user_id, feature, prompt_input, output, provider, model, prompt_version, latency_ms)
    values (gen_random_uuid(), gen_random_uuid(), 'risk', '{}', '{}', 'slm', 'm', 'p', 1);
  `);
  const before = await state(db);
  await migrate(db);
  const after = await state(db);
  if (before !== after) throw new Error(`the second run changed the database:\n${before}\n${after}`);
  const [snapshot] = (await db.query("select model_used from public.task_risk_snapshots")).rows;
  if (snapshot.model_used !== "gpt-4o-mini") throw new Error("an old row was rewritten");
  await db.close();
});

test("what earlier versions left behind is mended", async () => {
  const db = await migrate(await database());
  const [org, person, nobody] = ["a", "b", "c"].map((digit) => `00000000-0000-4000-8000-00000000000${digit}`);
  await db.exec(`
    insert into public.orgs (id, name) values ('${org}', 'Old');
    insert into public.profiles (id, org_id) values ('${person}', '${org}'), ('${nobody}', null);
    insert into public.slm_requests (id, user_id, feature, prompt_input, output, provider, model, prompt_version, latency_ms)
    select gen_random_uuid(), person, 'risk', '{}', '{}', 'slm', 'm', 'p', 1 from unnest(array['${person}', '${nobody}']::uuid[]) as person;
    insert into public.slm_examples (id, feature, origin, prompt_version, prompt_input, output) values (repeat('a', 64), 'risk', 'ledger', 'p', '{}', '{}');
    insert into public.slm_example_sources (example_id, source_table, source_id, user_id, created_at)
    select repeat('a', 64), source, 'r', '${person}', now() from unnest(array['slm_requests', 'tasks']) as source;
    insert into public.slm_review_items (id, feature, stratum, prompt_input, first_made_by, second_made_by, source_table, source_id)
    select md5(name)::uuid, 'risk', 's', input::jsonb, 'slm:m', 'cloud:m', 'slm_requests', name from (values ('gone', null), ('kept', '{}')) as item (name, input);
    insert into public.slm_reviews (id, item_id, reviewer, verdict, reason, corrected, corrected_of, seconds)
    select gen_random_uuid(), md5(name)::uuid, gen_random_uuid(), verdict, 'why', '{}', 'first', 1 from unnest(array['gone', 'kept']) as name, unnest(array['first', 'skip']) as verdict;
    -- a, then b, then c, then back to b, then d
    alter table public.slm_models drop column former;
    insert into public.slm_models (name, feature, status, prompt_version, bytes, created_at, promoted_at, retired_at)
    select name, 'risk', status, 'p', 1, '2026-11-01'::date + made, '2026-11-01'::date + promoted, '2026-11-01'::date + retired
    from (values ('a', 'retired', 1, 1, 2), ('b', 'retired', 2, 4, 5), ('c', 'retired', 3, 3, 4), ('d', 'active', 5, 5, null), ('e', 'candidate', 6, null, null)) as model (name, status, made, promoted, retired);
  `);
  await migrate(db);
  await find(db, "select user_id, org_id from public.slm_requests order by 1", [[person, org], [nobody, null]]);
  await find(db, "select source_table, org_id from public.slm_example_sources order by 1", [["slm_requests", org], ["tasks", null]]);
  await find(db, "select item.source_id, verdict, reason, corrected, corrected_of from public.slm_reviews as review join public.slm_review_items as item on item.id = item_id order by 1, 2",
    [["gone", "first", null, null, null], ["gone", "skip", "not kept", null, null], ["kept", "first", "why", {}, "first"], ["kept", "skip", "why", {}, "first"]]);
  await find(db, "select name, former from public.slm_models order by 1", [["a", null], ["b", "a"], ["c", "b"], ["d", "b"], ["e", null]]);
  await db.close();
});

test("migrations only add: the app's own tables and functions are as they were", async () => {
  const db = await database();
  const names = await ownObjects(db);
  if (names.length < 20) throw new Error(`looked at ${names.length} objects only`);
  await migrate(db);
  const now = new Set(await ownObjects(db));
  const gone = names.filter((name) => !now.has(name));
  if (gone.length) throw new Error(`changed or gone: ${gone.join(", ")}`);
  await db.close();
});

test("the look at the app's own objects sees what a careless migration would do", async () => {
  const careless = [
    "alter table public.tasks enable row level security",
    "alter table public.task_steps drop constraint task_steps_status_check",
    "revoke select on public.profiles from authenticated",
    "drop index public.task_risk_snapshots_task",
    "create policy p on public.tasks for select using (true)",
    "revoke execute on function public.rpc_compute_task_risk_metrics(uuid) from public",
    "alter table public.tasks alter column title set not null",
  ];
  for (const statement of careless) {
    const db = await database();
    const names = await ownObjects(db);
    await db.exec(statement);
    const now = new Set(await ownObjects(db));
    if (names.every((name) => now.has(name)) && names.length === now.size) throw new Error(`not seen: ${statement}`);
    await db.close();
  }
});

/** Every column, constraint, index, policy, grant and function of the app, one text each. */
async function ownObjects(db) {
  const { rows } = await db.query(`
    select format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default) as name
    from information_schema.columns where table_schema = 'public' and table_name not like 'slm%'
    union all
    select format('%s %s', pg_get_functiondef(oid), proacl) from pg_proc where pronamespace = 'public'::regnamespace and proname not like 'slm%' and prokind = 'f'
    union all
    select format('%s %s %s', relname, relacl, relrowsecurity) from pg_class where relnamespace = 'public'::regnamespace and relname not like 'slm%' and relkind = 'r'
    union all
    select format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) from pg_constraint where connamespace = 'public'::regnamespace and conrelid::regclass::text not like 'slm%'
    union all
    select indexdef from pg_indexes where schemaname = 'public' and tablename not like 'slm%'
    union all
    select format('%s %s %s', tablename, policyname, qual) from pg_policies where schemaname = 'public' and tablename not like 'slm%'
    union all
    select pg_get_triggerdef(oid) from pg_trigger where not tgisinternal and tgname not like 'slm%'
  `);
  return rows.map((row) => row.name);
}

async function find(db, query, expected) {
  const rows = (await db.query(query)).rows.map((row) => Object.values(row));
  if (JSON.stringify(rows) !== JSON.stringify(expected)) throw new Error(`${query}: ${JSON.stringify(rows)}, not ${JSON.stringify(expected)}`);
}

async function state(db) {
  const { rows } = await db.query(`
    select (select jsonb_agg(s order by s.id) from public.slm_org_settings as s) as settings,
      (select jsonb_agg(r order by r.id) from public.slm_requests as r) as requests,
      (select count(*) from pg_class where relnamespace = 'public'::regnamespace) as relations,
      (select count(*) from pg_proc where pronamespace = 'public'::regnamespace) as functions
  `);
  return JSON.stringify(rows[0]);
}
