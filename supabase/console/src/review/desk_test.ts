import assert from "node:assert/strict";
import type { Pair, Review, Verdict } from "../shapes.ts";
import { current, type Desk, empty, received, sent, submitted, tried, undone } from "./desk.ts";

const answer = { risk_level: "low" as const, reasons: [], recommended_actions: [] };
const pair = (id: string) =>
  ({ id, feature: "risk", prompt_input: { title: id }, a: answer, b: answer }) as unknown as Pair;
const review = (item_id: string, verdict: Verdict = "a"): Review => ({
  id: `review of ${item_id} ${verdict}`,
  item_id,
  verdict,
  reason: null,
  corrected: null,
  seconds: 5,
  correctness: 4,
  usefulness: null,
  voice: null,
});
const desk: Desk = { ...empty, held: [pair("1"), pair("2")], left: 2 };

Deno.test("submitted() moves on and keeps the verdict to be sent", () => {
  const after = submitted(desk, review("1"));
  assert.deepEqual([after.held.map((it) => it.id), after.waiting.length, after.done, after.left], [["2"], 1, 1, 1]);
});

Deno.test("submitted() twice for the same pair changes nothing", () => {
  const once = submitted(desk, review("1"));
  assert.equal(submitted(once, review("1")), once);
});

Deno.test("undone() forgets what was never sent", () => {
  const after = undone(submitted(desk, review("1")));
  assert.deepEqual([after.waiting, after.held.map((it) => it.id), after.done], [[], ["1", "2"], 0]);
  assert.deepEqual([current(after)?.draft.verdict, current(after)?.draft.scores], ["a", { correctness: 4 }]);
});

Deno.test("undone() revokes what may have arrived", () => {
  const after = undone(tried(submitted(desk, review("1"))));
  assert.deepEqual(after.waiting.map((it) => it.kind), ["submit", "undo"]);
});

Deno.test("undone() without anything to undo changes nothing", () => assert.equal(undone(desk), desk));

Deno.test("received() brings nothing twice: neither what lies there nor what was judged", () => {
  const next = { items: [pair("1"), pair("2"), pair("3")], done: 9, left: 9 };
  const after = received(submitted(desk, review("1")), next, false);
  assert.deepEqual(after.held.map((it) => it.id), ["2", "3"]);
  assert.deepEqual([after.done, after.left], [1, 1]);
  assert.deepEqual(received(sent(after, null), next, true).done, 9);
});

Deno.test("sent() says what was refused, and goes on", () => {
  const after = sent(submitted(desk, review("1")), "not given to you");
  assert.deepEqual([after.waiting, after.refused], [[], ["not given to you"]]);
});
