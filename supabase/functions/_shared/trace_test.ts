import assert from "node:assert/strict";
import { PLAN_BODY, predicted, RISK, RISK_BODY, world } from "./world.ts";
import { traceparent } from "./trace.ts";

const [TRACE, SPAN] = ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"];
const ID = "11581cf8-0424-4c6f-99b1-d4354626f0be";
const OWN = /^00-11581cf804244c6f99b1d4354626f0be-(?!0{16})[0-9a-f]{16}-01$/;

Deno.test("the caller's trace goes on with a span of ours, sampled or not", () => {
  for (const flags of ["00", "01"]) {
    const sent = traceparent(`00-${TRACE}-${SPAN}-${flags}`, ID);
    assert.match(sent, new RegExp(`^00-${TRACE}-[0-9a-f]{16}-${flags}$`));
    assert.ok(!sent.includes(SPAN));
  }
});

Deno.test("a later version is read as far as it is known", () => {
  assert.match(traceparent(`01-${TRACE}-${SPAN}-03-new`, ID), new RegExp(`^00-${TRACE}-[0-9a-f]{16}-01$`));
});

Deno.test("without a trace, or with one that is none, the request's id begins one", () => {
  const malformed = [
    null,
    "",
    "00",
    `00-${TRACE}-${SPAN}`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00-${"0".repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${"0".repeat(16)}-01`,
    `ff-${TRACE}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-01-more`,
    `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-01\nx-evil: 1`,
  ];
  for (const header of malformed) assert.match(traceparent(header, ID), OWN, String(header));
});

Deno.test("the private model is told the ledger's id and the caller's trace, and each request has a span of its own", () => {
  const seen: Headers[] = [];
  return world(
    (request) => (seen.push(request.headers), Response.json(predicted(RISK))),
    async ({ risk, plan, rows, settle }) => {
      const headers = { "content-type": "application/json", authorization: "Bearer token" };
      await risk({ json: RISK_BODY, headers: { ...headers, traceparent: `00-${TRACE}-${SPAN}-01` } });
      await risk({ json: RISK_BODY, headers: { ...headers, traceparent: "nonsense" } });
      await plan({ json: PLAN_BODY });
      await settle();
      const [continued, begun, own] = seen.map((one) => one.get("traceparent")!);
      assert.match(continued!, new RegExp(`^00-${TRACE}-[0-9a-f]{16}-01$`));
      assert.deepEqual(seen.map((one) => one.get("x-request-id")), rows.map((row) => row.id));
      for (const [sent, row] of [[begun, rows[1]], [own, rows[2]]] as const) {
        assert.equal(sent!.split("-")[1], row!.id.replaceAll("-", ""));
      }
    },
  );
});

Deno.test("no trace is told to the cloud", () =>
  world(null, async ({ risk, sent }) => {
    await risk({
      json: RISK_BODY,
      headers: {
        "content-type": "application/json",
        authorization: "Bearer token",
        traceparent: `00-${TRACE}-${SPAN}-01`,
      },
    });
    assert.equal(sent.length, 1);
    assert.equal(sent[0]!.headers.get("traceparent"), null);
  }, { cloud: () => Response.json({}), context: { allowCloud: true } }));
