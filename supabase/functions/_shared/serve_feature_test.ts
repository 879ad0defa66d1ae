/** The doors as the app meets them: what comes in, what goes out, and what the ledger keeps. */
import assert from "node:assert/strict";
import { PRIVATE } from "./database.ts";
import { riskDoor } from "./risk_door.ts";
import { serveFeature } from "./serve_feature.ts";
import { Unauthorized } from "./unauthorized.ts";
import { isOutput } from "./validate_output.ts";
import {
  type Call,
  late,
  ORG,
  PLAN,
  PLAN_BODY,
  predicted,
  RISK,
  RISK_BODY,
  type Server,
  TASK,
  USER,
  world,
} from "./world.ts";

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

const error = (status: number, code: string) => () => Response.json({ error: { code, message: "m" } }, { status });
const CAUSES: [string, Server | null, string][] = [
  ["is dead", null, "unreachable"],
  ["is too slow", late, "timeout"],
  ["is overloaded", error(503, "overloaded"), "overloaded"],
  ["ran out of time itself", error(504, "timeout"), "timeout"],
  ["rejected its own answer", error(502, "rejected"), "rejected"],
  ["cut its answer", error(502, "truncated"), "schema"],
  ["refuses our token", error(401, "unauthorized"), "misconfigured"],
  ["cannot be found at its address", error(404, "not_found"), "misconfigured"],
  ["finds the input too long", error(413, "prompt_too_long"), "refused"],
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
    }, { deadlineMs: 600 }));
}

const BAD: [string, Parameters<Call>[0], string][] = [
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
    { database: { context: down, permit: down, claimProbe: down, report: down, open: down, close: down } },
  );
});

Deno.test("the signed-in user's context is looked up, whatever the body says", async () => {
  const seen: unknown[] = [];
  const similar = [{ title: "Old", steps: ["Do it well"] }];
  await world(() => Response.json(predicted(PLAN)), async ({ plan, asked, rows, settle }) => {
    await plan({ json: { ...PLAN_BODY, org_id: "another", user_id: "another" } });
    assert.deepEqual(JSON.parse(asked[0]!.body).similar, similar);
    await settle();
    assert.deepEqual([rows[0]!.user_id, rows[0]!.org_id], [USER, null]);
  }, {
    database: { context: (...about) => (seen.push(about), Promise.resolve({ ...PRIVATE, similar })) },
  });
  assert.deepEqual(seen, [[USER, "plan", { title: "UI", description: "Build it", skills: ["React"] }]]);
});

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
