/** The doors as the app meets them: real requests, a real HTTP server in the inference service's place. */
import assert from "node:assert/strict";
import { inferenceClient } from "./ask_inference.ts";
import type { LedgerRow } from "./database.ts";
import { planDoor } from "./plan_door.ts";
import { riskDoor } from "./risk_door.ts";
import { serveFeature, type Services } from "./serve_feature.ts";
import { Unauthorized } from "./unauthorized.ts";
import { isOutput } from "./validate_output.ts";

const USER = "3f0e8a52-7e0a-4d34-9d52-0f4c3b1d8a11";
const ORG = "1b6c7f0a-32f4-4e0c-b5a2-9a0e5f1d2c33";
const TASK = "8a0f2c1e-5d7b-4a58-9d55-0c6a3e6b7f10";
const RISK = {
  risk_level: "medium",
  reasons: ["Half of the time is used."],
  recommended_actions: ["Finish the next open step."],
};
const PLAN = {
  suggested_plan: [{ phase: "build_guidance", title: "Build the page", duration: 4, risk: "low" }],
  overall_risks: ["The design may still change."],
  assumptions: [],
};
const predicted = (output: unknown, confidence: unknown = 87) => ({
  output,
  confidence,
  details: { p_low: 0.1 },
  model: { name: "small-1" },
  prompt_version: "risk-1/tag",
  usage: { prompt_tokens: 100, output_tokens: 60 },
  timings: { queue_ms: 0, prefill_ms: 1, decode_ms: 2 },
});
const RISK_BODY = {
  metrics: { task_id: TASK, allocated_hours: 8, progress_ratio: 0.5, risk_level: "low" },
  taskTitle: "UI",
  employeeContext: { full_name: "Asha Rao", role: "employee", milestone_triggered: "50_percent" },
};
const PLAN_BODY = { title: "UI", description: "Build it", skills: ["React"], taskType: "General" };

type Inference = (request: Request) => Response | Promise<Response>;
type World = {
  risk: Caller;
  plan: Caller;
  rows: LedgerRow[];
  asked: { path: string; body: string }[];
  settle(): Promise<void>;
};
type Caller = (request: Partial<RequestInit> & { json?: unknown }) => Promise<Response>;

/** Runs a story with both doors before a stand-in for the inference service that answers as told. */
async function world(
  answer: Inference | null,
  story: (world: World) => Promise<void>,
  overrides: {
    database?: Partial<Services["database"]>;
    authenticate?: Services["authenticate"];
    deadlineMs?: number;
  } = {},
): Promise<void> {
  const asked: { path: string; body: string }[] = [];
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    asked.push({ path: new URL(request.url).pathname, body: await request.text() });
    return await answer!(request);
  });
  const url = `http://127.0.0.1:${server.addr.port}`;
  if (answer === null) await server.shutdown();
  const [rows, work]: [LedgerRow[], Promise<unknown>[]] = [[], []];
  const services: Services = {
    authenticate: overrides.authenticate ?? (() => Promise.resolve(USER)),
    database: {
      findCaller: () => Promise.resolve({ userId: USER, orgId: ORG }),
      similarTasks: () => Promise.resolve([]),
      record: (row) => Promise.resolve(void rows.push(row)),
      ...overrides.database,
    },
    askInference: inferenceClient(url, "token", overrides.deadlineMs ?? 2000),
    background: (done) => void work.push(done.catch(() => {})),
  };
  const call = (door: (request: Request) => Promise<Response>): Caller => ({ json, ...init }) =>
    door(
      new Request("http://edge/", {
        method: "POST",
        headers: { "content-type": "application/json", authorization: "Bearer token" },
        ...(json === undefined ? {} : { body: JSON.stringify(json) }),
        ...init,
      }),
    );
  const doors = { risk: serveFeature(riskDoor, () => services), plan: serveFeature(planDoor, () => services) };
  const settle = async () => void await Promise.all(work);
  try {
    await story({ risk: call(doors.risk), plan: call(doors.plan), rows, asked, settle });
    await settle();
  } finally {
    if (answer !== null) await server.shutdown();
  }
}

function assertCors(response: Response): void {
  assert.equal(response.headers.get("access-control-allow-origin"), "*");
  assert.equal(
    response.headers.get("access-control-allow-headers"),
    "authorization, x-client-info, apikey, content-type",
  );
}

Deno.test("OPTIONS is answered with ok and CORS, without a token", () =>
  world(() => Response.json(predicted(RISK)), async ({ risk, plan }) => {
    for (const door of [risk, plan]) {
      const response = await door({ method: "OPTIONS", headers: {} });
      assert.equal(response.status, 200);
      assert.equal(await response.text(), "ok");
      assertCors(response);
    }
  }));

Deno.test("a risk answer has the contract's keys, an integer confidence, provenance, and a ledger row", () =>
  world(() => Response.json(predicted(RISK)), async ({ risk, rows, asked, settle }) => {
    const response = await risk({ json: RISK_BODY });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "application/json");
    assertCors(response);
    const { _meta, ...answer } = await response.json();
    assert.deepEqual(answer, { ...RISK, confidence: 87 });
    assert.equal(_meta.provider, "slm");
    assert.equal(_meta.model, "small-1");
    assert.equal(_meta.fallback, undefined);
    await settle();
    assert.equal(rows.length, 1);
    assert.equal(rows[0]!.id, _meta.request_id);
    assert.equal(rows[0]!.org_id, ORG);
    assert.equal(rows[0]!.task_id, TASK);
    assert.equal(rows[0]!.fallback_reason, null);
    assert.equal(asked[0]!.path, "/v1/features/risk");
    assert.ok(!asked[0]!.body.includes("Asha"));
  }));

Deno.test("a plan answer has the contract's keys and provenance inside ai_metadata", () =>
  world(() => Response.json(predicted(PLAN)), async ({ plan, rows, settle }) => {
    const response = await plan({ json: PLAN_BODY });
    assert.equal(response.status, 200);
    const { suggested_plan, ai_metadata, ...rest } = await response.json();
    assert.deepEqual(rest, {});
    assert.deepEqual(suggested_plan, PLAN.suggested_plan);
    assert.deepEqual(ai_metadata.overall_risks, PLAN.overall_risks);
    assert.equal(ai_metadata.model, "small-1");
    await settle();
    assert.equal(ai_metadata.request_id, rows[0]!.id);
  }));

const late = async (request: Request) => {
  await new Promise((done) => {
    const timer = setTimeout(done, 5000);
    request.signal.addEventListener("abort", () => (clearTimeout(timer), done(undefined)));
  });
  return Response.json({});
};
const error = (status: number, code: string) => () => Response.json({ error: { code, message: "m" } }, { status });
const CAUSES: [string, Inference | null, string][] = [
  ["is dead", null, "unreachable"],
  ["is too slow", late, "timeout"],
  ["is overloaded", error(503, "overloaded"), "overloaded"],
  ["ran out of time itself", error(504, "timeout"), "timeout"],
  ["rejected its own answer", error(502, "rejected"), "rejected"],
  ["cut its answer", error(502, "truncated"), "schema"],
  ["refuses our token", error(401, "unauthorized"), "refused"],
  ["has a fault", error(500, "internal"), "failed"],
  ["answers with a page", () => new Response("<html>"), "invalid_json"],
  ["answers with half a JSON", () => new Response('{"output":{'), "invalid_json"],
  ["answers with nothing", () => new Response(null), "invalid_json"],
  ["breaks the schema", () => Response.json(predicted({ ...RISK, risk_level: "High" })), "schema"],
  ["gives a confidence that is no integer", () => Response.json(predicted(RISK, 87.5)), "schema"],
  ["gives a confidence over 100", () => Response.json(predicted(RISK, 999)), "schema"],
];
for (const [fault, inference, cause] of CAUSES) {
  Deno.test(`when the inference service ${fault}, risk answers by rules and plan shows a sentence`, () =>
    world(inference, async ({ risk, plan, rows, settle }) => {
      const answer = await risk({ json: RISK_BODY });
      assert.equal(answer.status, 200);
      const { _meta, confidence, ...output } = await answer.json();
      assert.ok(isOutput("risk", output));
      assert.equal(confidence, 50);
      assert.deepEqual([_meta.provider, _meta.model, _meta.fallback], ["rules", "rules-1", cause]);

      const planned = await plan({ json: PLAN_BODY });
      assert.equal(planned.status, 200);
      const hopeless = ["rejected", "schema", "refused"].includes(cause);
      assert.match((await planned.json()).error, hopeless ? /in other words/ : /try again in a minute/);
      await settle();
      assert.deepEqual(rows.map((row) => [row.feature, row.provider, row.fallback_reason]), [
        ["risk", "rules", cause],
        ["plan", "none", cause],
      ]);
    }, { deadlineMs: 300 }));
}

const BAD: [string, Parameters<Caller>[0], string][] = [
  ["another method", { method: "PUT", body: "{}" }, "Cannot answer PUT: send POST"],
  [
    "no JSON type",
    { body: "{}", headers: { "content-type": "text/plain" } },
    'Cannot read a body of type "text/plain": send application/json',
  ],
  ["broken JSON", { body: "{" }, "Cannot read the body: it is not JSON"],
  ["a list", { json: [] }, "Cannot read the body: it is not a JSON object"],
  ["a body over 64 KiB", { json: { a: "x".repeat(70_000) } }, "Cannot read the body: it is larger than 65536 bytes"],
];
for (const [name, request, message] of BAD) {
  Deno.test(`${name} gives the contract's error, and no ledger row`, () =>
    world(() => Response.json(predicted(RISK)), async ({ risk, plan, rows, asked }) => {
      for (const [door, status] of [[risk, 400], [plan, 500]] as const) {
        const response = await door(request);
        assert.equal(response.status, status);
        assert.deepEqual(await response.json(), { error: message });
        assertCors(response);
      }
      assert.deepEqual([rows.length, asked.length], [0, 0]);
    }));
}

Deno.test("risk without metrics and plan without a title say what the app's own functions say", () =>
  world(() => Response.json(predicted(RISK)), async ({ risk, plan }) => {
    const [first, second] = [await risk({ json: { taskTitle: "x" } }), await plan({ json: { title: "x" } })];
    assert.deepEqual([first.status, await first.json()], [400, { error: "Metrics are required for analysis" }]);
    assert.deepEqual([second.status, await second.json()], [500, { error: "Task title and description are required" }]);
  }));

Deno.test("a caller who is not signed in gets 401 in the contract's shape, and nothing is asked", () =>
  world(() => Response.json(predicted(RISK)), async ({ risk, plan, asked, rows }) => {
    for (const door of [risk, plan]) {
      const response = await door({ json: RISK_BODY });
      assert.deepEqual([response.status, await response.json()], [401, { error: "Sign in first" }]);
      assertCors(response);
    }
    assert.deepEqual([asked.length, rows.length], [0, 0]);
  }, { authenticate: () => Promise.reject(new Unauthorized("Sign in first")) }));

Deno.test("a database that is down never fails an answer", () => {
  const down = () => Promise.reject(new Error("the database is down"));
  return world(
    (request) => Response.json(predicted(request.url.endsWith("risk") ? RISK : PLAN)),
    async ({ risk, plan }) => {
      assert.equal((await (await risk({ json: RISK_BODY })).json())._meta.provider, "slm");
      assert.equal((await (await plan({ json: PLAN_BODY })).json()).ai_metadata.provider, "slm");
    },
    { database: { findCaller: down, similarTasks: down, record: down } },
  );
});

Deno.test("similar tasks are looked up for the signed-in user, whatever the body says", async () => {
  const seen: string[] = [];
  const similarTasks = (
    userId: string,
  ) => (seen.push(userId), Promise.resolve([{ title: "Old", steps: ["Do it well"] }]));
  await world(() => Response.json(predicted(PLAN)), async ({ plan, asked }) => {
    await plan({ json: { ...PLAN_BODY, org_id: "another", user_id: "another" } });
    assert.deepEqual(JSON.parse(asked[0]!.body).similar, [{ title: "Old", steps: ["Do it well"] }]);
  }, { database: { similarTasks } });
  assert.deepEqual(seen, [USER]);
});

Deno.test("a user without an organisation gets an answer, and a ledger row without one", () =>
  world(() => Response.json(predicted(PLAN)), async ({ plan, rows, settle }) => {
    await plan({ json: PLAN_BODY });
    await settle();
    assert.equal(rows[0]!.org_id, null);
  }, { database: { findCaller: () => Promise.resolve({ userId: USER, orgId: null }) } }));

Deno.test("what was shortened stands in the ledger", () =>
  world(() => Response.json(predicted(PLAN)), async ({ plan, rows, settle }) => {
    await plan({ json: { ...PLAN_BODY, description: "many words ".repeat(5000) } });
    await settle();
    assert.deepEqual(rows[0]!.shortened, ["description"]);
  }));

Deno.test("wrong settings give the contract's error shape, not a crash", async () => {
  const door = serveFeature(riskDoor, () => {
    throw new Error("INFERENCE_URL is not set");
  });
  const response = await door(new Request("http://edge/", { method: "POST" }));
  assert.deepEqual([response.status, await response.json()], [400, { error: "The service is not available" }]);
});
