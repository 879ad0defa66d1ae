import assert from "node:assert/strict";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { authenticator } from "./authenticate.ts";
import { Unauthorized } from "./unauthorized.ts";

const USER = "3f0e8a52-7e0a-4d34-9d52-0f4c3b1d8a11";
const SECRET = "a-secret-of-at-least-thirty-two-characters";
const utf8 = new TextEncoder();
const claims = { sub: USER, role: "authenticated", aud: "authenticated" };

function signed(payload: Record<string, unknown>, secret = SECRET, expires = "1h"): Promise<string> {
  return new SignJWT(payload).setProtectedHeader({ alg: "HS256" }).setExpirationTime(expires).sign(utf8.encode(secret));
}

Deno.test("authenticate() takes a user's token signed with the shared secret", async () => {
  const authenticate = authenticator("http://127.0.0.1:1", SECRET);
  assert.equal(await authenticate(`Bearer ${await signed(claims)}`), USER);
});

const encoded = (value: unknown) => btoa(JSON.stringify(value)).replaceAll("=", "");
const REFUSED: [string, () => Promise<string | null> | string | null][] = [
  ["no header", () => null],
  ["an empty token", () => "Bearer "],
  ["a publishable key", () => "Bearer sb_publishable_abc"],
  ["a secret key as bearer", () => "Bearer sb_secret_abc"],
  ["three dots", () => "Bearer a.b.c"],
  ["quotes and SQL", () => "Bearer ' or 1=1 --"],
  ["the public anon key", async () => `Bearer ${await signed({ role: "anon", iss: "supabase" })}`],
  ["the service key", async () => `Bearer ${await signed({ role: "service_role" })}`],
  ["an anon role with a user's id", async () => `Bearer ${await signed({ ...claims, role: "anon" })}`],
  ["another secret", async () => `Bearer ${await signed(claims, "another-secret-of-thirty-two-chars-x")}`],
  ["an expired token", async () => `Bearer ${await signed(claims, SECRET, "-1m")}`],
  ["another audience", async () => `Bearer ${await signed({ ...claims, aud: "somewhere" })}`],
  ["somebody who signed in anonymously", async () => `Bearer ${await signed({ ...claims, is_anonymous: true })}`],
  ["a subject that is no uuid", async () => `Bearer ${await signed({ ...claims, sub: "root" })}`],
  ["the algorithm none", () => `Bearer ${encoded({ alg: "none" })}.${encoded(claims)}.`],
];
for (const [name, header] of REFUSED) {
  Deno.test(`authenticate() refuses ${name}`, async () => {
    const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => Response.json({ keys: [] }));
    const authenticate = authenticator(`http://127.0.0.1:${server.addr.port}`, SECRET);
    const given = await header();
    await assert.rejects(() => authenticate(given), Unauthorized);
    await server.shutdown();
  });
}

Deno.test("authenticate() takes a token signed with the project's keys, and none signed with others", async () => {
  const [ours, theirs] = [await generateKeyPair("ES256"), await generateKeyPair("ES256")];
  const jwk = { ...await exportJWK(ours.publicKey), kid: "1", alg: "ES256" };
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => Response.json({ keys: [jwk] }));
  const authenticate = authenticator(`http://127.0.0.1:${server.addr.port}`, undefined);
  const token = (key: CryptoKey) =>
    new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: "1" }).setExpirationTime("1h").sign(key);
  assert.equal(await authenticate(`Bearer ${await token(ours.privateKey)}`), USER);
  await assert.rejects(async () => authenticate(`Bearer ${await token(theirs.privateKey)}`), Unauthorized);
  await assert.rejects(async () => authenticate(`Bearer ${await signed(claims)}`), /no longer uses/);
  await server.shutdown();
});

const KEYLESS: [string, () => Response][] = [
  ["is down", () => new Response("busy", { status: 503 })],
  ["answers with a page", () => new Response("<html>")],
  ["answers with no keys at all", () => Response.json({})],
];
for (const [fault, answer] of KEYLESS) {
  Deno.test(`authenticate() does not blame the user when the key endpoint ${fault}`, async () => {
    const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, answer);
    const { privateKey } = await generateKeyPair("ES256");
    const token = await new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: "1" }).setExpirationTime("1h").sign(
      privateKey,
    );
    const authenticate = authenticator(`http://127.0.0.1:${server.addr.port}`, undefined);
    await assert.rejects(() => authenticate(`Bearer ${token}`), (error) => !(error instanceof Unauthorized));
    await server.shutdown();
  });
}
