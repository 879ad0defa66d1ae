/** The operator's page and its parts, each with an address of its own. */
import type { SupabaseClient } from "@supabase/supabase-js";
import type { Place } from "../routes.ts";
import { DataReportPage } from "./data_report.tsx";
import { EvaluationReportPage } from "./evaluation_report.tsx";
import { Figures } from "./figures.tsx";
import { Models } from "./models.tsx";
import { Reviewers } from "./reviewers.tsx";
import { Rollouts } from "./rollouts.tsx";

const PARTS = {
  figures: "Figures",
  rollout: "Rollout",
  models: "Training and models",
  data: "Data report",
  evaluation: "Evaluation report",
  reviewers: "Reviewers",
} as const;

export function Operator({ client, place, theme }: { client: SupabaseClient; place: Place; theme: string }) {
  const part = place.path.split("/")[1] ?? "figures";
  return (
    <>
      <h1>Operator</h1>
      <nav className="tabs" aria-label="Operator's pages">
        {Object.entries(PARTS).map(([path, name]) => (
          <a key={path} href={`#/operator/${path}`} aria-current={path === part ? "page" : undefined}>{name}</a>
        ))}
      </nav>
      {part === "figures" && <Figures client={client} days={Number(place.values.get("days") ?? 30)} theme={theme} />}
      {part === "rollout" && <Rollouts client={client} />}
      {part === "models" && <Models client={client} />}
      {part === "data" && <DataReportPage client={client} id={place.values.get("id")} />}
      {part === "evaluation" && <EvaluationReportPage client={client} id={place.values.get("id")} />}
      {part === "reviewers" && <Reviewers client={client} />}
    </>
  );
}
