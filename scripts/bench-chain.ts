/**
 * What the chain costs: the same risk requests through our function and through a plain proxy that checks the caller and
 * passes the body on, both before one stand-in model that takes 100 ms, interleaved in one run. Needs a running system.
 *
 * scripts/bench --chain [--n 200]
 */
import { authenticator } from "../supabase/functions/_shared/authenticate.ts";
import { readBody } from "../supabase/functions/_shared/read_body.ts";

const [envFile, stateFolder, count] = Deno.args;
if (!envFile || !stateFolder || !count) throw new Error("usage: bench-chain.ts ENV_FILE STATE_FOLDER N");
const environment = Object.fromEntries(
  Deno.readTextFileSync(envFile).split("\n").filter((line) => line.includes("=")).map((line) => {
    const at = line.indexOf("=");
    return [line.slice(0, at), line.slice(at + 1)];
  }),
) as Record<"SUPABASE_URL" | "SUPABASE_PUBLISHABLE_KEY" | "SUPABASE_SECRET_KEY" | "INFERENCE_TOKEN", string>;
const keys = JSON.parse(Deno.readTextFileSync(`${stateFolder}/keys.json`));
const MODEL_MS = 100;
const url = environment.SUPABASE_URL;

const output = {
  risk_level: "medium",
  reasons: ["Half of your time for this task is used."],
  recommended_actions: ["Finish the next open step."],
};
const listen = { hostname: "127.0.0.1", onListen() {} };
const model = Deno.serve({ port: 15_501, ...listen }, async (request) => {
  const asked = await request.text();
  await new Promise((next) => setTimeout(next, MODEL_MS));
  if (asked.includes("response_format")) {
    const content = JSON.stringify({ ...output, confidence: 80 });
    return Response.json({ choices: [{ message: { content } }], usage: { prompt_tokens: 400, completion_tokens: 80 } });
  }
  const answer = { output, confidence: 90, details: {}, model: { name: "stand-in" }, prompt_version: "risk-1/terse" };
  return Response.json({ ...answer, usage: { prompt_tokens: 200, output_tokens: 60 }, timings: {} });
});
const authenticate = authenticator(url, keys.JWT_SECRET);
const plain = Deno.serve({ port: 15_502, ...listen }, async (request) => {
  await authenticate(request.headers.get("authorization"));
  const body = JSON.stringify(await readBody(request));
  const answer = await fetch("http://127.0.0.1:15501/v1/features/risk", { method: "POST", body });
  return new Response(await answer.text(), { headers: { "content-type": "application/json" } });
});

const gateway = new Deno.Command(Deno.execPath(), {
  // deno-fmt-ignore
  args: ["run", "--quiet", "--frozen", "--cached-only", "--config", "supabase/functions/deno.json", "--allow-net=127.0.0.1", "--allow-env",
    "--allow-read=supabase/functions", "scripts/gateway.ts", "15503", url, "supabase/functions"],
  env: {
    SUPABASE_URL: url,
    SUPABASE_SECRET_KEYS: JSON.stringify({ default: keys.SUPABASE_SECRET_KEY }),
    LEGACY_JWT_SECRET: keys.JWT_SECRET,
    INFERENCE_URL: "http://127.0.0.1:15501",
    INFERENCE_TOKEN: environment.INFERENCE_TOKEN,
    OPENAI_API_KEY: "bench",
  },
  stdout: "null",
  stderr: "null",
}).spawn();
for (let tries = 0; tries < 200; tries++) {
  if (await fetch("http://127.0.0.1:15503/healthz").then((r) => r.text()).catch(() => "") === "ok") break;
  await new Promise((next) => setTimeout(next, 50));
}

async function call(path: string, body: unknown, headers: Record<string, string>, method = "POST"): Promise<unknown> {
  const response = await fetch(`${url}${path}`, {
    method,
    body: JSON.stringify(body),
    headers: { "content-type": "application/json", ...headers },
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${path} answered ${response.status}: ${text}`);
  return text ? JSON.parse(text) : null;
}
const secret = { apikey: environment.SUPABASE_SECRET_KEY };
const login = { email: `${crypto.randomUUID()}@example.com`, password: "a-long-password" };
const session = await call("/auth/v1/signup", login, { apikey: environment.SUPABASE_PUBLISHABLE_KEY }) as {
  access_token: string;
  user: { id: string };
};
const org = crypto.randomUUID();
await call("/rest/v1/orgs", { id: org, name: "Bench" }, secret);
await call("/rest/v1/profiles", { id: session.user.id, full_name: "Bench Person", org_id: org }, secret);

const headers = { authorization: `Bearer ${session.access_token}`, "content-type": "application/json" };
async function time(to: string, i: number): Promise<number> {
  const metrics = { allocated_hours: 8, elapsed_hours: 4, progress_ratio: 0.5, total_steps: 4, risk_level: "medium" };
  const body = JSON.stringify({ metrics, taskTitle: `Page ${i}`, employeeContext: { role: "employee" } });
  await new Promise((next) => setTimeout(next, 30));
  const began = performance.now();
  const response = await fetch(to, { method: "POST", headers, body });
  const answer = await response.json();
  if (!response.ok || answer._meta?.provider === "rules") throw new Error(JSON.stringify(answer));
  return performance.now() - began;
}

const p = (values: number[], share: number) => values.toSorted((a, b) => a - b)[Math.floor(share * values.length)]!;
async function compare(name: string): Promise<void> {
  const [ours, theirs]: number[][] = [[], []];
  for (let i = -5; i < Number(count); i++) {
    const order = i % 2 ? ["ours", "theirs"] : ["theirs", "ours"];
    for (const who of order) {
      const took = await time(
        who === "ours" ? "http://127.0.0.1:15503/functions/v1/analyze-task-risk" : "http://127.0.0.1:15502/",
        i,
      );
      if (i >= 0) (who === "ours" ? ours : theirs)!.push(took);
    }
  }
  const [a, b] = [ours!, theirs!];
  console.log(
    `${name.padEnd(44)} n = ${count}   ours p50 ${p(a, 0.5).toFixed(1)} p95 ${p(a, 0.95).toFixed(1)} ms   ` +
      `plain proxy p50 ${p(b, 0.5).toFixed(1)} p95 ${p(b, 0.95).toFixed(1)} ms   added at p50: ${
        (p(a, 0.5) - p(b, 0.5)).toFixed(1)
      } ms`,
  );
}

try {
  await compare("private policy (the default)");
  await call("/rest/v1/slm_org_settings", { org_id: org, allow_cloud: true, daily_cloud_usd: 1000 }, secret);
  await compare("private model first, cloud allowed behind it");
} finally {
  gateway.kill("SIGTERM");
  await Promise.all([model.shutdown(), plain.shutdown(), gateway.status]);
}
