import assert from "node:assert/strict";
import { scrub } from "./scrub.ts";

const GONE: [string, string, string[]][] = [
  ["an address", "write to anna.o'neil+x@mail.example.co.uk today", ["email"]],
  ["a phone number", "call +91 98765 43210 or (030) 123 45 678", ["phone"]],
  ["a link", "see https://drive.example.com/d/1aB?usp=1#x and www.example.org/a", ["url"]],
  ["a link without a scheme", "files: company.sharepoint.com/sites/x and meet.google.com/abc-defg-hij", ["url"]],
  ["a phone number behind a word", "Mob.9876543210 or Ph9876543211", ["phone"]],
  ["a phone number with a dash", "+49 170 – 1234567", ["phone"]],
  ["a database address", "use postgres://admin:pw@db.example.com/app", ["url"]],
  ["an id", "task 3f0e8a52-7e0a-4d34-9d52-0f4c3b1d8a11", ["id"]],
  ["a JWT", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r", ["token"]],
  ["an API key", "key sk-proj-abc123DEF456ghi789 and sb_secret_0123456789abcdef", ["secret"]],
  ["an AWS key", "AKIAIOSFODNN7EXAMPLE is ours", ["secret"]],
  ["a password", "login: root password: hunter2!x", ["secret"]],
  ["a private key", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", ["secret"]],
  ["a long random word", "token 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b", ["secret"]],
];
for (const [name, text, kinds] of GONE) {
  Deno.test(`scrub() takes out ${name}, counts it, and puts it back`, () => {
    const { value, counts, restore } = scrub({ text }, []);
    assert.deepEqual(Object.keys(counts), kinds, value.text);
    assert.match(value.text, new RegExp(`\\[${kinds[0]} 1\\]`));
    assert.deepEqual(restore(value), { text });
    for (const word of text.split(/\s+/).filter((word) => /\d/.test(word) && word.length > 9)) {
      assert.ok(!value.text.includes(word), value.text);
    }
  });
}

const STAYS = [
  "Budget is 105 hours",
  "2026-11-22",
  "Sprint 14, room 204",
  "10:30 - 11:45",
  "v2.10.3",
  "100% of 4/8",
  "C++ and Node.js",
  "React/TypeScript front-end-development",
];
for (const text of STAYS) {
  Deno.test(`scrub() leaves ${JSON.stringify(text)} alone`, () => {
    const { value, counts } = scrub(text, ["Asha Rao"]);
    assert.deepEqual([value, counts], [text, {}]);
  });
}

Deno.test("scrub() takes out names in any case, whole words only, the same person by the same placeholder", () => {
  const { value, counts, restore } = scrub(
    { a: ["Meet ASHA RAO", "ask asha rao and Müller", "Rao's"], n: 5 },
    ["Asha Rao", "Jörg Müller", "Al"],
  );
  assert.deepEqual(value, { a: ["Meet [name 1]", "ask [name 1] and [name 2]", "[name 3]'s"], n: 5 });
  assert.deepEqual(counts, { name: 4 });
  assert.deepEqual(restore(["[name 3] and [name 9]"]), ["Rao and [name 9]"]);
  assert.equal(scrub("Raoul always", ["Asha Rao", "Al"]).value, "Raoul always");
  const parts = scrub("Ask Srinivas, Marie or 王伟先生, José", ["K.Srinivas", "Anne-Marie Li", "王伟", "Jose\u0301 X"]);
  assert.equal(parts.value, "Ask [name 1], [name 2] or [name 3]先生, [name 4]");
});

Deno.test("scrub() is linear: a hostile text of 60 KB takes no time worth naming", () => {
  for (
    const hostile of [
      "a".repeat(60_000),
      "1 ".repeat(30_000),
      "@a.".repeat(20_000),
      "eyJ".repeat(20_000),
      "-".repeat(60_000),
      "password ".repeat(6_000),
    ]
  ) {
    const began = performance.now();
    scrub(hostile, ["Asha Rao"]);
    assert.ok(performance.now() - began < 2_000, hostile.slice(0, 9));
  }
});
