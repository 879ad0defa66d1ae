/** The running stack as the app sees it: one URL, a publishable key, a signed-in user. */
import { createClient, type SupabaseClient } from "@supabase/supabase-js";

function setting(name: string): string {
  const value = Deno.env.get(name);
  if (!value) throw new Error(`${name} is not set: run scripts/test, which starts the stack`);
  return value;
}

export const url = setting("SUPABASE_URL");
export const publishableKey = setting("SUPABASE_PUBLISHABLE_KEY");
const options = { auth: { persistSession: false, autoRefreshToken: false } };

/** Sees everything; for arranging and for looking at the ledger. */
export const service: SupabaseClient = createClient(url, setting("SUPABASE_SECRET_KEY"), options);

export type Member = { client: SupabaseClient; id: string; orgId: string };

/** A new user, signed up and signed in as the app does it, with a profile in an organisation. */
export async function member(orgId: string = crypto.randomUUID()): Promise<Member> {
  const { client, id } = await stranger();
  await done(service.from("orgs").upsert({ id: orgId, name: "Test organisation" }));
  await done(service.from("profiles").insert({ id, full_name: "Asha Rao", role: "employee", org_id: orgId }));
  return { client, id, orgId };
}

/** A signed-in user without a profile. */
export async function stranger(): Promise<{ client: SupabaseClient; id: string }> {
  const client = createClient(url, publishableKey, options);
  const login = { email: `${crypto.randomUUID()}@example.com`, password: "a-long-password" };
  const { error } = await client.auth.signUp(login);
  if (error) throw error;
  const signedIn = await client.auth.signInWithPassword(login);
  if (signedIn.error) throw signedIn.error;
  return { client, id: signedIn.data.user.id };
}

/** The data of an answer, as absent as it may be in fact only where nothing was asked for; throws what went wrong. */
export async function done<T>(asked: PromiseLike<{ data: T; error: unknown }>): Promise<NonNullable<T>> {
  const { data, error } = await asked;
  if (error) throw new Error(JSON.stringify(error));
  return data as NonNullable<T>;
}

/** The ledger's rows of a user, once there are `count` of them: they are written after the answer. */
// deno-lint-ignore no-explicit-any
export async function ledger(userId: string, count: number): Promise<any[]> {
  for (let tries = 0; tries < 100; tries++) {
    const rows = await done(
      service.from("slm_requests").select("*").eq("user_id", userId).neq("status", "open").order("created_at"),
    );
    if (rows.length >= count) return rows;
    await new Promise((next) => setTimeout(next, 100));
  }
  throw new Error(`the ledger has fewer than ${count} rows of ${userId}`);
}
