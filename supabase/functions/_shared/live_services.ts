import { inferenceClient } from "./ask_inference.ts";
import { authenticator } from "./authenticate.ts";
import { background } from "./background.ts";
import { database } from "./database.ts";
import type { Services } from "./serve_feature.ts";
import { readSettings } from "./settings.ts";

let made: Services | undefined;

/** The real services, from the environment; made at the first request and kept for the worker's life. */
export function liveServices(): Services {
  return made ??= fromEnvironment();
}

function fromEnvironment(): Services {
  const settings = readSettings((name) => Deno.env.get(name));
  return {
    authenticate: authenticator(settings.supabaseUrl, settings.legacyJwtSecret),
    database: database(settings.supabaseUrl, settings.secretKey),
    askInference: inferenceClient(settings.inferenceUrl, settings.inferenceToken, settings.deadlineMs),
    background,
  };
}
