/** A stage for stories about the doors: real requests, and real HTTP servers in the places of the models. Tests only. */
import { cloudClient } from "./ask_cloud.ts";
import { inferenceClient } from "./ask_inference.ts";
import { type Context, type LedgerRow, PRIVATE } from "./database.ts";
import { ledger } from "./ledger.ts";
import { planDoor } from "./plan_door.ts";
import { riskDoor } from "./risk_door.ts";
import { serveFeature, type Services } from "./serve_feature.ts";

export const USER = "3f0e8a52-7e0a-4d34-9d52-0f4c3b1d8a11";
export const ORG = "1b6c7f0a-32f4-4e0c-b5a2-9a0e5f1d2c33";
export const TASK = "8a0f2c1e-5d7b-4a58-9d55-0c6a3e6b7f10";
export const RISK = {
  risk_level: "medium",
  reasons: ["Half of the time is used."],
  recommended_actions: ["Finish the next open step."],
};
export const PLAN = {
  suggested_plan: [{ phase: "build_guidance", title: "Build the page", duration: 4, risk: "low" }],
  overall_risks: ["The design may still change."],
  assumptions: [],
};
export const predicted = (output: unknown, confidence: unknown = 87) => ({
  output,
  confidence,
  details: { p_low: 0.1 },
  model: { name: "small-1" },
  prompt_version: "risk-1/terse",
  usage: { prompt_tokens: 100, output_tokens: 60 },
  timings: { queue_ms: 0, prefill_ms: 1, decode_ms: 2 },
});
/** A chat completion that says `output`, as a cloud model answers. */
export const completed = (output: object, confidence = 80) => ({
  model: "gpt-4o-mini-2024-07-18",
  choices: [{
    finish_reason: "stop",
    message: { role: "assistant", content: JSON.stringify({ ...output, confidence }), refusal: null },
  }],
  usage: { prompt_tokens: 400, completion_tokens: 90 },
});
export const RISK_BODY = {
  metrics: { task_id: TASK, allocated_hours: 8, progress_ratio: 0.5, risk_level: "low" },
  taskTitle: "UI",
  employeeContext: { full_name: "Asha Rao", role: "employee", milestone_triggered: "50_percent" },
};
export const PLAN_BODY = { title: "UI", description: "Build it", skills: ["React"], taskType: "General" };

export type Server = (request: Request) => Response | Promise<Response>;
export type Call = (request: Partial<RequestInit> & { json?: unknown }) => Promise<Response>;
export type World = {
  risk: Call;
  plan: Call;
  /** Completed ledger rows. */
  rows: LedgerRow[];
  /** What the inference service was asked. */
  asked: { path: string; body: string }[];
  /** What reached the cloud: header and body. */
  sent: { path: string; headers: Headers; body: string }[];
  /** What the breakers were told. */
  reports: [provider: string, cause: string | null][];
  /** Waits for what happens after the answers. */
  settle(): Promise<void>;
};
export type Overrides = {
  cloud?: Server | null;
  context?: Partial<Omit<Context, "cloud">> & { cloud?: Partial<Context["cloud"]> | null };
  database?: Partial<Services["database"]>;
  authenticate?: Services["authenticate"];
  deadlineMs?: number;
  key?: string;
  waitsMs?: number[];
};

/** Runs a story with both doors; `answer` stands in for the inference service, null for one that is dead. */
export async function world(
  answer: Server | null,
  story: (world: World) => Promise<void>,
  overrides: Overrides = {},
): Promise<void> {
  const asked: World["asked"] = [];
  const sent: World["sent"] = [];
  const inference = await listen(answer, (request, body) => asked.push({ path: new URL(request.url).pathname, body }));
  const cloud = await listen(
    overrides.cloud ?? null,
    (request, body) => {
      const { pathname, search } = new URL(request.url);
      sent.push({ path: pathname + search, headers: request.headers, body });
    },
  );
  const [rows, work, reports]: [LedgerRow[], Promise<unknown>[], World["reports"]] = [[], [], []];
  const { cloud: model, ...context } = overrides.context ?? {};
  const database: Services["database"] = {
    context: () =>
      Promise.resolve({
        ...PRIVATE,
        orgId: ORG,
        ...context,
        cloud: model === null || !context.allowCloud ? null : {
          name: "openai-test",
          api: "openai",
          endpoint: cloud.url,
          apiVersion: null,
          model: "gpt-4o-mini",
          pricedAs: "gpt-4o-mini",
          keyName: "OPENAI_API_KEY",
          breaker: "closed",
          usdLeft: 1,
          ...model,
        },
      }),
    permit: () => Promise.resolve([]),
    claimProbe: () => Promise.resolve(true),
    report: (provider, cause) => Promise.resolve(void reports.push([provider, cause])),
    open: () => Promise.resolve(),
    close: (row) => Promise.resolve(void rows.push(row)),
    ...overrides.database,
  };
  const key = "key" in overrides ? overrides.key : "test-key";
  const services: Services = {
    authenticate: overrides.authenticate ?? (() => Promise.resolve(USER)),
    database,
    ledger: ledger(database, overrides.waitsMs ?? []),
    askInference: inferenceClient(inference.url, "token"),
    askCloud: cloudClient(() => key),
    hasKey: () => Boolean(key),
    deadlineMs: overrides.deadlineMs ?? 2000,
    background: (done) => void work.push(done.catch(() => {})),
  };
  const call = (door: (request: Request) => Promise<Response>): Call => ({ json, ...init }) =>
    door(
      new Request("http://edge/", {
        method: "POST",
        headers: { "content-type": "application/json", authorization: "Bearer token" },
        ...(json === undefined ? {} : { body: JSON.stringify(json) }),
        ...init,
      }),
    );
  const doors = { risk: serveFeature(riskDoor, () => services), plan: serveFeature(planDoor, () => services) };
  const settle = async () => {
    for (let done = 0; done < work.length; done = work.length) await Promise.all(work);
  };
  try {
    await story({ risk: call(doors.risk), plan: call(doors.plan), rows, asked, sent, reports, settle });
    await settle();
  } finally {
    await inference.stop();
    await cloud.stop();
  }
}

async function listen(answer: Server | null, note: (request: Request, body: string) => void) {
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    note(request, await request.text());
    return await answer!(request);
  });
  if (answer === null) await server.shutdown();
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    stop: async () => answer === null ? undefined : await server.shutdown(),
  };
}

/** A server that takes longer than anybody waits. */
export const late: Server = async (request) => {
  await new Promise((done) => {
    const timer = setTimeout(done, 2500);
    request.signal.addEventListener("abort", () => (clearTimeout(timer), done(undefined)));
  });
  return Response.json({});
};
