/** Stand-ins at the network's far side: an inference service and a cloud that fail as each request's title says. */

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

export type StandIns = {
  inferenceUrl: string;
  cloudUrl: string;
  /** Bodies that reached the cloud. */
  sent: string[];
  stop(): Promise<void>;
};

export function standIns(slowMs: number): StandIns {
  const sent: string[] = [];
  const inference = serve((request, body) => {
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
  const cloud = serve((_request, body) => {
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
    const content = fault === "schema" ? { ...good, suggested_plan: 7, reasons: 7 } : good;
    return fail(fault, slowMs) ?? Response.json(completion({ content: JSON.stringify(content), refusal: null }));
  });
  return {
    inferenceUrl: inference.url,
    cloudUrl: `${cloud.url}/v1`,
    sent,
    stop: async () => void await Promise.all([inference.stop(), cloud.stop()]),
  };
}

type Answer = Response | Promise<Response>;

function serve(answer: (request: Request, body: string) => Answer): { url: string; stop(): Promise<void> } {
  const server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    async (request) => await answer(request, await request.text()),
  );
  return { url: `http://127.0.0.1:${server.addr.port}`, stop: () => server.shutdown() };
}

/** The faults that look the same on both sides; undefined when there is none of them. */
function fail(fault: Fault, slowMs: number): Answer | undefined {
  if (fault === "slow") return new Promise((done) => setTimeout(() => done(Response.json({})), slowMs));
  if (fault === "limit") return failure(429, "rate_limit");
  if (fault === "error") return failure(500, "server_error");
  if (fault === "broken") return new Response('{"output": {"risk');
  if (fault === "half") return dying('{"output": {"ri');
  if (fault === "reset") return dying("");
}

function failure(status: number, code: string): Response {
  return Response.json({ error: { code, message: "as told" } }, { status });
}

/** A response that promises a long body and breaks off after a few bytes. */
function dying(text: string): Response {
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode(text || " "));
      setTimeout(() => controller.error(new Error("as told")), 5);
    },
  });
  return new Response(body, { headers: { "content-type": "application/json" } });
}
