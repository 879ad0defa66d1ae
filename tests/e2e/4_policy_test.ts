/**
 * Who answers under which policy, with every fault on either side: the real functions, database and client, and stand-ins
 * for the two models. POLICY_REQUESTS sets how many mixed requests run at the end (default 300).
 */
import assert from "node:assert/strict";
import { done, service } from "./project.ts";
import { ask, edge, MODEL_KEY, pointCloudAt, type Seen, type User, user } from "./second_edge.ts";
import { CLOUD_FAULTS, type Fault, SLM_FAULTS, standIns, title } from "./stand_ins.ts";

const SLOW_MS = 2_500;
const MIXED = Number(Deno.env.get("POLICY_REQUESTS") ?? 300);

async function calm(): Promise<void> {
  await done(service.from("slm_breakers").delete().neq("provider", ""));
}

async function stage(name: string, share: number): Promise<void> {
  for (const feature of ["risk", "plan"]) {
    const parameters = { p_feature: feature, p_stage: name, p_share: share, p_by: "test", p_reason: "test" };
    await done(service.rpc("slm_set_rollout", parameters).then(({ error }) => ({ data: true, error })));
  }
}

async function settled(users: User[], requests: number): Promise<Record<string, unknown>[]> {
  for (let tries = 0; tries < 300; tries++) {
    const rows = [];
    for (const { id } of users) {
      for (let from = 0;; from += 1000) {
        const page = await done(
          service.from("slm_requests").select(
            "id,user_id,provider,status,fallback_reason,attempts,scrubbed,cost_usd,cloud_model,arm,prompt_input",
          )
            .eq("user_id", id).order("id").range(from, from + 999),
        );
        rows.push(...page);
        if (page.length < 1000) break;
      }
    }
    if (rows.filter((row) => row.status === "closed").length >= requests) return rows;
    await new Promise((next) => setTimeout(next, 200));
  }
  throw new Error(`the ledger holds fewer than ${requests} closed rows`);
}

const CAUSE: Record<Fault, { slm: string; cloud: string }> = {
  well: { slm: "", cloud: "" },
  slow: { slm: "timeout", cloud: "timeout" },
  limit: { slm: "overloaded", cloud: "overloaded" },
  error: { slm: "failed", cloud: "failed" },
  broken: { slm: "invalid_json", cloud: "invalid_json" },
  schema: { slm: "schema", cloud: "schema" },
  rejected: { slm: "rejected", cloud: "" },
  unsure: { slm: "low_confidence", cloud: "" },
  refusal: { slm: "", cloud: "refusal" },
  huge: { slm: "", cloud: "invalid_json" },
  half: { slm: "unreachable", cloud: "unreachable" },
  reset: { slm: "unreachable", cloud: "unreachable" },
};

Deno.test("every fault on either side, under both policies: answers, ledger, and what reached the cloud", async (t) => {
  const models = await standIns(SLOW_MS);
  const second = await edge(models);
  const restoreCloud = await pointCloudAt(models.cloudUrl);
  await done(service.from("slm_rollouts").update({ min_confidence: 20 }).neq("feature", "").select());
  await done(service.from("slm_operator_settings").update({ daily_cloud_usd: 1000 }).eq("id", true).select());
  try {
    await stage("full", 100);
    const [open, closed] = [await user(second.url, true), await user(second.url, false)];
    const wanted: { user: User; slm: Fault; cloud: Fault; feature: "risk" | "plan"; seen: Seen | null }[] = [];

    await t.step("each combination, one by one", async () => {
      for (const feature of ["risk", "plan"] as const) {
        for (const slm of SLM_FAULTS) {
          for (const who of [open, closed]) {
            for (const cloud of who === open && slm !== "well" ? CLOUD_FAULTS : ["well"] as Fault[]) {
              await calm();
              const about = title(`${wanted.length}${who === open ? "open" : "closed"}`, slm, cloud);
              wanted.push({ user: who, slm, cloud, feature, seen: await ask(who, feature, about) });
            }
          }
        }
      }
      const rows = new Map(
        (await settled([open, closed], wanted.length)).map((
          row,
        ) => [(row.prompt_input as { title: string }).title, row]),
      );
      for (const [i, { user: who, slm, cloud, feature }] of wanted.entries()) {
        const row = rows.get(title(`${i}${who === open ? "open" : "closed"}`, slm, cloud))!;
        const turns = [CAUSE[slm].slm || null, ...(who === open && slm !== "well" ? [CAUSE[cloud].cloud || null] : [])];
        const attempts = (row.attempts as { cause: string | null }[]).map((attempt) => attempt.cause);
        const where = `${feature} ${slm} ${cloud} ${who === open ? "open" : "closed"}: ${JSON.stringify(row)}`;
        assert.deepEqual(attempts, turns, where);
        const last = turns.at(-1);
        const nobody = slm === "unsure" && last !== "refusal" ? "slm" : feature === "risk" ? "rules" : "none";
        assert.equal(row.provider, last === null ? (turns.length === 1 ? "slm" : "cloud") : nobody, where);
        assert.equal(row.fallback_reason, turns[0], where);
      }
    });

    await t.step("nothing of the closed organisation reached the cloud", () => {
      assert.ok(models.sent.some((body) => body.includes("open slm-")));
      assert.deepEqual(models.sent.filter((body) => body.includes("closed slm-")), []);
    });

    await t.step("an outage costs three timeouts, not one for each request", async () => {
      await calm();
      const causes = [];
      for (let i = 0; i < 12; i++) {
        causes.push((await ask(closed, "risk", title(`o${i}closed`, "slow", "well")))!.fallback);
      }
      assert.deepEqual(causes, [...Array(3).fill("timeout"), ...Array(9).fill("breaker_open")]);
    });

    await t.step(`${MIXED} mixed requests while stages change, breakers flip and a user is erased`, async () => {
      await calm();
      const users = [
        open,
        closed,
        await user(second.url, true),
        await user(second.url, false),
        await user(second.url, true),
      ];
      const erased = users.at(-1)!;
      const answered: { id: string; user: User; before: boolean }[] = [];
      const counts: Record<string, number> = {};
      let [next, plans, wiped] = [0, 0, false];
      const stages: [string, number][] = [["off", 0], ["shadow", 0], ["canary", 10], ["canary", 50], ["full", 100]];
      const worker = async () => {
        while (next < MIXED) {
          const i = next++;
          if (i % Math.max(1, Math.floor(MIXED / 20)) === 0) {
            await stage(...stages[(i / Math.max(1, Math.floor(MIXED / 20))) % 5 | 0]!);
          }
          if (i % 97 === 50) {
            await done(
              service.rpc("slm_report", { p_provider: i % 2 ? "slm" : "cloud:openai-gpt-4o-mini", p_cause: "timeout" })
                .then(({ error }) => ({ data: true, error })),
            );
          }
          if (i % 61 === 30) await calm();
          if (i === Math.floor(MIXED / 2)) {
            await done(service.rpc("slm_erase_user", { p_user_id: erased.id }));
            wiped = true;
          }
          const who = users[i % users.length]!;
          const [slm, cloud] = [pick(SLM_FAULTS, i, 0.6), pick(CLOUD_FAULTS, i * 7 + 3, 0.6)];
          const was = wiped;
          const seen = await ask(
            who,
            i % 3 ? "risk" : "plan",
            title(`m${i}${who === closed || who === users[3] ? "closed" : "open"}`, slm, cloud),
          );
          if (seen) {
            answered.push({ id: seen.id, user: who, before: !was });
            counts[seen.provider] = (counts[seen.provider] ?? 0) + 1;
          } else plans++;
        }
      };
      await Promise.all(Array.from({ length: 8 }, worker));
      const kept = answered.filter(({ user: who, before }) => who !== erased || !before);
      const sure = kept.filter(({ user: who }) => who !== erased);
      const rows = await settled(users.filter((who) => who !== erased), sure.length);
      const ids = new Map(rows.map((row) => [row.id as string, row]));
      assert.equal(ids.size, rows.length, "a request has two rows");
      for (const { id } of sure) assert.equal(ids.get(id)?.status, "closed", `request ${id} has no closed row`);
      const forgotten = new Set(
        answered.filter(({ user: who, before }) => who === erased && before).map(({ id }) => id),
      );
      const left = (await settled([erased], 0)).filter((row) => forgotten.has(row.id as string));
      assert.deepEqual(left, [], "an erased user's row came back");
      const privateUsers = new Set([closed.id, users[3]!.id]);
      for (const row of rows) {
        assert.equal(row.arm === "private", privateUsers.has(row.user_id as string), JSON.stringify(row));
        if (row.arm === "private") assert.ok(row.provider !== "cloud" && row.cloud_model === null, JSON.stringify(row));
        if (row.arm === "candidate") assert.equal((row.attempts as { provider: string }[])[0]!.provider, "slm");
        if (row.arm === "current") assert.equal((row.attempts as { provider: string }[])[0]!.provider, "cloud");
      }
      assert.deepEqual(
        models.sent.filter((body) => /m\d+closed/.test(body)),
        [],
        "a closed organisation's text reached the cloud",
      );
      console.log(
        `${MIXED} mixed requests: ${
          JSON.stringify(counts)
        }, ${plans} plans said try again; ${models.sent.length} requests reached the cloud stand-in`,
      );
    });

    await t.step("no secret in any log or row", async () => {
      const keys = JSON.parse(Deno.readTextFileSync(`${Deno.env.get("STACK_STATE")}/keys.json`));
      const secrets = [MODEL_KEY, keys.SUPABASE_SECRET_KEY, keys.JWT_SECRET, keys.INFERENCE_TOKEN];
      const log = await second.stop();
      const rows = JSON.stringify(await settled([open, closed], 1));
      for (const secret of secrets) {
        assert.ok(!log.includes(secret) && !rows.includes(secret) && !models.sent.join().includes(secret));
      }
    });
  } finally {
    await second.stop().catch(() => "");
    await models.stop();
    await restoreCloud();
    await done(service.from("slm_rollouts").update({ min_confidence: 0 }).neq("feature", "").select());
    await stage("full", 100);
    await calm();
  }
});

/** Mostly well, else one fault after another: the same at every run. */
function pick(faults: Fault[], i: number, share: number): Fault {
  const roll = ((i * 2654435761) >>> 0) / 4294967296;
  return roll < share ? "well" : faults[1 + (i % (faults.length - 1))]!;
}
