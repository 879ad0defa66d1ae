/**
 * Who answers under which policy, with every fault on either side: the real functions, database and client, and stand-ins
 * for the two models. POLICY_REQUESTS sets how many mixed requests run at the end (default 300).
 */
import assert from "node:assert/strict";
import { done, service } from "./project.ts";
import { ask, edge, MODEL_KEY, pointCloudAt, type User, user } from "./second_edge.ts";
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
            "id,user_id,provider,status,fallback_reason,attempts,scrubbed,cost_usd,cloud_model,arm,stage,shadow,prompt_input",
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
  rejected: { slm: "rejected", cloud: "rejected" },
  unsure: { slm: "low_confidence", cloud: "" },
  refusal: { slm: "", cloud: "refusal" },
  huge: { slm: "", cloud: "invalid_json" },
  half: { slm: "unreachable", cloud: "unreachable" },
  reset: { slm: "unreachable", cloud: "unreachable" },
};

type Policy = {
  name: string;
  stage: [string, number];
  who: "open" | "closed" | "inside" | "outside";
  order: ("slm" | "cloud")[];
  shadow?: true;
};
/** Every rollout stage, for an organisation that allows the cloud (inside or outside a canary's share) and one that does not. */
const POLICIES: Policy[] = [
  { name: "full", stage: ["full", 100], who: "open", order: ["slm", "cloud"] },
  { name: "off", stage: ["off", 0], who: "open", order: ["cloud"] },
  { name: "shadow", stage: ["shadow", 0], who: "open", order: ["cloud"], shadow: true },
  { name: "inside", stage: ["canary", 50], who: "inside", order: ["slm", "cloud"] },
  { name: "outside", stage: ["canary", 50], who: "outside", order: ["cloud", "slm"] },
  ...(["full", "off", "shadow", "canary"] as const).map((stage): Policy => ({
    name: `closed${stage}`,
    stage: [stage, { full: 100, off: 0, shadow: 0, canary: 50 }[stage]],
    who: "closed",
    order: ["slm"],
  })),
];

/** The faults that can show under a policy: all pairs where both models are in the chain at `full`, else each side's in turn. */
function pairs({ name, order, shadow }: Policy): [slm: Fault, cloud: Fault][] {
  const slm = SLM_FAULTS.map((fault): [Fault, Fault] => [fault, "well"]);
  const cloud = CLOUD_FAULTS.map((fault): [Fault, Fault] => ["well", fault]);
  if (name === "full") return SLM_FAULTS.flatMap((one) => CLOUD_FAULTS.map((other): [Fault, Fault] => [one, other]));
  if (order.length === 1) return order[0] === "slm" ? slm : shadow ? [...slm, ...cloud.slice(1)] : cloud;
  return order[0] === "slm"
    ? [...slm, ...cloud.slice(1).map(([, fault]): [Fault, Fault] => ["error", fault])]
    : [...cloud, ...slm.slice(1).map(([fault]): [Fault, Fault] => [fault, "error"])];
}

/** What the ledger must say: the causes in turn, and who answered. */
function expected({ order }: Policy, feature: "risk" | "plan", faults: { slm: Fault; cloud: Fault }) {
  const causes: (string | null)[] = [];
  for (const provider of order) {
    const cause = CAUSE[faults[provider]][provider] || null;
    causes.push(cause);
    if (cause === null) return { causes, provider };
    if (cause === "refusal") break; // nobody else is asked
  }
  // An answer that the model was not sure of is better than none.
  return { causes, provider: causes.includes("low_confidence") ? "slm" : feature === "risk" ? "rules" : "none" };
}

/** Two organisations that allow the cloud: one inside a canary of 50 % for both features, one outside. */
async function sides(edgeUrl: string): Promise<{ inside: User; outside: User }> {
  const found: Partial<Record<"inside" | "outside", User>> = {};
  while (!found.inside || !found.outside) {
    const who = await user(edgeUrl, true);
    const shares = [];
    for (const feature of ["risk", "plan"]) {
      const context = await done(service.rpc("slm_context", { p_user_id: who.id, p_feature: feature }));
      shares.push(context.in_share);
    }
    if (shares[0] === shares[1]) found[shares[0] ? "inside" : "outside"] ??= who;
  }
  return found as { inside: User; outside: User };
}

Deno.test("every fault on either side, under every policy: answers, ledger, and what reached the cloud", async (t) => {
  const models = await standIns(SLOW_MS);
  const second = await edge(models);
  const restoreCloud = await pointCloudAt(models.cloudUrl);
  await done(service.from("slm_rollouts").update({ min_confidence: 20 }).neq("feature", "").select());
  await done(service.from("slm_operator_settings").update({ daily_cloud_usd: 1000 }).eq("id", true).select());
  try {
    await stage("canary", 50);
    const [open, closed] = [await user(second.url, true), await user(second.url, false)];
    const people = { open, closed, ...await sides(second.url) };

    for (const policy of POLICIES) {
      await t.step(`${policy.name}: each combination, one by one`, async () => {
        await stage(...policy.stage);
        const wanted: { feature: "risk" | "plan"; slm: Fault; cloud: Fault; about: string }[] = [];
        const before = models.sent.length;
        for (const feature of ["risk", "plan"] as const) {
          for (const [slm, cloud] of pairs(policy)) {
            await calm();
            const about = title(`${policy.name}${wanted.length}x`, slm, cloud);
            wanted.push({ feature, slm, cloud, about });
            await ask(people[policy.who], feature, about);
          }
        }
        const mine = (row: Record<string, unknown>) =>
          (row.prompt_input as { title: string }).title.startsWith(`Page ${policy.name}`);
        const rows = new Map<string, Record<string, unknown>>();
        for (let tries = 0; rows.size < wanted.length && tries < 50; tries++) {
          for (const row of (await settled([people[policy.who]], 0)).filter(mine)) {
            if (row.status === "closed") rows.set((row.prompt_input as { title: string }).title, row);
          }
          await new Promise((next) => setTimeout(next, 200));
        }
        let calls = 0;
        for (const { feature, slm, cloud, about } of wanted) {
          const row = rows.get(about);
          const where = `${feature} ${about}: ${JSON.stringify(row)}`;
          assert.ok(row, where);
          const { causes, provider } = expected(policy, feature, { slm, cloud });
          assert.deepEqual((row.attempts as { cause: string | null }[]).map((turn) => turn.cause), causes, where);
          assert.deepEqual([row.provider, row.fallback_reason], [provider, causes[0]], where);
          assert.deepEqual([row.stage, row.arm === "private"], [policy.stage[0], policy.who === "closed"], where);
          const shadow = row.shadow as { cause: string | null } | null;
          assert.equal(shadow === null, !policy.shadow, where);
          if (policy.shadow) {
            assert.equal(shadow!.cause, CAUSE[slm].slm === "low_confidence" ? null : CAUSE[slm].slm || null, where);
          }
          const reached = policy.order.slice(0, causes.length).includes("cloud");
          assert.equal(models.sent.slice(before).some((body) => body.includes(about)), reached, where);
          assert.ok(reached || row.cloud_model === null, where);
          if (reached) calls++;
        }
        console.log(`${policy.name}: ${wanted.length} requests, ${calls} of them reached the cloud`);
      });
    }

    await t.step("nothing of the closed organisation reached the cloud", () => {
      assert.ok(models.sent.some((body) => body.includes("Page full")));
      assert.deepEqual(models.sent.filter((body) => body.includes("Page closed")), []);
    });

    await t.step("an outage costs three timeouts, not one for each request", async () => {
      await calm();
      await stage("full", 100);
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
            const provider = i % 2 ? "slm" : "cloud:openai-gpt-4o-mini";
            const until = new Date(Date.now() + 300).toISOString();
            await done(service.from("slm_breakers").upsert({ provider, open_until: until }).select());
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
        if (row.status !== "closed") continue; // a plan that failed was answered before its row was completed: it has no attempts yet
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
