/** The inference service dies in the middle of requests, stays dead, and comes back. */
import assert from "node:assert/strict";
import { assertPlan, assertRisk } from "./contract.ts";
import { ledger, member } from "./project.ts";

const state = Deno.env.get("STACK_STATE")!;
const DEADLINE_MS = 20_000;
const metrics = {
  allocated_hours: 8,
  elapsed_hours: 4,
  progress_ratio: 0.25,
  total_steps: 4,
  steps_completed: 1,
  risk_level: "medium",
};
const body = { metrics, taskTitle: "UI", employeeContext: { role: "employee", milestone_triggered: "75_percent" } };

function readRunning(): Record<string, { pid: number; began: string }> {
  return JSON.parse(Deno.readTextFileSync(`${state}/running.json`));
}

async function restartInference(): Promise<void> {
  const { success, stderr } = await new Deno.Command("python3", {
    args: ["scripts/stack.py", "--state", state, "inference"],
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
}

Deno.test("an outage is never seen by the app: valid answers throughout, and the model again after a restart", async () => {
  const user = await member();
  const ask = async () => {
    const began = performance.now();
    const { data, error } = await user.client.functions.invoke("analyze-task-risk", { body });
    assert.equal(error, null);
    assertRisk(data);
    assert.ok(performance.now() - began < DEADLINE_MS + 1000);
    return data._meta;
  };
  assert.equal((await ask()).provider, "slm");

  const open = [1, 2, 3, 4, 5, 6].map(ask);
  await new Promise((next) => setTimeout(next, 300));
  Deno.kill(readRunning().inference!.pid, "SIGKILL");
  const during = await Promise.all(open);
  assert.ok(during.some((meta) => meta.provider === "rules"), "the service died while requests were open");

  for (let i = 0; i < 3; i++) {
    const meta = await ask();
    assert.equal(meta.provider, "rules");
    assert.ok(["unreachable", "breaker_open"].includes(meta.fallback), meta.fallback);
  }
  const { data, error } = await user.client.functions.invoke("generate-task-plan", {
    body: { title: "UI", description: "x" },
  });
  assert.equal(error, null);
  assert.equal(assertPlan(data), false);

  await restartInference();
  let asked = 1 + 6 + 3 + 1;
  for (const until = Date.now() + 60_000; Date.now() < until; await new Promise((next) => setTimeout(next, 500))) {
    asked++;
    if ((await ask()).provider === "slm") break;
  }
  assert.equal((await ask()).provider, "slm", "the breaker lets the model serve again");
  const rows = await ledger(user.id, asked + 1);
  assert.equal(rows.length, asked + 1, "one ledger row for each answer, outage or not");
  assert.ok(rows.every((row) => row.status !== "lost"));
});
