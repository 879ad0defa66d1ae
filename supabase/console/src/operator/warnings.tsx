/** What should be mended before users notice. */
import type { SupabaseClient } from "@supabase/supabase-js";
import { useCallback } from "react";
import { day } from "../format.ts";
import { usePolled } from "../parts/polled.ts";
import { call } from "../project.ts";
import type { Rollouts } from "../shapes.ts";

export function Warnings({ client }: { client: SupabaseClient }) {
  const { data } = usePolled(useCallback(() => call<Rollouts>(client, "slm_operator_rollouts"), [client]));
  return <WarningList warnings={data?.warnings ?? []} />;
}

export function WarningList({ warnings }: { warnings: string[] }) {
  return warnings.length === 0 ? null : (
    <ul className="warn" aria-label="Warnings">
      {warnings.map((warning) => <li key={warning}>{dated(warning)}</li>)}
    </ul>
  );
}

/** The database writes days as 2027-01-14; here they read as everywhere else. */
const dated = (warning: string) => warning.replaceAll(/\b\d{4}-\d\d-\d\d\b/g, (found) => day(found));
