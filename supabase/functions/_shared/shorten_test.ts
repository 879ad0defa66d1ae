import assert from "node:assert/strict";
import { shorten } from "./shorten.ts";

Deno.test("shorten() leaves a text that fits as it is", () => {
  assert.deepEqual(shorten("two words", 9), { text: "two words", cut: false });
});

Deno.test("shorten() cuts at a word boundary and says so", () => {
  assert.deepEqual(shorten("the quick brown fox jumps", 18), { text: "the quick brown…", cut: true });
});

Deno.test("shorten() cuts a text without spaces at the limit", () => {
  assert.deepEqual(shorten("x".repeat(20), 10), { text: "x".repeat(9) + "…", cut: true });
});

Deno.test("shorten() never splits an emoji in two", () => {
  const { text } = shorten("🚀".repeat(20), 10);
  assert.equal(text, "🚀".repeat(4) + "…");
  assert.ok(text.isWellFormed());
});

Deno.test("shorten() leaves right-to-left text of two bytes a character whole", () => {
  assert.deepEqual(shorten("م".repeat(100), 100), { text: "م".repeat(100), cut: false });
});

Deno.test("shorten() bounds the bytes, which are what a byte-level tokenizer may need", () => {
  const { text, cut } = shorten("समीक्षा ".repeat(100), 600);
  assert.ok(cut && new TextEncoder().encode(text).length <= 1202);
});

Deno.test("shorten() never exceeds the limit", () => {
  for (let limit = 2; limit < 40; limit++) {
    assert.ok(Array.from(shorten("some words of różna długość 🚀🚀 and more text", limit).text).length <= limit);
  }
});
