/** What both reports stand in: which one, of which feature, and the others that there are. */
import type { SupabaseClient } from "@supabase/supabase-js";
import { type ReactNode, useCallback } from "react";
import { at } from "../format.ts";
import { AsOf } from "../parts/asof.tsx";
import { Empty } from "../parts/empty.tsx";
import { usePolled } from "../parts/polled.ts";
import { call } from "../project.ts";
import type { Reported } from "../shapes.ts";

type Props<T> = {
  client: SupabaseClient;
  kind: "data" | "evaluation";
  id: string | null;
  title: string;
  none: ReactNode;
  children: (report: T) => ReactNode;
};

export function ReportFrame<T extends { id: string }>({ client, kind, id, title, none, children }: Props<T>) {
  const polled = usePolled(
    useCallback(() => call<Reported<T>>(client, "slm_operator_report", { p_kind: kind, p_id: id }), [client, kind, id]),
  );
  const { data } = polled;
  if (!data) return <AsOf polled={polled} />;
  const { report, known } = data;
  const features = ["risk", "plan"].flatMap((feature) => known.find((one) => one.feature === feature) ?? []);
  const of = known.find((one) => one.id === report?.id)?.feature;
  return (
    <>
      <div className="row spread">
        <nav className="tabs" aria-label="Newest of each feature">
          {features.map((one) => (
            <a
              key={one.id}
              href={`#/operator/${kind}?id=${one.id}`}
              aria-current={one.feature === of ? "page" : undefined}
            >
              {one.feature}
            </a>
          ))}
        </nav>
        {known.length > 0 && (
          <label className="row">
            Made
            <select
              value={report?.id ?? ""}
              onChange={(event) => location.hash = `#/operator/${kind}?id=${event.target.value}`}
            >
              {!of && <option value={report?.id ?? ""}>{report ? "earlier" : "choose one"}</option>}
              {known.map((one) => <option key={one.id} value={one.id}>{at(one.created_at)}, {one.feature}</option>)}
            </select>
          </label>
        )}
        <AsOf polled={polled} />
      </div>
      {report
        ? <>{children(report)}</>
        : <Empty title={known.length > 0 ? `There is no such ${title}` : `No ${title} yet`}>{none}</Empty>}
    </>
  );
}
