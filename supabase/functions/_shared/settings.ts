/** What the edge functions are told by their environment; read once. */
export type Settings = {
  supabaseUrl: string;
  secretKey: string;
  inferenceUrl: string;
  inferenceToken: string;
  /** HS256 secret of a project that has not moved to signing keys; without it only the project's JWKS counts. */
  legacyJwtSecret: string | undefined;
  /** Longest time that the private model may take, in milliseconds; far below the platform's 150 s. */
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
    inferenceUrl: required("INFERENCE_URL"),
    inferenceToken: required("INFERENCE_TOKEN"),
    legacyJwtSecret: get("LEGACY_JWT_SECRET") || undefined,
    deadlineMs: Number(get("INFERENCE_DEADLINE_MS") || 20_000),
  };
  if (!(settings.deadlineMs >= 100 && settings.deadlineMs <= 120_000)) {
    faults.push("INFERENCE_DEADLINE_MS is not a number from 100 to 120000");
  }
  for (const [name, url] of [["SUPABASE_URL", settings.supabaseUrl], ["INFERENCE_URL", settings.inferenceUrl]]) {
    if (url && !URL.canParse(url)) faults.push(`${name} is not a URL`);
  }
  if (faults.length > 0) throw new Error(`Cannot use the settings: ${faults.join("; ")}`);
  return settings;
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
