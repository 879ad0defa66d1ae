/** Owns the way to the database: as the signed-in user and nobody else. Knows nothing of what is asked. */
import { createClient, type SupabaseClient } from "@supabase/supabase-js";

export type Settings = { supabase_url: string; supabase_key: string };

/** What went wrong with a call, and whether asking again later may help. */
export class CallError extends Error {
  constructor(message: string, readonly code: string, readonly isPassing: boolean) {
    super(message);
  }
}

/** `/console/config.json`: where the project is. Throws a sentence that says what is missing. */
export async function readSettings(): Promise<Settings> {
  const answer = await fetch("./config.json", { cache: "no-store" }).catch(() => null);
  const found: unknown = answer?.ok ? await answer.json().catch(() => null) : null;
  if (typeof found === "object" && found !== null && "supabase_url" in found && "supabase_key" in found) {
    return { supabase_url: String(found.supabase_url), supabase_key: String(found.supabase_key) };
  }
  throw new Error("Cannot read config.json: it must hold supabase_url and supabase_key (README, console)");
}

const SESSION = "console-session";

export function open({ supabase_url, supabase_key }: Settings): SupabaseClient {
  return createClient(supabase_url, supabase_key, { auth: { storageKey: SESSION } });
}

/** Ends the session in this browser, whatever the project says to it; `token` is what the project ends it by. */
export async function signOut(client: SupabaseClient, token: string): Promise<void> {
  // Nobody stays signed in for want of a connection: auth's own signOut keeps the session unless it was answered.
  client.auth.admin.signOut(token, "local").catch(() => {});
  localStorage.removeItem(SESSION);
  // Without a session it asks nobody, and tells this window and the others.
  await client.auth.signOut({ scope: "local" });
}

/** Long enough for the slowest page on a busy machine; a call that takes longer is as good as lost, and is made again. */
const PATIENCE_MS = 30_000;

/** The answer of a database function. Throws CallError. */
export async function call<T>(client: SupabaseClient, name: string, values: Record<string, unknown> = {}): Promise<T> {
  const { data, error, status } = await client.rpc(name, values).abortSignal(AbortSignal.timeout(PATIENCE_MS));
  if (!error) return data as T;
  const isPassing = status === 0 || status === 401 || status === 408 || status === 429 || status >= 500;
  throw new CallError(status === 0 ? "No connection" : error.message, error.code, isPassing);
}

/** What to say of anything that was thrown. */
export function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
