import assert from "node:assert/strict";
import { readPlanWish } from "./describe_plan.ts";
import { RequestError } from "./request_error.ts";

const REFUSED: [string, Record<string, unknown>][] = [
  ["no title", { description: "d" }],
  ["an empty title", { title: "", description: "d" }],
  ["a title of spaces", { title: "  \n", description: "d" }],
  ["a title that is no text", { title: 5, description: "d" }],
  ["no description", { title: "t" }],
  ["null as description", { title: "t", description: null }],
];
for (const [name, body] of REFUSED) {
  Deno.test(`readPlanWish() refuses ${name}`, () => {
    assert.throws(() => readPlanWish(body), new RequestError("Task title and description are required"));
  });
}
