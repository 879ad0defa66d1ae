import assert from "node:assert/strict";
import { readSettings } from "./settings.ts";

const GOOD: Record<string, string> = {
  SUPABASE_URL: "https://project.example",
  SUPABASE_SERVICE_ROLE_KEY: "legacy",
  INFERENCE_URL: "https://slm.example",
  INFERENCE_TOKEN: "token",
};
const read = (overrides: Record<string, string | undefined>) =>
  readSettings((name) => ({ ...GOOD, ...overrides } as Record<string, string | undefined>)[name]);

Deno.test("readSettings() prefers the new secret key over the old one", () => {
  assert.equal(read({ SUPABASE_SECRET_KEYS: '{"default":"sb_secret_new"}' }).secretKey, "sb_secret_new");
  assert.equal(read({}).secretKey, "legacy");
});

const FAULTS: [string, Record<string, string | undefined>, string][] = [
  ["a missing URL", { SUPABASE_URL: undefined }, "SUPABASE_URL is not set"],
  [
    "no key",
    { SUPABASE_SERVICE_ROLE_KEY: undefined },
    "SUPABASE_SECRET_KEYS and SUPABASE_SERVICE_ROLE_KEY are not set",
  ],
  [
    "a broken key object alone",
    { SUPABASE_SECRET_KEYS: "{", SUPABASE_SERVICE_ROLE_KEY: undefined },
    "SUPABASE_SECRET_KEYS and SUPABASE_SERVICE_ROLE_KEY are not set",
  ],
  ["no URL at all", { SUPABASE_URL: "project" }, "SUPABASE_URL is not a URL"],
  [
    "a deadline in words",
    { ANSWER_DEADLINE_MS: "soon" },
    "ANSWER_DEADLINE_MS is not a whole number from 1000 to 120000",
  ],
  [
    "a deadline past the platform's",
    { ANSWER_DEADLINE_MS: "500000" },
    "ANSWER_DEADLINE_MS is not a whole number from 1000 to 120000",
  ],
  [
    "a deadline with a fraction",
    { ANSWER_DEADLINE_MS: "1500.5" },
    "ANSWER_DEADLINE_MS is not a whole number from 1000 to 120000",
  ],
  [
    "two faults at once",
    { SUPABASE_URL: undefined, SUPABASE_SERVICE_ROLE_KEY: undefined },
    "SUPABASE_URL is not set; SUPABASE_SECRET_KEYS and SUPABASE_SERVICE_ROLE_KEY are not set",
  ],
];
for (const [name, overrides, message] of FAULTS) {
  Deno.test(`readSettings() refuses ${name}`, () => {
    assert.throws(() => read(overrides), { message: `Cannot use the settings: ${message}` });
  });
}

const PASSED_OVER: Record<string, string | undefined>[] = [
  { INFERENCE_URL: undefined },
  { INFERENCE_URL: "slm" },
  { INFERENCE_TOKEN: "" },
];
for (const overrides of PASSED_OVER) {
  Deno.test(`readSettings() passes the private model over and says so with ${JSON.stringify(overrides)}`, () => {
    const said: string[] = [];
    const log = console.error;
    console.error = (line: string) => void said.push(line);
    try {
      assert.equal(read(overrides).inferenceUrl, "");
    } finally {
      console.error = log;
    }
    assert.deepEqual(said, ["The private model cannot be asked: set INFERENCE_URL and INFERENCE_TOKEN"]);
  });
}
