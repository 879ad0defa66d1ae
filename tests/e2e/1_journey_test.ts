/** One user's way through both features, exactly as the app goes it (contract.md 1.7 and 2.7). */
import assert from "node:assert/strict";
import { assertPlan, assertRisk } from "./contract.ts";
import { done, ledger, member, publishableKey, service, stranger, url } from "./project.ts";

const CONTEXT = { full_name: "Asha Rao", role: "employee", is_micro_task: false, milestone_triggered: "50_percent" };

async function startedTask(orgId: string, userId: string): Promise<string> {
  const created_at = new Date(Date.now() - 4 * 3_600_000).toISOString();
  const task = await done(
    service.from("tasks").insert({
      title: "UI for Career page",
      org_id: orgId,
      assigned_to: userId,
      allocated_hours: 8,
      created_at,
    })
      .select("id").single(),
  );
  await done(
    service.from("task_steps").insert([0, 1, 2, 3].map((i) => ({
      org_id: orgId,
      task_id: task.id,
      stage_id: "build_guidance",
      step_title: `Step ${i + 1}`,
      order_index: i,
      status: i === 0 ? "completed" : "pending",
    }))),
  );
  return task.id;
}

/** `riskService.analyzeRisk`: metrics, analysis, and a snapshot whose arguments lose every key that is undefined. */
async function analyzeRisk(user: Awaited<ReturnType<typeof member>>, taskId: string, metricsFunction: string) {
  const metrics = await done(user.client.rpc(metricsFunction, { p_task_id: taskId }));
  const { data: analysis, error } = await user.client.functions.invoke("analyze-task-risk", {
    body: { metrics, taskTitle: "UI for Career page", employeeContext: CONTEXT },
  });
  assert.equal(error, null);
  const saved = await done(user.client.rpc("rpc_insert_task_risk_snapshot", {
    p_org_id: metrics.org_id,
    p_task_id: taskId,
    p_elapsed_hours: metrics.elapsed_hours,
    p_steps_completed: metrics.steps_completed,
    p_total_steps: metrics.total_steps,
    p_progress_ratio: metrics.progress_ratio,
    p_predicted_total_hours: metrics.predicted_total_hours,
    p_predicted_delay_hours: metrics.predicted_delay_hours,
    p_risk_level: analysis.risk_level,
    p_confidence: analysis.confidence,
    p_reasons: analysis.reasons || [],
    p_actions: analysis.recommended_actions || [],
    p_model: "gpt-4o-mini",
    p_raw_response: analysis,
  }));
  assert.equal(saved.success, true);
  const snapshot = await done(user.client.from("task_risk_snapshots").select("*").eq("id", saved.snapshot_id).single());
  return { metrics, analysis, snapshot };
}

for (
  const [version, metricsFunction] of [["V4", "rpc_compute_task_risk_metrics"], [
    "V3",
    "local_compute_task_risk_metrics_v3",
  ]] as const
) {
  Deno.test(`a risk analysis with ${version} metrics is answered, saved, and named after who made it`, async () => {
    const user = await member();
    const task = await startedTask(user.orgId, user.id);
    const { metrics, analysis, snapshot } = await analyzeRisk(user, task, metricsFunction);
    assert.equal("predicted_total_hours" in metrics, version === "V3");
    assertRisk(analysis);
    assert.equal(analysis._meta.provider, "slm");
    assert.equal(snapshot.model_used, analysis._meta.model);
    assert.notEqual(snapshot.model_used, "gpt-4o-mini");
    assert.deepEqual(snapshot.raw_llm_response, analysis);
    assert.deepEqual(snapshot.reasons, analysis.reasons);
    assert.ok(snapshot.predicted_total_hours > 0);

    const [row] = await ledger(user.id, 1);
    assert.equal(row.id, analysis._meta.request_id);
    assert.equal(row.org_id, user.orgId);
    assert.equal(row.task_id, task);
    assert.ok(row.input_tokens > 0 && row.output_tokens > 0 && row.latency_ms >= row.model_ms);
    assert.ok(!JSON.stringify(row).includes("Asha"));
  });
}

Deno.test("a plan is answered and saved as createTask saves it", async () => {
  const user = await member();
  const wish = {
    title: "Hiring Portal modification ",
    description: "Add a filter by department.",
    skills: ["React"],
    taskType: "General",
  };
  const { data, error } = await user.client.functions.invoke("generate-task-plan", { body: wish });
  assert.equal(error, null);
  assert.ok(assertPlan(data), JSON.stringify(data));
  assert.equal(data.ai_metadata.provider, "slm");

  const task = await done(
    user.client.from("tasks").insert({
      title: wish.title,
      org_id: user.orgId,
      status: "pending",
      skills: wish.skills,
      ai_metadata: data.ai_metadata,
    })
      .select().single(),
  );
  const places: Record<string, number> = {};
  const steps = data.suggested_plan.map((step: { phase: string; title: string; duration: number }) => ({
    org_id: user.orgId,
    task_id: task.id,
    stage_id: step.phase,
    step_title: step.title.trim(),
    order_index: places[step.phase] = (places[step.phase] ?? -1) + 1,
    status: "pending",
    created_by: user.id,
    created_by_role: "manager",
    estimated_hours: step.duration || 2,
  }));
  await done(user.client.from("task_steps").insert(steps));
  const saved = await done(user.client.from("task_steps").select("*").eq("task_id", task.id));
  assert.equal(saved.length, data.suggested_plan.length);
  assert.equal(task.ai_metadata.request_id, (await ledger(user.id, 1))[0].id);
});

Deno.test("similar tasks come from the caller's own organisation, and another's never reach the prompt", async () => {
  const [ours, theirs] = [await member(), await member()];
  for (const [who, title] of [[ours, "Our old career page"], [theirs, "Their secret career page"]] as const) {
    const task = await done(
      service.from("tasks").insert({ title, org_id: who.orgId, skills: ["React"] }).select("id").single(),
    );
    await done(
      service.from("task_steps").insert({
        org_id: who.orgId,
        task_id: task.id,
        stage_id: "build_guidance",
        step_title: `Step of ${title}`,
      }),
    );
  }
  const { data } = await ours.client.functions.invoke("generate-task-plan", {
    body: {
      title: "Career page",
      description: "Build it",
      skills: ["React"],
      taskType: "General",
      org_id: theirs.orgId,
    },
  });
  assertPlan(data);
  const [row] = await ledger(ours.id, 1);
  assert.deepEqual(row.prompt_input.similar, [{
    title: "Our old career page",
    steps: ["Step of Our old career page"],
  }]);
});

Deno.test("a user without a profile is answered, under the default policy", async () => {
  const { client, id } = await stranger();
  const { data, error } = await client.functions.invoke("analyze-task-risk", {
    body: { metrics: { allocated_hours: 8 }, taskTitle: "UI" },
  });
  assert.equal(error, null);
  assertRisk(data);
  assert.equal((await ledger(id, 1))[0].org_id, null);
});

Deno.test("the ledger and the settings are closed to users", async () => {
  const { client, id } = await member();
  await client.functions.invoke("analyze-task-risk", { body: { metrics: { allocated_hours: 8 }, taskTitle: "UI" } });
  const [{ id: _, ...row }] = await ledger(id, 1);
  const rows: Record<string, object> = {
    slm_requests: { ...row, id: crypto.randomUUID() },
    slm_org_settings: { org_id: crypto.randomUUID(), allow_cloud: true },
  };
  for (const table of Object.keys(rows)) {
    assert.ok((await done(service.from(table).select("id").limit(1))).length > 0, "there is something to see");
    const { data } = await client.from(table).select("*");
    assert.equal(data?.length ?? 0, 0, `a user reads ${table}`);
    const { error } = await client.from(table).insert(rows[table]!);
    assert.equal(error?.code, "42501", `a user writes ${table}`);
  }
});

const DOORS = [["analyze-task-risk", 400], ["generate-task-plan", 500]] as const;
const NOT_SIGNED_IN: [string, Record<string, string>][] = [
  ["no token", {}],
  ["the publishable key as token", { authorization: `Bearer ${publishableKey}` }],
  ["a made-up token", { authorization: "Bearer eyJhbGciOiJub25lIn0.e30." }],
];
for (const [door, status] of DOORS) {
  for (const [name, headers] of NOT_SIGNED_IN) {
    Deno.test(`${door} refuses a caller with ${name}`, async () => {
      const response = await fetch(`${url}/functions/v1/${door}`, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: "{}",
      });
      assert.equal(response.status, 401);
      assert.equal(typeof (await response.json()).error, "string");
      assert.equal(response.headers.get("access-control-allow-origin"), "*");
    });
  }

  Deno.test(`${door} answers a browser's preflight`, async () => {
    const response = await fetch(`${url}/functions/v1/${door}`, { method: "OPTIONS" });
    assert.deepEqual([response.status, await response.text()], [200, "ok"]);
    assert.equal(
      response.headers.get("access-control-allow-headers"),
      "authorization, x-client-info, apikey, content-type",
    );
  });

  const session = async () => (await (await member()).client.auth.getSession()).data.session!.access_token;
  const BAD: [string, string, BodyInit, string][] = [
    ["text", "text/plain", "hello", 'Cannot read a body of type "text/plain": send application/json'],
    ["half a JSON", "application/json", '{"metrics":', "Cannot read the body: it is not JSON"],
    ["a list", "application/json", "[]", "Cannot read the body: it is not a JSON object"],
    [
      "70 KB",
      "application/json",
      JSON.stringify({ a: "x".repeat(70_000) }),
      "Cannot read the body: it is larger than 65536 bytes",
    ],
    [
      "nothing that is needed",
      "application/json",
      "{}",
      door === "analyze-task-risk" ? "Metrics are required for analysis" : "Task title and description are required",
    ],
  ];
  for (const [name, type, body, message] of BAD) {
    Deno.test(`${door} refuses ${name} with status ${status}`, async () => {
      const headers = { "content-type": type, authorization: `Bearer ${await session()}` };
      const response = await fetch(`${url}/functions/v1/${door}`, { method: "POST", headers, body });
      assert.deepEqual([response.status, await response.json()], [status, { error: message }]);
    });
  }
}
