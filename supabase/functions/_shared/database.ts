import { PostgrestClient } from "@supabase/postgrest-js";

/** Who asks, as the database knows them. A user without a profile has no organisation: the default policy holds. */
export type Caller = { userId: string; orgId: string | null };

/** One row of `slm_requests`. */
export type LedgerRow = Record<string, unknown> & { id: string };

/** What the edge functions ask of the database. Each call may reject; none is needed for an answer. */
export type Database = {
  findCaller(userId: string): Promise<Caller>;
  /** Of the user's own organisation; none for a user without one. */
  similarTasks(userId: string, title: string, skills: string[]): Promise<{ title: string; steps: string[] }[]>;
  record(row: LedgerRow): Promise<void>;
};

const TIMEOUT_MS = 3_000;
const SIMILAR_TASKS = 2;

/** The project's database over its REST interface, as the service role. */
export function database(supabaseUrl: string, secretKey: string): Database {
  const client = new PostgrestClient(new URL("/rest/v1", supabaseUrl).href, {
    headers: { apikey: secretKey, ...(secretKey.startsWith("sb_") ? {} : { Authorization: `Bearer ${secretKey}` }) },
    fetch: (input: RequestInfo | URL, init?: RequestInit) =>
      fetch(input, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) }),
  });
  return {
    async findCaller(userId) {
      const { data, error } = await client.from("profiles").select("org_id").eq("id", userId).maybeSingle();
      if (error) throw new Error(`Cannot look up the caller: ${error.message}`);
      return { userId, orgId: typeof data?.org_id === "string" ? data.org_id : null };
    },
    async similarTasks(userId, title, skills) {
      const { data, error } = await client.rpc("slm_similar_tasks", {
        p_user_id: userId,
        p_title: title,
        p_skills: skills,
        p_limit: SIMILAR_TASKS,
      });
      if (error) throw new Error(`Cannot look up similar tasks: ${error.message}`);
      return (data ?? []) as { title: string; steps: string[] }[];
    },
    async record(row) {
      const { error } = await client.from("slm_requests").upsert(row, { onConflict: "id", ignoreDuplicates: true });
      if (error) throw new Error(`Cannot write the ledger: ${error.message}`);
    },
  };
}
