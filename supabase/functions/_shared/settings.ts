/** What the edge functions are told by their environment; read once. */
export type Settings = {
  supabaseUrl: string;
  secretKey: string;
  /** Empty when it is not set or is no URL: the private model is then passed over, and the rules still answer. */
  inferenceUrl: string;
  inferenceToken: string;
  /** HS256 secret of a project that has not moved to signing keys; without it only the project's JWKS counts. */
  legacyJwtSecret: string | undefined;
  /** Longest time that an answer may take, whoever gives it, in milliseconds; far below the platform's 150 s. */
  deadlineMs: number;
};

/** Settings from the environment. Throws one error that names every fault. */
export function readSettings(get: (name: string) => string | undefined): Settings {
  const faults: string[] = [];
  const required = (name: string) => {
    const value = get(name);
    if (!value) faults.push(`${name} is not set`);
    return value ?? "";
  };
  const settings = {
    supabaseUrl: required("SUPABASE_URL"),
    secretKey: secretKey(get) ?? (faults.push("SUPABASE_SECRET_KEYS and SUPABASE_SERVICE_ROLE_KEY are not set"), ""),
    inferenceUrl: inferenceUrl(get),
    inferenceToken: get("INFERENCE_TOKEN") ?? "",
    legacyJwtSecret: get("LEGACY_JWT_SECRET") || undefined,
    deadlineMs: Number(get("ANSWER_DEADLINE_MS") || 20_000),
  };
  if (!(Number.isInteger(settings.deadlineMs) && settings.deadlineMs >= 1_000 && settings.deadlineMs <= 120_000)) {
    faults.push("ANSWER_DEADLINE_MS is not a whole number from 1000 to 120000");
  }
  if (settings.supabaseUrl && !URL.canParse(settings.supabaseUrl)) faults.push("SUPABASE_URL is not a URL");
  if (faults.length > 0) throw new Error(`Cannot use the settings: ${faults.join("; ")}`);
  return settings;
}

function inferenceUrl(get: (name: string) => string | undefined): string {
  const url = get("INFERENCE_URL") ?? "";
  if (URL.canParse(url) && get("INFERENCE_TOKEN")) return url;
  console.error("The private model cannot be asked: set INFERENCE_URL and INFERENCE_TOKEN");
  return "";
}

/** Hosted projects hand the new keys over as a JSON object by name, the old one as it is. */
function secretKey(get: (name: string) => string | undefined): string | undefined {
  const keys = get("SUPABASE_SECRET_KEYS");
  if (keys) {
    try {
      const byName: unknown = JSON.parse(keys);
      if (typeof byName === "object" && byName !== null && "default" in byName && typeof byName.default === "string") {
        return byName.default;
      }
    } catch {
      console.error("Cannot read SUPABASE_SECRET_KEYS: it is not JSON");
    }
  }
  return get("SUPABASE_SERVICE_ROLE_KEY") || undefined;
}
