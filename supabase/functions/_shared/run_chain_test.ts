/** Who answers when: both doors over real HTTP, with stand-ins for the private model and for the cloud. */
import assert from "node:assert/strict";
import { PRIVATE, type Question } from "./database.ts";
import {
  completed,
  late,
  type Overrides,
  PLAN,
  PLAN_BODY,
  predicted,
  RISK,
  RISK_BODY,
  type Server,
  type World,
  world,
} from "./world.ts";

const CLOUD_RISK = { ...RISK, risk_level: "low" };
const well = (request: Request) => Response.json(predicted(request.url.endsWith("risk") ? RISK : PLAN));
const error = (status: number, code: string): Server => () =>
  Response.json({ error: { code, message: "m" } }, { status });
const cloudWell: Server = () => Response.json(completed(CLOUD_RISK));
const allowed = (context: NonNullable<Overrides["context"]> = {}): Overrides => ({
  cloud: cloudWell,
  context: { allowCloud: true, ...context },
});

async function told({ risk, rows, settle }: World) {
  const response = await risk({ json: RISK_BODY });
  assert.equal(response.status, 200);
  const answer = await response.json();
  await settle();
  return { answer, meta: answer._meta, row: rows.at(-1)! };
}

const MOVES_ON: [string, Server | null, string, Partial<Overrides["context"]>][] = [
  ["is dead", null, "unreachable", {}],
  ["is overloaded", error(503, "overloaded"), "overloaded", {}],
  ["has a fault", error(500, "internal"), "failed", {}],
  ["rejects its answer", error(502, "rejected"), "rejected", {}],
  ["breaks the schema", () => Response.json(predicted({})), "schema", {}],
  ["writes no JSON", () => new Response("{"), "invalid_json", {}],
  ["is not sure", () => Response.json(predicted(RISK, 40)), "low_confidence", { minConfidence: 60 }],
  ["is too slow", late, "timeout", {}],
];
for (const [fault, slm, cause, context] of MOVES_ON) {
  Deno.test(`when the private model ${fault}, the cloud answers where it may`, () =>
    world(slm, async (stage) => {
      const { answer, meta, row } = await told(stage);
      assert.deepEqual([meta.provider, meta.model, meta.fallback], ["cloud", "gpt-4o-mini-2024-07-18", cause]);
      assert.deepEqual([answer.risk_level, answer.confidence], ["low", 80]);
      assert.deepEqual([row.provider, row.fallback_reason, row.cloud_model], ["cloud", cause, "gpt-4o-mini"]);
      assert.deepEqual([row.cloud_input_tokens, row.cloud_output_tokens], [400, 90]);
      const attempts = row.attempts as { provider: string; cause: string | null }[];
      assert.deepEqual(attempts.map((turn) => [turn.provider, turn.cause]), [["slm", cause], ["cloud", null]]);
    }, { ...allowed(context), deadlineMs: 1500 }));

  Deno.test(`when the private model ${fault}, not one byte reaches the cloud by default`, () =>
    world(slm, async (stage) => {
      const { meta, row } = await told(stage);
      await (await stage.plan({ json: PLAN_BODY })).body?.cancel();
      await stage.settle();
      assert.deepEqual(stage.sent, []);
      assert.equal(meta.fallback, cause);
      assert.equal(meta.provider, cause === "low_confidence" ? "slm" : "rules");
      assert.deepEqual([row.cloud_model, row.arm], [null, "private"]);
    }, { ...allowed({ ...context, allowCloud: false, stage: "canary" }), deadlineMs: 700 }));
}

Deno.test("a provider that is passed over behind a good one is nobody's failure", () =>
  world(well, async (stage) => {
    const { meta, row } = await told(stage);
    assert.deepEqual([meta.provider, meta.fallback, row.fallback_reason], ["slm", undefined, null]);
    assert.deepEqual((row.attempts as { cause: string | null }[]).map((turn) => turn.cause), [null]);
  }, allowed({ cloud: { breaker: "open" } })));

Deno.test("an answer that the private model is already at work on is taken, however long the policy took", () =>
  world(well, async ({ risk }) => {
    assert.equal((await (await risk({ json: RISK_BODY })).json())._meta.provider, "slm");
    const { _meta } = await (await risk({ json: RISK_BODY })).json();
    assert.deepEqual([_meta.provider, _meta.fallback], ["slm", undefined]);
  }, {
    deadlineMs: 600,
    database: (() => {
      let looks = 0;
      return {
        context: () => new Promise((done) => setTimeout(() => done(PRIVATE), looks++ ? 700 : 0)),
      };
    })(),
  }));

Deno.test("at off the cloud answers, and the private model is not asked", () =>
  world(well, async (stage) => {
    const { meta, row } = await told(stage);
    assert.deepEqual([meta.provider, row.stage, row.arm, stage.asked.length], ["cloud", "off", "current", 0]);
  }, allowed({ stage: "off" })));

Deno.test("in the shadow the cloud answers, and what the private model would have said is kept", () =>
  world(well, async (stage) => {
    const { answer, row } = await told(stage);
    assert.equal(answer.risk_level, "low");
    const shadow = row.shadow as Record<string, unknown>;
    assert.deepEqual([shadow.cause, shadow.agrees, shadow.confidence], [null, false, 87]);
    assert.deepEqual(shadow.output, RISK);
  }, allowed({ stage: "shadow" })));

Deno.test("outside a canary's share the cloud answers, and the private model stands behind it", () =>
  world(well, async (stage) => {
    const { meta, row } = await told(stage);
    assert.deepEqual([meta.provider, meta.fallback, row.arm], ["slm", "failed", "current"]);
  }, { ...allowed({ stage: "canary", inShare: false }), cloud: error(500, "internal") }));

const refusal = () =>
  Response.json({
    choices: [{ finish_reason: "stop", message: { content: null, refusal: "I can't help with that" } }],
  });
const filtered = () => Response.json({ choices: [{ finish_reason: "content_filter", message: { content: "" } }] });
for (
  const [name, cloud] of [["declines", refusal], ["is filtered", filtered], [
    "is filtered at the door",
    error(400, "content_filter"),
  ]] as const
) {
  Deno.test(`a cloud model that ${name} has answered: nobody else is asked`, () =>
    world(well, async (stage) => {
      const { meta, row } = await told(stage);
      assert.deepEqual([meta.provider, meta.fallback, stage.asked.length], ["rules", "refusal", 0]);
      assert.equal((row.attempts as unknown[]).length, 1);
      const planned = await (await stage.plan({ json: PLAN_BODY })).json();
      assert.match(planned.error, /in other words/);
      assert.deepEqual(stage.reports, []);
    }, { ...allowed({ stage: "canary", inShare: false }), cloud }));
}

Deno.test("an unsure answer is still given when nobody else has one", () =>
  world(() => Response.json(predicted(PLAN, 30)), async ({ plan, rows, settle }) => {
    const { ai_metadata } = await (await plan({ json: PLAN_BODY })).json();
    await settle();
    assert.deepEqual([ai_metadata.provider, ai_metadata.confidence, ai_metadata.fallback], [
      "slm",
      30,
      "low_confidence",
    ]);
    assert.deepEqual([rows[0]!.provider, rows[0]!.fallback_reason], ["slm", "low_confidence"]);
  }, { context: { minConfidence: 50 } }));

for (const [name, cloud] of [["declines", refusal], ["filters", filtered]] as const) {
  Deno.test(`an unsure answer is still given when the cloud ${name}`, () =>
    world(() => Response.json(predicted(PLAN, 40)), async ({ plan, rows, settle }) => {
      const { ai_metadata, suggested_plan } = await (await plan({ json: PLAN_BODY })).json();
      await settle();
      assert.deepEqual([ai_metadata.provider, ai_metadata.confidence, suggested_plan.length], ["slm", 40, 1]);
      const attempts = rows[0]!.attempts as { cause: string | null }[];
      assert.deepEqual(attempts.map((turn) => turn.cause), ["low_confidence", "refusal"]);
    }, { ...allowed({ minConfidence: 50 }), cloud }));
}

Deno.test("outages are told to the breaker of the provider that had them, other faults are not", () =>
  world(error(502, "rejected"), async ({ risk, reports, settle }) => {
    await (await risk({ json: RISK_BODY })).body?.cancel();
    await settle();
    assert.deepEqual(reports, [["cloud:openai-test", "overloaded"]]);
  }, { ...allowed(), cloud: error(429, "rate_limit") }));

Deno.test("a due breaker is probed by whoever wins the probe, and a good answer closes it", () =>
  world(well, async ({ risk, asked, reports, settle }) => {
    await (await risk({ json: RISK_BODY })).body?.cancel();
    await settle();
    assert.deepEqual([asked.length, reports], [1, [["slm", null]]]);
  }, { context: { slmBreaker: "due" } }));

Deno.test("a caller who does not win the probe does not ask", () =>
  world(well, async (stage) => {
    const { meta } = await told(stage);
    assert.deepEqual([meta.provider, meta.fallback, stage.asked.length], ["rules", "breaker_open", 0]);
  }, { context: { slmBreaker: "due" }, database: { claimProbe: () => Promise.resolve(false) } }));

Deno.test("what may leave is scrubbed, the answer gets its words back, and the ledger keeps counts only", () =>
  world(null, async ({ plan, sent, rows, settle }) => {
    const wish = {
      title: "Call Asha Rao",
      description: "Mail asha@example.com or +49 170 1234567 about it.",
      skills: [],
    };
    const answer = await (await plan({ json: wish })).json();
    await settle();
    const { body, headers, path } = sent[0]!;
    for (const word of ["Asha", "Rao", "asha@example.com", "1234567"]) assert.ok(!body.includes(word), word);
    assert.ok(body.includes("[name 1]") && body.includes("[email 1]") && body.includes("[phone 1]"), body);
    assert.equal(headers.get("authorization"), "Bearer test-key");
    assert.equal(path, "/chat/completions");
    assert.equal(answer.suggested_plan[0].title, "Call Asha Rao back about it");
    assert.deepEqual(rows[0]!.scrubbed, { name: 1, email: 1, phone: 1 });
  }, {
    ...allowed(),
    cloud: () =>
      Response.json(completed({
        ...PLAN,
        suggested_plan: [{ phase: "build_guidance", title: "Call [name 1] back about it", duration: 2, risk: "low" }],
      })),
    database: { permit: () => Promise.resolve(["Asha Rao"]) },
  }));

Deno.test("a person called Low or Min changes no figure of a task", () =>
  world(null, async (stage) => {
    const { answer, row } = await told(stage);
    const said = JSON.parse(stage.sent[0]!.body).messages.at(-1).content;
    const task = JSON.parse(said);
    assert.deepEqual([task.level, task.pace, task.left, task.title], ["low", "on_pace", "4 h", "[name 1]"]);
    assert.deepEqual([answer.risk_level, row.scrubbed], ["low", { name: 1 }]);
  }, { ...allowed(), database: { permit: () => Promise.resolve(["Jason Low", "Pace 4 h", "UI"]) } }));

Deno.test("a probe that did not reach the cloud does not close its breaker", () =>
  world(null, async (stage) => {
    await told(stage);
    assert.deepEqual(stage.reports, [["slm", "unreachable"]]);
  }, { ...allowed({ cloud: { breaker: "due" } }), database: { permit: () => Promise.reject(new Error("down")) } }));

Deno.test("when the names to take out cannot be had, nothing leaves", () =>
  world(null, async (stage) => {
    const { meta } = await told(stage);
    assert.deepEqual([meta.provider, stage.sent.length], ["rules", 0]);
  }, { ...allowed(), database: { permit: () => Promise.reject(new Error("down")) } }));

for (
  const [fault, cloud, model] of [
    ["refused with an error", error(429, "rate_limit"), null],
    ["never came", null, null],
    ["took too long", late, "gpt-4o-mini"],
    ["was no answer", () => new Response("{"), "gpt-4o-mini"],
  ] as [string, Server | null, string | null][]
) {
  Deno.test(`a cloud answer that ${fault} ${model ? "is owed" : "costs nothing"}`, () =>
    world(null, async (stage) => {
      const { row } = await told(stage);
      // What is owed and was not counted costs what was reserved: the database keeps that where the counts are null.
      assert.deepEqual([row.cloud_model, row.cloud_input_tokens, row.cloud_output_tokens], [model, null, null]);
    }, { ...allowed(), cloud, deadlineMs: 700 }));
}

Deno.test("when the day's money is spent, nothing leaves and no breaker hears of it", () =>
  world(null, async (stage) => {
    const { meta, row } = await told(stage);
    assert.deepEqual([meta.provider, stage.sent.length, row.cloud_model], ["rules", 0, null]);
    assert.deepEqual((row.attempts as { cause: string | null }[]).map((turn) => turn.cause), [
      "unreachable",
      "over_budget",
    ]);
    assert.deepEqual(stage.reports, [["slm", "unreachable"]]);
  }, { ...allowed({ cloud: { breaker: "due" } }), database: { permit: () => Promise.resolve(null) } }));

Deno.test("the money that is reserved covers what a question may cost", () => {
  const asked: Question[] = [];
  return world(null, async (stage) => {
    const { row } = await told(stage);
    assert.equal(asked[0]!.requestId, row.id);
    assert.ok(asked[0]!.input >= 400 && asked[0]!.input < 40_000 && asked[0]!.output >= 90, JSON.stringify(asked));
    assert.ok(new TextEncoder().encode(stage.sent[0]!.body).length < asked[0]!.input);
  }, {
    ...allowed(),
    database: { permit: (question) => (asked.push(question), Promise.resolve([])) },
  });
});

const CLOUD_FAULTS: [string, Server | null, string][] = [
  ["is dead", null, "unreachable"],
  ["is too slow", late, "timeout"],
  ["limits us", error(429, "rate_limit"), "overloaded"],
  ["has a fault", error(500, "server_error"), "failed"],
  ["refuses our key", error(401, "invalid_api_key"), "misconfigured"],
  ["answers with a page", () => new Response("<html>"), "invalid_json"],
  [
    "answers with broken content",
    () => Response.json({ choices: [{ message: { content: '{"risk_' } }] }),
    "invalid_json",
  ],
  ["breaks the schema", () => Response.json(completed({ ...RISK, risk_level: "severe" })), "schema"],
  [
    "writes what the coach must not say",
    () => Response.json(completed({ ...RISK, reasons: ["Half of the allocated hours are used."] })),
    "rejected",
  ],
  ["sends a megabyte", () => new Response("x".repeat(1_000_000)), "invalid_json"],
  ["redirects", () => new Response(null, { status: 302, headers: { location: "http://127.0.0.1:1/" } }), "unreachable"],
];
for (const [fault, cloud, cause] of CLOUD_FAULTS) {
  Deno.test(`when the cloud ${fault} at off, risk answers by rules and plan shows a sentence`, () =>
    world(well, async (stage) => {
      const { meta, row } = await told(stage);
      assert.deepEqual([meta.provider, meta.fallback, row.fallback_reason], ["rules", cause, cause]);
      assert.equal(typeof (await (await stage.plan({ json: PLAN_BODY })).json()).error, "string");
      assert.equal(stage.asked.length, 0);
    }, { ...allowed({ stage: "off" }), cloud, deadlineMs: 600 }));
}

Deno.test("the Azure form has its own address and key header", () =>
  world(null, async (stage) => {
    await told(stage);
    const { path, headers, body } = stage.sent[0]!;
    assert.equal(path, "/openai/deployments/small%20one/chat/completions?api-version=2024-10-21");
    assert.equal(headers.get("api-key"), "test-key");
    assert.equal(headers.get("authorization"), null);
    const format = JSON.parse(body).response_format.json_schema;
    assert.deepEqual([format.strict, format.schema.additionalProperties], [true, false]);
    assert.ok(!JSON.stringify(format.schema).includes("maxLength"));
  }, allowed({ cloud: { api: "azure", model: "small one" } })));
