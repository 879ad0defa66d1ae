/**
 * Who may do what: every relation of ours × every kind of caller × every verb, tried for real, and every function. The
 * lists come from the catalog, so that a new table or function without its row here fails. Beside it, lints that find
 * what makes a database leak, each shown to fire on a planted fault.
 *
 * node --test supabase/tests/matrix.mjs
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { appDatabase, migrate } from "./database.mjs";

const ORG = { a: "00000000-0000-4000-8000-00000000000a", b: "00000000-0000-4000-8000-00000000000b" };
const PEOPLE = [
  ["employee of A", "00000000-0000-4000-8000-0000000000a1", ORG.a, "employee"],
  ["manager of A", "00000000-0000-4000-8000-0000000000a2", ORG.a, "manager"],
  ["employee of B", "00000000-0000-4000-8000-0000000000b1", ORG.b, "employee"],
  ["manager of B", "00000000-0000-4000-8000-0000000000b2", ORG.b, "manager"],
];
const CALLERS = [["visitor", "anon", null], ...PEOPLE.map(([name, id]) => [name, "authenticated", id]), ["service", "service_role", null]];
const VERBS = {
  select: (relation) => `select * from public.${relation} limit 1`,
  insert: (relation) => `insert into public.${relation} default values`,
  update: (relation, column) => `update public.${relation} set "${column}" = "${column}" where false`,
  delete: (relation) => `delete from public.${relation} where false`,
};

const ALL = ["select", "insert", "update", "delete"];
/** What the service role may do; nobody else may do anything. */
const RELATIONS = {
  slm_org_settings: ALL,
  slm_requests: ALL,
  slm_operator_settings: ALL,
  slm_providers: ALL,
  slm_prices: ALL,
  slm_rollouts: ALL,
  slm_rollout_events: ALL,
  slm_breakers: ALL,
  slm_guard_settings: ALL,
  slm_machine_prices: ALL,
  slm_expenses: ALL,
  slm_erasures: ALL,
  slm_cloud_spending: ALL,
  slm_removed_totals: ALL,
  slm_totals_daily: ["select"],
  slm_warnings: ["select"],
  slm_datasets: ALL,
  slm_examples: ALL,
  slm_dataset_examples: ALL,
  slm_example_sources: ALL,
  slm_gold: ALL,
  slm_baseline_answers: ALL,
  slm_eval_runs: ALL,
  slm_eval_results: ALL,
  slm_lineage: ["select"],
  slm_training_runs: ALL,
  slm_models: ALL,
  slm_model_lineage: ["select"],
  slm_answer_lineage: ["select"],
  slm_guard_outcomes: ["select"],
  slm_daily: ["select"],
  slm_fallback_reasons_daily: ["select"],
  slm_local_share_daily: ["select"],
  slm_token_ratio: ["select"],
  slm_savings_daily: ["select"],
  slm_break_even: ["select"],
  slm_console_people: ALL,
  slm_review_items: ALL,
  slm_review_turns: ALL,
  slm_reviews: ALL,
  slm_review_state: ["select"],
  slm_human_answers: ["select"],
  slm_rolled_days: ALL,
  slm_rolled_reasons: ALL,
  slm_rolled_ratio: ALL,
  slm_rolled_cloud: ALL,
};
/** The console's doors: a signed-in user may knock, and each looks up who that is before it does anything. */
const DOORS = [
  "slm_me",
  "slm_reviewers",
  "slm_let_review",
  "slm_next_review",
  "slm_submit_review",
  "slm_undo_review",
  "slm_last_review",
  "slm_review_results",
  "slm_review_queue",
  "slm_fill_review_queue",
  "slm_operator_figures",
  "slm_operator_rollouts",
  "slm_operator_models",
  "slm_operator_report",
  "slm_operator_move",
];
const NO_DOOR = DOORS.map((name) => `'${name}'`).join(", ");
/** Who may execute our functions: the service role, but for the doors, what only they call, and trigger functions, which nobody calls. */
const FUNCTIONS = {
  ...Object.fromEntries(DOORS.map((name) => [name, ["authenticated"]])),
  slm_caller: [],
  slm_manages: [],
  slm_reviews_for: [],
  slm_operates: [],
  slm_is_text: ["service_role"],
  slm_is_output: ["service_role"],
  slm_shown_output: ["service_role"],
  slm_blind: [],
  slm_reviews_left: [],
  slm_blank_reviews: [],
  slm_forget_reviewer: [],
  slm_fill_reviews: ["service_role"],
  slm_review_verdict: ["service_role"],
  slm_roll_up: ["service_role"],
  slm_snapshot_provenance: [],
  slm_forget_late_rows: [],
  slm_keep_totals: [],
  slm_permit_cloud: ["service_role"],
  slm_similar_tasks: ["service_role"],
  slm_report: ["service_role"],
  slm_claim_probe: ["service_role"],
  slm_price: ["service_role"],
  slm_alternative_usd: ["service_role"],
  slm_open: ["service_role"],
  slm_close: ["service_role"],
  slm_sweep: ["service_role"],
  slm_cloud_usd_today: ["service_role"],
  slm_context: ["service_role"],
  slm_names: ["service_role"],
  slm_evidence_worse: ["service_role"],
  slm_evidence_above: ["service_role"],
  slm_evidence_below: ["service_role"],
  slm_set_rollout: ["service_role"],
  slm_next_stage: ["service_role"],
  slm_guard: ["service_role"],
  slm_erase_user: ["service_role"],
  slm_apply_retention: ["service_role"],
  slm_history_query: ["service_role"],
  slm_history_days: ["service_role"],
  slm_history_page: ["service_role"],
  slm_put_examples: ["service_role"],
  slm_put_clusters: ["service_role"],
  slm_begin_dataset: ["service_role"],
  slm_write_dataset: ["service_role"],
  slm_finish_dataset: ["service_role"],
  slm_freeze_gold: ["service_role"],
  slm_gold_rows: ["service_role"],
  slm_record_baseline: ["service_role"],
  slm_baseline: ["service_role"],
  slm_take_training_lease: ["service_role"],
  slm_hold_training_lease: ["service_role"],
  slm_beat_training_run: ["service_role"],
  slm_finish_training_run: ["service_role"],
  slm_register_model: ["service_role"],
  slm_put_to_work: ["service_role"],
  slm_promote_model: ["service_role"],
  slm_refuse_model: ["service_role"],
  slm_former_model: ["service_role"],
  slm_raise_to_shadow: ["service_role"],
  slm_write_eval: ["service_role"],
};

const LINTS = {
  "a table without row level security": `
    select relname from pg_class where relnamespace = 'public'::regnamespace and relname like 'slm%' and relkind = 'r' and not relrowsecurity`,
  "a view that runs with its owner's rights": `
    select relname from pg_class where relnamespace = 'public'::regnamespace and relname like 'slm%' and relkind in ('v', 'm')
    and not coalesce(reloptions @> array['security_invoker=true'], false)`,
  "a function whose search path the caller may choose": `
    select proname from pg_proc where pronamespace = 'public'::regnamespace and proname like 'slm%' and not coalesce(proconfig @> array['search_path=""'], false)`,
  "a function that runs with its owner's rights": `
    select proname from pg_proc where pronamespace = 'public'::regnamespace and proname like 'slm%' and prosecdef and proname not in (${NO_DOOR})`,
  "a policy that lets everybody in": `
    select policyname from pg_policies where schemaname = 'public' and tablename like 'slm%' and (qual = 'true' or with_check = 'true') and roles && array['public', 'anon', 'authenticated']::name[]`,
  "a policy without effect, because row level security is off": `
    select p.policyname from pg_policies as p join pg_class as c on c.relname = p.tablename and c.relnamespace = 'public'::regnamespace where p.schemaname = 'public' and not c.relrowsecurity and c.relname like 'slm%'`,
  "a grant to a visitor or a user": `
    select table_name from information_schema.role_table_grants where table_schema = 'public' and table_name like 'slm%' and grantee in ('anon', 'authenticated', 'PUBLIC')`,
  "a sequence that a visitor or a user may read": `
    select relname from pg_class where relnamespace = 'public'::regnamespace and relname like 'slm%' and relkind = 'S' and (has_sequence_privilege('anon', oid, 'usage') or has_sequence_privilege('authenticated', oid, 'usage'))`,
  "two indexes on the same columns": `
    select a.indexrelid::regclass::text from pg_index as a join pg_index as b on a.indrelid = b.indrelid and a.indkey = b.indkey and a.indexrelid > b.indexrelid
    and coalesce(pg_get_expr(a.indpred, a.indrelid), '') = coalesce(pg_get_expr(b.indpred, b.indrelid), '') where a.indrelid::regclass::text like 'slm%'`,
  "a table without a primary key": `
    select relname from pg_class as c where relnamespace = 'public'::regnamespace and relname like 'slm%' and relkind = 'r' and not exists (select from pg_constraint where conrelid = c.oid and contype = 'p')`,
  "a foreign key without an index": `
    select c.conname from pg_constraint as c join pg_class as t on t.oid = c.conrelid where c.contype = 'f' and t.relnamespace = 'public'::regnamespace and t.relname like 'slm%'
    and not exists (select from pg_index as i where i.indrelid = c.conrelid and (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)`,
  "a policy that looks up the caller anew for each row": `
    select policyname from pg_policies where schemaname = 'public' and tablename like 'slm%'
    and concat(qual, with_check) ~ '(auth\\.[a-z]+\\(|current_setting\\()' and concat(qual, with_check) !~* 'select\\s+(auth\\.[a-z]+\\(|current_setting\\()'`,
  "two permissive policies for the same caller and verb": `
    select a.policyname from pg_policies as a join pg_policies as b on a.schemaname = b.schemaname and a.tablename = b.tablename and a.policyname > b.policyname
    and a.permissive = 'PERMISSIVE' and b.permissive = 'PERMISSIVE' and a.roles && b.roles and (a.cmd = b.cmd or 'ALL' in (a.cmd, b.cmd)) where a.tablename like 'slm%'`,
  "a policy that trusts what users may write about themselves": `
    select policyname from pg_policies where schemaname = 'public' and tablename like 'slm%' and concat(qual, with_check) ~ 'user_metadata'`,
  "a materialized view or foreign table in the API": `
    select relname from pg_class where relnamespace = 'public'::regnamespace and relname like 'slm%' and relkind in ('m', 'f')`,
  "a column of a type that an upgrade cannot carry over": `
    select attname from pg_attribute as a join pg_class as c on c.oid = a.attrelid where c.relnamespace = 'public'::regnamespace and c.relname like 'slm%'
    and a.atttypid in ('regcollation'::regtype, 'regconfig'::regtype, 'regdictionary'::regtype, 'regnamespace'::regtype, 'regoper'::regtype, 'regoperator'::regtype, 'regproc'::regtype, 'regprocedure'::regtype)`,
  "an extension in the API's schema": `
    select extname from pg_extension where extnamespace = 'public'::regnamespace`,
  "a function that a visitor or a user may call": `
    select proname from pg_proc where pronamespace = 'public'::regnamespace and proname like 'slm%' and prorettype <> 'trigger'::regtype and proname not in (${NO_DOOR})
    and (has_function_privilege('anon', oid, 'execute') or has_function_privilege('authenticated', oid, 'execute'))`,
  "a door that runs with its caller's rights": `
    select proname from pg_proc where pronamespace = 'public'::regnamespace and proname in (${NO_DOOR}) and not prosecdef`,
  "a relation that does not say what it is for": `
    select relname from pg_class where relnamespace = 'public'::regnamespace and relname like 'slm%' and relkind in ('r', 'v') and obj_description(oid) is null`,
};
const PLANTED = {
  "a table without row level security": "create table public.slm_x (id int primary key)",
  "a view that runs with its owner's rights": "create view public.slm_x as select 1 as one",
  "a function whose search path the caller may choose": "create function public.slm_x() returns int language sql as 'select 1'",
  "a function that runs with its owner's rights": "create function public.slm_x() returns int language sql security definer set search_path = '' as 'select 1'",
  "a policy that lets everybody in": "create policy x on public.slm_requests for select using (true)",
  "a policy without effect, because row level security is off":
    "create table public.slm_x (id int primary key); create policy x on public.slm_x using (id = 1)",
  "a grant to a visitor or a user": "grant select on public.slm_requests to anon",
  "a sequence that a visitor or a user may read": "create sequence public.slm_x; grant usage on sequence public.slm_x to anon",
  "two indexes on the same columns": "create index slm_x on public.slm_requests (org_id, created_at)",
  "a table without a primary key": "create table public.slm_x (id int)",
  "a foreign key without an index": "create table public.slm_x (id int primary key, parent int references public.slm_x)",
  "a policy that looks up the caller anew for each row": "create policy x on public.slm_requests for select using (user_id::text = current_setting('x.y'))",
  "two permissive policies for the same caller and verb":
    "create policy x on public.slm_requests for select to authenticated using (false); create policy y on public.slm_requests to authenticated using (false)",
  "a policy that trusts what users may write about themselves":
    "create policy x on public.slm_requests for select using ((select current_setting('request.jwt.claims')::jsonb -> 'user_metadata' ->> 'role') = 'boss')",
  "a materialized view or foreign table in the API": "create materialized view public.slm_x as select 1 as one",
  "a column of a type that an upgrade cannot carry over": "create table public.slm_x (id int primary key, call regproc)",
  "an extension in the API's schema": "drop extension pgtap; create extension pgtap with schema public",
  "a function that a visitor or a user may call": "create function public.slm_x() returns int language sql set search_path = '' as 'select 1'; grant execute on function public.slm_x() to anon",
  "a door that runs with its caller's rights": "alter function public.slm_me() security invoker",
  "a relation that does not say what it is for": "create table public.slm_x (id int primary key)",
};

const db = await migrate(await appDatabase());
after(() => db.close());
for (const [, id, org, role] of PEOPLE) {
  await db.exec(`insert into public.orgs (id, name) values ('${org}', 'O') on conflict do nothing; insert into public.profiles (id, org_id, role) values ('${id}', '${org}', '${role}')`);
}

async function names(query) {
  return (await db.query(query)).rows.map((row) => Object.values(row)[0]);
}

/** Whether the caller is let through: a complaint about the row itself means yes. */
async function may(role, user, statement) {
  await db.exec("begin");
  try {
    await db.exec(`set local role ${role}; select set_config('request.jwt.claims', '${JSON.stringify({ sub: user, role })}', true)`);
    await db.exec(statement);
    return true;
  } catch (error) {
    if (error.code === "42501" || error.code === "55000") return false; // 55000: nobody can write such a view
    if (["23502", "23514", "23505", "428C9"].includes(error.code)) return true;
    throw error;
  } finally {
    await db.exec("rollback");
  }
}

test("every relation of ours has its row in the matrix, and every function", async () => {
  const relations = await names("select relname from pg_class where relnamespace = 'public'::regnamespace and relname like 'slm%' and relkind in ('r', 'v', 'm', 'p', 'f') order by 1");
  assert.deepEqual(relations, Object.keys(RELATIONS).sort());
  const functions = await names("select distinct proname from pg_proc where pronamespace = 'public'::regnamespace and proname like 'slm%' order by 1");
  assert.deepEqual(functions, Object.keys(FUNCTIONS).sort());
});

for (const [relation, allowed] of Object.entries(RELATIONS)) {
  test(`${relation}: every caller and verb`, async () => {
    const [column] = await names(`select attname from pg_attribute where attrelid = 'public.${relation}'::regclass and attnum > 0 and attidentity = '' order by attnum`);
    for (const [name, role, user] of CALLERS) {
      for (const [verb, statement] of Object.entries(VERBS)) {
        const expected = role === "service_role" && allowed.includes(verb);
        assert.equal(await may(role, user, statement(relation, column)).catch((error) => error.message), expected, `${name} ${verb}s ${relation}`);
      }
    }
  });
}

test("every function: who may execute it", async () => {
  for (const [name, allowed] of Object.entries(FUNCTIONS)) {
    for (const role of ["anon", "authenticated", "service_role"]) {
      const [may] = await names(`select bool_and(has_function_privilege('${role}', oid, 'execute')) from pg_proc where pronamespace = 'public'::regnamespace and proname = '${name}'`);
      assert.equal(may, allowed.includes(role), `${role} executes ${name}`);
    }
  }
});

test("every door is closed to whoever was not let in", async () => {
  const closed = { slm_next_review: "1", slm_submit_review: "'{}'", slm_undo_review: "gen_random_uuid()", slm_last_review: "", slm_review_results: "", slm_review_queue: "", slm_reviewers: "", slm_let_review: "gen_random_uuid(), true",
    slm_fill_review_queue: "1", slm_operator_figures: "1", slm_operator_rollouts: "", slm_operator_models: "", slm_operator_report: "'data'", slm_operator_move: "'risk', 'advance', 'x', 'full-100'" };
  assert.deepEqual([...Object.keys(closed), "slm_me"].sort(), [...DOORS].sort());
  for (const [name, role, user] of CALLERS.filter(([, role]) => role !== "service_role")) {
    for (const [door, values] of Object.entries(closed)) {
      assert.equal(await may(role, user, `select public.${door}(${values})`).catch((error) => error.message), false, `${name} opens ${door}`);
    }
  }
});

for (const [lint, query] of Object.entries(LINTS)) {
  test(`there is not ${lint}, and a planted one is found`, async () => {
    assert.deepEqual(await names(query), []);
    await db.exec("begin");
    await db.exec(PLANTED[lint]);
    assert.ok((await names(query)).length > 0, "the planted fault is not found");
    await db.exec("rollback");
  });
}

test("a shadowed object on the caller's search path changes nothing", async () => {
  await db.exec("begin");
  await db.exec(`
    create schema evil;
    create table evil.slm_org_settings (org_id uuid, allow_cloud boolean, daily_cloud_usd numeric);
    insert into evil.slm_org_settings values (null, true, 1000);
    create function evil.now() returns timestamptz language sql as $$ select 'infinity'::timestamptz $$;
    create function evil.md5(text) returns text language sql as $$ select '00000000' $$;
    set local search_path = evil, pg_catalog, public;
  `);
  const [context] = await names("select public.slm_context('00000000-0000-4000-8000-0000000000a1', 'risk')");
  await db.exec("rollback");
  assert.equal(context.allow_cloud, false);
});
