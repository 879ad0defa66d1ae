/** What should be mended before users notice. */
import type { SupabaseClient } from "@supabase/supabase-js";
import { useCallback } from "react";
import { usePolled } from "../parts/polled.ts";
import { call } from "../project.ts";
import type { Rollouts } from "../shapes.ts";

export function Warnings({ client }: { client: SupabaseClient }) {
  const { data } = usePolled(useCallback(() => call<Rollouts>(client, "slm_operator_rollouts"), [client]));
  return <WarningList warnings={data?.warnings ?? []} />;
}

export function WarningList({ warnings }: { warnings: string[] }) {
  return warnings.length === 0
    ? null
    : <ul className="warn" aria-label="Warnings">{warnings.map((warning) => <li key={warning}>{warning}</li>)}</ul>;
}
