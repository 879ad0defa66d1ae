import assert from "node:assert/strict";
import { cleanText } from "./clean_text.ts";

Deno.test("cleanText() keeps what people type", () => {
  assert.equal(cleanText("  Ünïcode 🚀\r\nsecond line\t"), "Ünïcode 🚀\nsecond line");
  assert.equal(cleanText("تحديث الصفحة"), "تحديث الصفحة");
});

Deno.test("cleanText() drops what some layer cannot hold", () => {
  assert.equal(cleanText("a\u0000b\u0007c"), "abc");
  assert.ok(cleanText("lone \ud800 surrogate").isWellFormed());
});

Deno.test("cleanText() makes empty text of what is no text", () => {
  for (const value of [undefined, null, 5, {}, ["x"], true]) assert.equal(cleanText(value), "");
});
