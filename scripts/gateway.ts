/**
 * The local stand-in for a project's one URL: serves /functions/v1/<name> with the very files that are deployed, and
 * passes /rest/v1 and /auth/v1 on to Supabase Lite. Local use only; knows nothing of any feature.
 *
 * deno run scripts/gateway.ts PORT LITE_URL FUNCTIONS_FOLDER
 */
type Handler = (request: Request) => Response | Promise<Response>;

const [port, lite, folder] = Deno.args;
if (!port || !lite || !folder) throw new Error("usage: gateway.ts PORT LITE_URL FUNCTIONS_FOLDER");

const functions = await loadFunctions(folder);
const server = Deno.serve({ port: Number(port), hostname: "127.0.0.1", onListen() {} }, route);
console.log(`serving ${[...functions.keys()].join(", ")} on port ${server.addr.port}`);
Deno.addSignalListener("SIGTERM", () => server.shutdown());
await server.finished;

/** Each function's index.ts hands its handler to Deno.serve; here that call only remembers the handler. */
async function loadFunctions(folder: string): Promise<Map<string, Handler>> {
  const found = new Map<string, Handler>();
  const real = Deno.serve;
  for (
    const entry of [...Deno.readDirSync(folder)].filter((entry) => entry.isDirectory && !entry.name.startsWith("_"))
  ) {
    Deno.serve = ((handler: Handler) => found.set(entry.name, handler)) as unknown as typeof Deno.serve;
    await import(new URL(`${entry.name}/index.ts`, `file://${Deno.realPathSync(folder)}/`).href);
  }
  Deno.serve = real;
  return found;
}

async function route(request: Request): Promise<Response> {
  const url = new URL(request.url);
  if (url.pathname === "/healthz") return new Response("ok");
  const name = /^\/functions\/v1\/([\w-]+)$/.exec(url.pathname)?.[1];
  if (name) {
    return await functions.get(name)?.(request) ?? Response.json({ message: "Function not found" }, { status: 404 });
  }
  if (/^\/(rest|auth)\/v1(\/|$)/.test(url.pathname)) {
    return await pass(request, new URL(url.pathname + url.search, lite));
  }
  return Response.json({ message: "not found" }, { status: 404 });
}

async function pass(request: Request, to: URL): Promise<Response> {
  const { method, headers, body, signal } = request;
  if (method === "OPTIONS" && headers.has("access-control-request-method")) return preflight(headers);
  try {
    const answer = await fetch(to, { method, headers, body, signal, redirect: "manual" });
    return shared(answer);
  } catch {
    return shared(Response.json({ message: "The database is not reachable" }, { status: 503 }));
  }
}

/** A hosted project lets pages of any origin ask; Lite's sign-in does not. */
function preflight(headers: Headers): Response {
  const asked = headers.get("access-control-request-headers") ?? "";
  return shared(
    new Response(null, {
      status: 204,
      headers: {
        "access-control-allow-headers": asked,
        "access-control-allow-methods": "GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD",
        "access-control-max-age": "600",
      },
    }),
  );
}

function shared(answer: Response): Response {
  const headers = new Headers(answer.headers);
  headers.set("access-control-allow-origin", "*");
  return new Response(answer.body, { status: answer.status, headers });
}
