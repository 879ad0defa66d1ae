import { cors } from "./cors.ts";

/** A JSON answer as the app can read it: anything but `application/json` would reach it as a string. */
export function respond(body: unknown, status = 200): Response {
  return new Response(JSON.stringify(body), { status, headers: { ...cors, "Content-Type": "application/json" } });
}
