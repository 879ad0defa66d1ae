import assert from "node:assert/strict";
import type { Pair, Review, Verdict } from "../shapes.ts";
import {
  current,
  type Desk,
  drafted,
  draftFor,
  empty,
  goingAlong,
  judgedAlready,
  received,
  remembered,
  restored,
  sent,
  submitted,
  tried,
  undone,
} from "./desk.ts";

const answer = { risk_level: "low" as const, reasons: [], recommended_actions: [] };
const pair = (id: string) =>
  ({ id, feature: "risk", prompt_input: { title: id }, a: answer, b: answer }) as unknown as Pair;
const review = (item_id: string, verdict: Verdict = "a"): Review => ({
  id: `review of ${item_id} ${verdict}`,
  item_id,
  verdict,
  reason: null,
  corrected: null,
  corrected_of: null,
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
  const next = { items: [pair("1"), pair("2"), pair("3")], done: 9, skipped: 2, left: 9 };
  const after = received(submitted(desk, review("1")), next, false);
  assert.deepEqual(after.held.map((it) => it.id), ["2", "3"]);
  assert.deepEqual([after.done, after.left], [1, 1]);
  assert.deepEqual(received(sent(after, null), next, true).done, 9);
});

Deno.test("sent() says what was refused, and goes on", () => {
  const after = sent(submitted(desk, review("1")), "not given to you");
  assert.deepEqual([after.waiting, after.refused], [[], ["not given to you"]]);
});

Deno.test("judgedAlready() says so of the pair, and leaves nothing to take back", () => {
  const [first, second] = [review("1"), review("2")];
  const after = judgedAlready(submitted(submitted(desk, first), second), first);
  assert.deepEqual(after.refused, ["“1” had been judged by you already, and that verdict stays"]);
  assert.deepEqual(after.waiting, [{ kind: "submit", review: second, tried: false }]);
  assert.deepEqual(after.past.map((it) => it.review), [second]);
  // Taken back before the answer came: it does not lie in front again, and nothing is revoked.
  const taken = judgedAlready(undone(tried(submitted(desk, first))), first);
  assert.deepEqual([taken.waiting, taken.past, taken.held.map((it) => it.id)], [[], [], ["2"]]);
});

Deno.test("a skipped pair is not counted as judged", () => {
  const after = submitted(desk, { ...review("1", "skip"), reason: "Other" });
  assert.deepEqual([after.done, after.skipped, after.left], [0, 1, 1]);
  assert.deepEqual([undone(after).done, undone(after).skipped, undone(after).left], [0, 0, 2]);
});

Deno.test("goingAlong() sends a correction with its own answer, or under the verdict it was kept with", () => {
  const mine = (verdict: Verdict | null, under: Verdict | null) =>
    goingAlong({ ...draftFor(pair("1")), verdict, correction: { side: "b", answer, under } })?.side ?? null;
  assert.deepEqual([mine("b", null), mine("b", "both_bad"), mine("both_bad", "both_bad")], ["b", "b", "b"]);
  for (const verdict of ["a", "both_good", "both_bad", "skip", null] as const) assert.equal(mine(verdict, "b"), null);
  assert.equal(mine("skip", "skip"), null);
});

Deno.test("undone() gives a correction back to its answer", () => {
  const after = undone(submitted(desk, { ...review("1", "both_bad"), corrected: answer, corrected_of: "b" }));
  assert.deepEqual(current(after)?.draft.correction, { side: "b", answer, under: "both_bad" });
});

Deno.test("undone() keeps what was said of the pair in front, until that is judged", () => {
  const correction = { side: "b" as const, answer, under: "b" as const };
  const second = drafted(submitted(desk, review("1")), "2", {
    verdict: "b",
    scores: { voice: 2 },
    correction,
    seconds: 7,
  });
  const taken = undone(second);
  assert.deepEqual([current(taken)?.pair.id, current(taken)?.draft.verdict], ["1", "a"]);
  const again = submitted(taken, review("1", "b"));
  assert.deepEqual(current(again), current(second));
  assert.deepEqual(submitted(again, review("2")).drafts, {});
  assert.equal(drafted(again, "1", { verdict: "a" }), again);
});

Deno.test("restored() takes the one draft of an earlier console", () => {
  const draft = { ...draftFor(pair("2")), verdict: "a" as const };
  const { drafts: _, ...kept } = { ...desk, held: [pair("2")], draft };
  assert.deepEqual(restored(kept), { ...desk, held: [pair("2")], drafts: { 2: draft } });
  assert.deepEqual(restored({ ...kept, draft: null }).drafts, {});
  assert.deepEqual(restored({}), empty);
});

Deno.test("remembered() lets the last verdict be taken back after signing in again", () => {
  const fresh = remembered({ ...empty, held: [pair("2")], done: 1 }, { pair: pair("1"), review: review("1") });
  const after = undone(fresh);
  assert.deepEqual([after.held.map((it) => it.id), after.waiting, after.done], [
    ["1", "2"],
    [{ kind: "undo", id: "review of 1 a", tried: false }],
    0,
  ]);
  assert.equal(remembered(fresh, { pair: pair("3"), review: review("3") }), fresh);
});
