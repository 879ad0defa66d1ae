/** A project as it looks after two months: requests, a run under way, models with what they came from, a dataset and an evaluation by the trainer itself. */
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { service } from "./stack.mjs";

const run = promisify(execFile);
const repository = new URL("../../../", import.meta.url).pathname;
const python = (...words) =>
  run(join(repository, ".venv/bin/python"), ["-m", ...words], {
    cwd: repository,
    env: { ...process.env, OMP_NUM_THREADS: "1" },
    maxBuffer: 2 ** 24,
  });

export const DAYS = 60;

/** Requests of many days: more and more by the private model, some passed over. */
export async function seedRequests(org, user) {
  const rows = Array.from({ length: DAYS * 12 }, (_, i) => {
    const day = Math.floor(i / 12);
    const isLocal = (i * 37 % 100) / 100 < 0.3 + 0.65 * (1 - day / DAYS);
    const feature = i % 4 === 3 ? "plan" : "risk";
    const fallback = isLocal ? null : ["timeout", "low_confidence", "rejected", "stage"][i % 4];
    return {
      id: randomUUID(),
      org_id: org,
      user_id: user,
      feature,
      prompt_input: {},
      output: {},
      provider: isLocal ? "slm" : i % 3 ? "cloud" : "rules",
      model: isLocal ? "smollm2-135m-7" : "gpt-4o-mini",
      prompt_version: `${feature}-1/tag`,
      latency_ms: (feature === "risk" ? 600 : 1500) + (i * 97 % 900) + (i % 19 === 0 ? 2500 : 0),
      fallback_reason: fallback,
      alternative_usd: isLocal ? 0.0004 : null,
      input_tokens: 180,
      output_tokens: 80,
      created_at: new Date(Date.now() - day * 86_400_000 - (i % 12) * 3_600_000).toISOString(),
    };
  });
  for (let i = 0; i < rows.length; i += 200) await service("/rest/v1/slm_requests", rows.slice(i, i + 200));
  await service("/rest/v1/rpc/slm_roll_up", { p_from: new Date(Date.now() - (DAYS + 1) * 86_400_000).toISOString() });
}

/** A dataset and an evaluation, made and written by the trainer; a run under way, one that made a model and one that was refused. */
export async function seedTraining() {
  const work = mkdtempSync(join(tmpdir(), "console-data-"));
  await python("trainer", "data", "seed", "--size", "150", "--work-dir", work);
  await python("trainer", "data", "--count", "80", "--write-back", "--work-dir", work);
  const [dataset] = await service("/rest/v1/slm_datasets?feature=eq.risk&order=created_at.desc&limit=1");
  const [made, refused] = [randomUUID(), randomUUID()];
  await python("tests.trainer.write_evaluation", made);
  const ago = (hours) => new Date(Date.now() - hours * 3_600_000).toISOString();
  const one = { features: ["risk", "plan"], preset: "smollm2-135m", dataset_ids: [dataset.id] };
  await service("/rest/v1/slm_training_runs", [
    {
      ...one,
      id: made,
      created_at: ago(50),
      status: "done",
      stage: "promote",
      progress: { step: 240, steps: 240, loss: 0.183, tokens_per_s: 410 },
      holder: "trainer-1 4711 brisk",
      fence: 101,
      heartbeat_at: ago(44),
      lease_until: ago(44),
      ended_at: ago(44),
      why: null,
    },
    {
      ...one,
      id: refused,
      created_at: ago(26),
      status: "refused",
      stage: "gates",
      progress: { step: 240, steps: 240, loss: 0.171, tokens_per_s: 402 },
      holder: "trainer-1 4802 amber",
      fence: 102,
      heartbeat_at: ago(21),
      lease_until: ago(21),
      ended_at: ago(21),
      why: "plan: 0.920 accepted, at least 0.950",
    },
    {
      ...one,
      id: randomUUID(),
      created_at: ago(1.4),
      status: "running",
      stage: "fine-tune",
      progress: { step: 87, steps: 240, loss: 0.412, tokens_per_s: 396 },
      holder: "trainer-1 5120 calm",
      fence: 103,
      heartbeat_at: new Date().toISOString(),
      lease_until: new Date(Date.now() + 3_600_000).toISOString(),
      ended_at: null,
      why: null,
    },
  ]);
  const hash = (letter) => letter.repeat(64);
  const gates = (failed) =>
    ["examples", "valid", "accepted", "better", "parity", "leakage", "size", "speed"].map((gate) => ({
      gate,
      passed: gate !== failed,
      by: 0,
      text: gate,
    }));
  const model = {
    dataset_id: dataset.id,
    base_sha256: hash("b"),
    adapter_sha256: hash("a"),
    weights_sha256: null,
    quantisation: "Q4_0",
    bytes: 4_912_331,
    artifact: "models/7",
  };
  await service("/rest/v1/slm_models", [
    {
      ...model,
      name: "smollm2-135m-7",
      feature: "risk",
      created_at: ago(45),
      status: "active",
      run_id: made,
      prompt_version: "risk-1/tag",
      calibration: { kind: "isotonic", x: [0.3, 0.5, 0.7, 0.85, 0.95, 1], y: [0.1, 0.28, 0.55, 0.8, 0.94, 0.97] },
      min_confidence: 82,
      metrics: { gates: gates(null) },
      why: null,
      promoted_at: ago(44),
    },
    {
      ...model,
      name: "smollm2-135m-7",
      feature: "plan",
      created_at: ago(45),
      status: "active",
      run_id: made,
      prompt_version: "plan-1/tag",
      calibration: { kind: "temperature", temperature: 1.7 },
      min_confidence: 0,
      metrics: { gates: gates(null) },
      why: null,
      promoted_at: ago(44),
    },
    {
      ...model,
      name: "smollm2-135m-8",
      feature: "plan",
      created_at: ago(21),
      status: "refused",
      run_id: refused,
      prompt_version: "plan-1/tag",
      calibration: { kind: "identity" },
      min_confidence: 0,
      metrics: { gates: gates("accepted") },
      why: "0.920 accepted, at least 0.950",
      promoted_at: null,
    },
  ]);
  return { dataset, made };
}
