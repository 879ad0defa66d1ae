import { inferenceClient } from "./ask_inference.ts";
import { cloudClient } from "./ask_cloud.ts";
import { authenticator } from "./authenticate.ts";
import { background } from "./background.ts";
import { database } from "./database.ts";
import { ledger } from "./ledger.ts";
import type { Services } from "./serve_feature.ts";
import { readSettings } from "./settings.ts";

let made: Services | undefined;

/** The real services, from the environment; made at the first request and kept for the worker's life. */
export function liveServices(): Services {
  return made ??= fromEnvironment();
}

function fromEnvironment(): Services {
  const environment = (name: string) => Deno.env.get(name);
  const settings = readSettings(environment);
  const rows = database(settings.supabaseUrl, settings.secretKey);
  return {
    authenticate: authenticator(settings.supabaseUrl, settings.legacyJwtSecret),
    database: rows,
    ledger: ledger(rows),
    askInference: inferenceClient(settings.inferenceUrl, settings.inferenceToken),
    askCloud: cloudClient(environment),
    hasKey: (name) => Boolean(environment(name)),
    deadlineMs: settings.deadlineMs,
    background,
  };
}
