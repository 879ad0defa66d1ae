/** Owns the databases of the tests: PGlite with the app's own tables and our migrations, under a hosted project's privileges. */
import { PGlite } from "@electric-sql/pglite";
import { pgtap } from "@electric-sql/pglite/pgtap";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const here = dirname(fileURLToPath(import.meta.url));
const folder = (name) => join(here, "..", name);
export const files = (name) => readdirSync(folder(name)).filter((file) => file.endsWith(".sql")).sort().map((file) => join(folder(name), file));
export const read = (file) => readFileSync(file, "utf8");

/** What a hosted project has before the first migration; the privileges are generous, as they are there. */
const HOSTED = `
  create role anon nologin noinherit;
  create role authenticated nologin noinherit;
  create role service_role nologin noinherit bypassrls;
  grant usage on schema public to anon, authenticated, service_role;
  alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
  alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
  alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
  create schema extensions;
  create extension pgtap with schema extensions;
  grant usage on schema extensions to anon, authenticated, service_role;
`;

/** The app's own tables, without ours. */
export async function appDatabase() {
  const db = new PGlite({ extensions: { pgtap } });
  await db.exec(HOSTED);
  for (const file of files("baseline")) await db.exec(read(file));
  return db;
}

export async function migrate(db) {
  for (const file of files("migrations")) await db.exec(read(file));
  return db;
}
