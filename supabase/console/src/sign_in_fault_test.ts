import assert from "node:assert/strict";
import { signInFault } from "./sign_in_fault.ts";

Deno.test("signInFault() blames e-mail and password only where auth does", () => {
  const wrong = "E-mail or password is wrong";
  const said = (status?: number, code?: string) => signInFault({ message: "why", status, code });
  assert.deepEqual([said(400, "invalid_credentials"), said(400)], [wrong, wrong]);
  assert.match(said(400, "email_not_confirmed"), /^Your e-mail address is not confirmed/);
  assert.match(said(429, "over_request_rate_limit"), /^Too many attempts/);
  assert.match(said(429), /^Too many attempts/);
  assert.equal(said(0), "No connection: try again");
  for (const status of [500, 503, 540, undefined]) assert.match(said(status), /^TalentOps does not answer/);
  assert.equal(said(400, "user_banned"), "Cannot sign in: why");
  assert.equal(said(401), "Cannot sign in: why");
});
