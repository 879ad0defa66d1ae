/** Stand-ins at the network's far side: an inference service and a cloud that fail as each request's title says. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export type Fault =
  | "well"
  | "slow"
  | "limit"
  | "error"
  | "broken"
  | "schema"
  | "refusal"
  | "rejected"
  | "unsure"
  | "huge"
  | "half"
  | "reset";
export const SLM_FAULTS: Fault[] = [
  "well",
  "slow",
  "limit",
  "error",
  "broken",
  "schema",
  "rejected",
  "unsure",
  "half",
  "reset",
];
export const CLOUD_FAULTS: Fault[] = [
  "well",
  "slow",
  "limit",
  "error",
  "broken",
  "schema",
  "rejected",
  "refusal",
  "huge",
  "half",
  "reset",
];

/** A title that tells both stand-ins what to do. */
export const title = (id: string, slm: Fault, cloud: Fault) => `Page ${id} slm-${slm} cloud-${cloud}`;

const RISK = (level: string) => ({
  risk_level: level,
  reasons: ["Half of your time for this task is used."],
  recommended_actions: ["Finish the next open step."],
});
const PLAN = {
  suggested_plan: [{ phase: "build_guidance", title: "Build the page", duration: 4, risk: "low" }],
  overall_risks: ["The design may still change."],
  assumptions: [],
};

/** Of the right shape, but not to be shown: jargon, and a sentence that stops in the middle. */
const SPOILT_RISK = { reasons: ["Half of the allocated hours are used."] };
const SPOILT_PLAN = { overall_risks: ["The design may still"] };

export type StandIns = {
  inferenceUrl: string;
  cloudUrl: string;
  /** Bodies that reached the cloud. */
  sent: string[];
  stop(): Promise<void>;
};

export async function standIns(slowMs: number): Promise<StandIns> {
  const sent: string[] = [];
  const inference = await serve((request, body) => {
    const feature = new URL(request.url).pathname.split("/").at(-1) === "risk" ? "risk" : "plan";
    const fault = /slm-(\w+)/.exec(body)?.[1] as Fault;
    const answer = (output: unknown, confidence = 90) => ({
      output,
      confidence,
      details: { attempts: 1 },
      model: { name: "stand-in" },
      prompt_version: `${feature}-1/tag`,
      usage: { prompt_tokens: 200, output_tokens: 60 },
      timings: {},
    });
    const good = feature === "risk" ? RISK("medium") : PLAN;
    if (fault === "rejected") return failure(502, "rejected");
    if (fault === "unsure") return Response.json(answer(good, 5));
    return fail(fault, slowMs) ?? Response.json(answer(fault === "schema" ? { ...good, risk_level: "?" } : good));
  });
  const cloud = await serve((_request, body) => {
    sent.push(body);
    const fault = /cloud-(\w+)/.exec(body)?.[1] as Fault;
    const feature = JSON.parse(body).response_format.json_schema.name;
    const good = { ...(feature === "risk" ? RISK("low") : PLAN), confidence: 75 };
    const completion = (message: unknown) => ({
      model: "gpt-4o-mini-2024-07-18",
      choices: [{ finish_reason: "stop", message }],
      usage: { prompt_tokens: 400, completion_tokens: 80 },
    });
    if (fault === "refusal") return Response.json(completion({ content: null, refusal: "No." }));
    if (fault === "huge") return new Response("x".repeat(2_000_000));
    const content = fault === "schema"
      ? { ...good, suggested_plan: 7, reasons: 7 }
      : fault === "rejected"
      ? { ...good, ...(feature === "risk" ? SPOILT_RISK : SPOILT_PLAN) }
      : good;
    return fail(fault, slowMs) ?? Response.json(completion({ content: JSON.stringify(content), refusal: null }));
  });
  return {
    inferenceUrl: inference.url,
    cloudUrl: `${cloud.url}/v1`,
    sent,
    stop: async () => void await Promise.all([inference.stop(), cloud.stop()]),
  };
}

/** "half": a response that promises more than it sends. "reset": a connection that is cut without a word. */
type Answer = Response | Promise<Response> | "half" | "reset";

async function serve(
  answer: (request: Request, body: string) => Answer,
): Promise<{ url: string; stop(): Promise<void> }> {
  const server = createServer(async (incoming, outgoing) => {
    let body = "";
    try {
      for await (const part of incoming) body += part;
    } catch {
      return; // The caller was killed.
    }
    const given = await answer(new Request(`http://stand-in${incoming.url}`), body);
    if (given === "reset") return void incoming.socket.destroy();
    if (given === "half") {
      outgoing.writeHead(200, { "content-type": "application/json", "content-length": "1000" });
      outgoing.write('{"output": {"ri');
      return void setTimeout(() => incoming.socket.destroy(), 5);
    }
    outgoing.writeHead(given.status, { "content-type": "application/json" });
    outgoing.end(await given.text());
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    stop: () => new Promise((done) => (server.close(() => done()), server.closeAllConnections())),
  };
}

/** The faults that look the same on both sides; undefined when there is none of them. */
function fail(fault: Fault, slowMs: number): Answer | undefined {
  if (fault === "slow") return new Promise((done) => setTimeout(() => done(Response.json({})), slowMs));
  if (fault === "limit") return failure(429, "rate_limit");
  if (fault === "error") return failure(500, "server_error");
  if (fault === "broken") return new Response('{"output": {"risk');
  if (fault === "half" || fault === "reset") return fault;
}

function failure(status: number, code: string): Response {
  return Response.json({ error: { code, message: "as told" } }, { status });
}
