/**
 * The edge is killed without a word at random moments: whoever got an answer has exactly one ledger row. EDGE_KILLS sets
 * how often (default 4).
 */
import assert from "node:assert/strict";
import { done, service } from "./project.ts";
import { ask, type Edge, edge, user } from "./second_edge.ts";
import { standIns, title } from "./stand_ins.ts";

const KILLS = Number(Deno.env.get("EDGE_KILLS") ?? 4);
const REQUESTS = 6;

Deno.test(`over ${KILLS} kills of the edge, each acknowledged request has its one row`, async () => {
  const models = await standIns(0);
  const acknowledged: string[] = [];
  let cut = 0;
  let second: Edge | null = null;
  const ports = [15_410, 15_411];
  const people = [];
  try {
    for (const port of ports) people.push(await user(`http://127.0.0.1:${port}`, false));
    let coming = edge(models, ports[0]);
    for (let kill = 0; kill < KILLS; kill++) {
      second = await coming;
      coming = edge(models, ports[(kill + 1) % 2]!);
      const who = people[kill % 2]!;
      const asked = Array.from({ length: REQUESTS }, async (_, i) => {
        await new Promise((next) => setTimeout(next, 8 * i));
        const answer = await ask(who, "risk", title(`${kill}-${i}`, "well", "well"));
        acknowledged.push(answer!.id);
      });
      const settled = Promise.allSettled(asked);
      await new Promise((next) => setTimeout(next, ((kill * 7919) % 240) * 1.5));
      await second.stop("SIGKILL");
      cut += (await settled).filter(({ status }) => status === "rejected").length;
    }
    await (await coming).stop();
    await done(service.rpc("slm_sweep", { p_older_than: "0 seconds" }).then(({ error }) => ({ data: true, error })));
    const rows: { id: string; status: string }[] = [];
    for (const { id } of people) {
      for (let from = 0;; from += 1000) {
        const query = service.from("slm_requests").select("id,status").eq("user_id", id).order("id");
        const page = await done(query.range(from, from + 999));
        rows.push(...page);
        if (page.length < 1000) break;
      }
    }
    const kept = new Map(rows.map((row) => [row.id, row.status]));
    assert.equal(kept.size, rows.length, "a request has two rows");
    assert.deepEqual(acknowledged.filter((id) => !kept.has(id)), [], "an acknowledged request has no row");
    assert.ok([...kept.values()].every((status) => status !== "open"), "the sweep left a row open");
    const lost = [...kept.values()].filter((status) => status === "lost").length;
    assert.ok(acknowledged.length > 0);
    console.log(
      `${KILLS} kills: ${acknowledged.length} acknowledged, ${cut} cut off; ${rows.length} rows, ${lost} of them swept as lost`,
    );
  } finally {
    await second?.stop("SIGKILL");
    await models.stop();
  }
});
