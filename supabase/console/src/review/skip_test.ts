import assert from "node:assert/strict";
import { parts, whole } from "./skip.ts";

Deno.test("a ready reason and what was added are one text, and two again", () => {
  for (const [ready, more] of [["Other", ""], ["Other", "no time"], ["Both are the same", "but for a dot: see 2"]]) {
    assert.deepEqual(parts(whole(ready!, more!)), { ready, more });
  }
  assert.deepEqual(parts(""), { ready: "", more: "" });
  assert.deepEqual(parts("in my own words"), { ready: "Other", more: "in my own words" });
  assert.equal(whole("", "no time"), "Other: no time");
});
