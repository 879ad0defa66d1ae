/** A second gateway over the running database, with stand-ins for both models, and members whose functions it serves. */
import assert from "node:assert/strict";
import { createClient, type SupabaseClient } from "@supabase/supabase-js";
import { assertPlan, assertRisk } from "./contract.ts";
import { done, member, publishableKey, service, url } from "./project.ts";
import type { StandIns } from "./stand_ins.ts";

export const DEADLINE_MS = 1_200;
export const MODEL_KEY = "sk-canary-0123456789abcdef";

export type Edge = { url: string; stop(signal?: Deno.Signal): Promise<string> };

/** A second gateway over the same database: its models are the stand-ins. */
export async function edge(models: StandIns, port = 15_400, deadlineMs = DEADLINE_MS): Promise<Edge> {
  const keys = JSON.parse(Deno.readTextFileSync(`${Deno.env.get("STACK_STATE")}/keys.json`));

  const child = new Deno.Command(Deno.execPath(), {
    // deno-fmt-ignore
    args: ["run", "--quiet", "--frozen", "--cached-only", "--config", "supabase/functions/deno.json", "--allow-net=127.0.0.1",
      "--allow-env", "--allow-read=supabase/functions", "scripts/gateway.ts", String(port), url, "supabase/functions"],
    env: {
      SUPABASE_URL: url,
      SUPABASE_SECRET_KEYS: JSON.stringify({ default: keys.SUPABASE_SECRET_KEY }),
      LEGACY_JWT_SECRET: keys.JWT_SECRET,
      INFERENCE_URL: models.inferenceUrl,
      INFERENCE_TOKEN: keys.INFERENCE_TOKEN,
      OPENAI_API_KEY: MODEL_KEY,
      ANSWER_DEADLINE_MS: String(deadlineMs),
      NO_COLOR: "1",
    },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = child.output();
  for (let tries = 0; tries < 200; tries++) {
    const up = await fetch(`http://127.0.0.1:${port}/healthz`).then((r) => r.text()).catch(() => "");
    if (up === "ok") break;
    await new Promise((next) => setTimeout(next, 100));
  }
  return {
    url: `http://127.0.0.1:${port}`,
    stop: async (signal = "SIGTERM") => {
      try {
        child.kill(signal);
      } catch {
        // It has stopped already.
      }
      const { stdout, stderr } = await output;
      return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    },
  };
}

export type User = { client: SupabaseClient; id: string; orgId: string };
export type Seen = { id: string; provider: string; fallback: string | undefined };

/** A member whose functions are served by the second gateway. */
export async function user(edgeUrl: string, allowCloud: boolean): Promise<User> {
  const { client, id, orgId } = await member();
  await done(
    service.from("slm_org_settings").upsert({ org_id: orgId, allow_cloud: allowCloud, daily_cloud_usd: 1000 }, {
      onConflict: "org_id",
    }),
  );
  const token = (await client.auth.getSession()).data.session!.access_token;
  const there = createClient(edgeUrl, publishableKey, {
    auth: { persistSession: false, autoRefreshToken: false },
    global: { headers: { Authorization: `Bearer ${token}` } },
  });
  return { client: there, id, orgId };
}

const metrics = {
  allocated_hours: 8,
  elapsed_hours: 4,
  progress_ratio: 0.5,
  total_steps: 4,
  steps_completed: 2,
  risk_level: "medium",
};

/** Asks as the app does and holds the answer to the contract. */
export async function ask({ client }: User, feature: "risk" | "plan", about: string): Promise<Seen | null> {
  const body = feature === "risk"
    ? { metrics, taskTitle: about, employeeContext: { role: "employee", milestone_triggered: "50_percent" } }
    : { title: about, description: "Build it.", skills: [] };
  const began = performance.now();
  const { data, error } = await client.functions.invoke(
    feature === "risk" ? "analyze-task-risk" : "generate-task-plan",
    { body },
  );
  assert.equal(error, null);
  assert.ok(performance.now() - began < DEADLINE_MS + 5_000, `${about} took ${performance.now() - began} ms`);
  if (feature === "risk") {
    assertRisk(data);
    return { id: data._meta.request_id, provider: data._meta.provider, fallback: data._meta.fallback };
  }
  if (!assertPlan(data)) return null;
  return { id: data.ai_metadata.request_id, provider: data.ai_metadata.provider, fallback: data.ai_metadata.fallback };
}

/** Lets the project's cloud model be the stand-in; gives back what undoes it. */
export async function pointCloudAt(endpoint: string): Promise<() => Promise<void>> {
  const before = await done(service.from("slm_providers").select("name,endpoint"));
  await done(service.from("slm_providers").update({ endpoint }).neq("name", "").select());
  return async () => {
    for (const { name, endpoint } of before) {
      await done(service.from("slm_providers").update({ endpoint }).eq("name", name).select());
    }
  };
}
