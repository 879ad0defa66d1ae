import assert from "node:assert/strict";
import { MAX_BODY_BYTES, readBody } from "./read_body.ts";
import { RequestError } from "./request_error.ts";

const post = (body: BodyInit | null, type: string | null = "application/json") =>
  new Request("http://edge/", { method: "POST", body, headers: type === null ? {} : { "content-type": type } });

Deno.test("readBody() reads a JSON object, with a charset too", async () => {
  assert.deepEqual(await readBody(post('{"a":1}', "application/json; charset=utf-8")), { a: 1 });
});

Deno.test("readBody() reads a body of exactly the limit", async () => {
  const body = JSON.stringify({ a: "x".repeat(MAX_BODY_BYTES - 8) });
  assert.equal(body.length, MAX_BODY_BYTES);
  assert.deepEqual(Object.keys(await readBody(post(body))), ["a"]);
});

const REFUSED: [string, Request, string][] = [
  ["text", post("{}", "text/plain"), 'Cannot read a body of type "text/plain": send application/json'],
  ["no type", post(new Uint8Array([123, 125]), null), 'Cannot read a body of type "": send application/json'],
  ["no body", post(null), "Cannot read the body: it is not JSON"],
  ["broken JSON", post('{"a":'), "Cannot read the body: it is not JSON"],
  ["NaN", post('{"a":NaN}'), "Cannot read the body: it is not JSON"],
  ["an array", post("[]"), "Cannot read the body: it is not a JSON object"],
  ["null", post("null"), "Cannot read the body: it is not a JSON object"],
  ["bytes that are no UTF-8", post(new Uint8Array([123, 255, 125])), "Cannot read the body: it is not UTF-8 text"],
  [
    "one byte too many",
    post(" ".repeat(MAX_BODY_BYTES + 1)),
    `Cannot read the body: it is larger than ${MAX_BODY_BYTES} bytes`,
  ],
];
for (const [name, request, message] of REFUSED) {
  Deno.test(`readBody() refuses ${name}`, async () => {
    await assert.rejects(
      () => readBody(request),
      (error) => error instanceof RequestError && error.message === message,
    );
  });
}
