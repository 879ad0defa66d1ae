/**
 * The database goes away and comes back: answers go on, and the ledger is caught up once. DATABASE_DOWN_S sets for how
 * long (default 4).
 */
import assert from "node:assert/strict";
import { done, service } from "./project.ts";
import { ask, edge, pointCloudAt, user } from "./second_edge.ts";
import { standIns, title } from "./stand_ins.ts";

const state = Deno.env.get("STACK_STATE")!;
const DOWN_MS = 1000 * Number(Deno.env.get("DATABASE_DOWN_S") ?? 4);
const pid = () => JSON.parse(Deno.readTextFileSync(`${state}/running.json`)).database.pid as number;

async function restart(): Promise<void> {
  const args = ["scripts/stack.py", "--state", state, "database"];
  const { success, stderr } = await new Deno.Command("python3", { args }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
}

for (
  const [name, down, up] of [
    ["dies", () => Deno.kill(pid(), "SIGTERM"), restart],
    ["hangs", () => Deno.kill(pid(), "SIGSTOP"), () => Promise.resolve(Deno.kill(pid(), "SIGCONT"))],
  ] as const
) {
  Deno.test(`when the database ${name}, answers go on, and the ledger has each of them once afterwards`, async () => {
    const models = await standIns(0);
    const second = await edge(models, 15_400, 5_000);
    const restoreCloud = await pointCloudAt(models.cloudUrl);
    let isDown = false;
    try {
      const who = await user(second.url, true);
      const seen = [await ask(who, "risk", title("before", "well", "well"))];
      assert.equal(seen[0]!.provider, "slm");
      down();
      isDown = true;
      await new Promise((next) => setTimeout(next, 300));
      const until = Date.now() + DOWN_MS;
      const sent = models.sent.length;
      do {
        const answer = await ask(who, "risk", title("during", "well", "well"));
        assert.equal(answer!.provider, "slm");
        seen.push(answer);
        const fallen = await ask(who, "risk", title("during", "error", "well"));
        assert.equal(fallen!.provider, "rules", "without a policy nothing leaves");
        seen.push(fallen);
        await new Promise((next) => setTimeout(next, 250));
      } while (Date.now() < until);
      assert.equal(models.sent.length, sent);
      await up();
      isDown = false;
      const ids = seen.map((answer) => answer!.id);
      let rows: { id: string }[] = [];
      for (const until = Date.now() + 60_000; Date.now() < until && rows.length < ids.length;) {
        rows = await done(service.from("slm_requests").select("id").eq("user_id", who.id).eq("status", "closed"));
        await new Promise((next) => setTimeout(next, 250));
      }
      assert.deepEqual(rows.map((row) => row.id).sort(), [...ids].sort());
      console.log(`${ids.length} answers, ${rows.length} ledger rows`);
    } finally {
      if (isDown) await up();
      await second.stop();
      await models.stop();
      await restoreCloud();
      await done(service.from("slm_breakers").delete().neq("provider", "").select());
    }
  });
}
