/** Local share, savings, latency and fallbacks, day by day. */
import type { SupabaseClient } from "@supabase/supabase-js";
import { useCallback, useMemo } from "react";
import { count, day, duration, percent, plural, usd, words } from "../format.ts";
import { AsOf } from "../parts/asof.tsx";
import { Chart, type Line } from "../parts/chart.tsx";
import { Empty } from "../parts/empty.tsx";
import { usePolled } from "../parts/polled.ts";
import { Table } from "../parts/table.tsx";
import { call } from "../project.ts";
import type { Day, Figures as Found } from "../shapes.ts";
import { Warnings } from "./warnings.tsx";

const SPANS = [7, 30, 90, 365];

export function Figures({ client, days, theme }: { client: SupabaseClient; days: number; theme: string }) {
  const ask = useCallback(() => call<Found>(client, "slm_operator_figures", { p_days: days }), [client, days]);
  const polled = usePolled(ask);
  return (
    <>
      <div className="row spread">
        <nav className="tabs" aria-label="Days">
          {SPANS.map((span) => (
            <a key={span} href={`#/operator/figures?days=${span}`} aria-current={span === days ? "page" : undefined}>
              {span} days
            </a>
          ))}
        </nav>
        <AsOf polled={polled} />
      </div>
      <Warnings client={client} />
      {polled.data && (polled.data.days.length > 0
        ? <Shown figures={polled.data} theme={theme} />
        : (
          <Empty title="No requests in these days">
            Each request to the risk coach or the planning assistant leaves one row. Look at more days, or ask the app
            something.
          </Empty>
        ))}
    </>
  );
}

const money = (value: number) => usd(value);
const share = (value: number) => percent(value);

function Shown({ figures, theme }: { figures: Found; theme: string }) {
  const { days, savings, reasons, goal } = figures;
  const byDay = useMemo(() => together(days), [days]);
  const labels = useMemo(() => byDay.map((row) => row.day), [byDay]);
  const shares = useMemo<Line[]>(() => [
    { name: "Local share", values: byDay.map((row) => row.by_slm / row.requests), color: "one" },
    { name: `Goal ${percent(goal)}`, values: byDay.map(() => goal), color: "goal", isDashed: true },
  ], [byDay, goal]);
  const saved = useMemo<Line[]>(() => [
    { name: "Saved that day", values: savings.map((row) => row.saved_usd), color: "one" },
    { name: "Saved so far", values: savings.map((row) => row.saved_so_far_usd), color: "two" },
  ], [savings]);
  const savingDays = useMemo(() => savings.map((row) => row.day), [savings]);
  const waits = useMemo<Line[]>(() =>
    ["risk", "plan"].flatMap((feature): Line[] => {
      const of = (name: "p50_ms" | "p95_ms") =>
        labels.map((label) => days.find((row) => row.day === label && row.feature === feature)?.[name] ?? null);
      const color = feature === "risk" ? "one" : "two";
      return [{ name: `${feature} p50`, values: of("p50_ms"), color }, {
        name: `${feature} p95`,
        values: of("p95_ms"),
        color,
        isDashed: true,
      }];
    }), [days, labels]);
  const all = byDay.reduce((sum, row) => sum + row.requests, 0);
  const local = byDay.reduce((sum, row) => sum + row.by_slm, 0);
  const last = savings.at(-1);
  const sum = (name: "saved_usd" | "saved_low_usd" | "saved_high_usd") =>
    savings.some((row) => row[name] === null) ? null : savings.reduce((total, row) => total + row[name]!, 0);
  return (
    <>
      <div className="tiles">
        <div className="card tile">
          <h2>Answered by the private model</h2>
          <p className="big">{percent(local / all)}</p>
          <p className="quiet">goal {percent(goal)}; n = {count(all)} requests</p>
          <progress
            max={1}
            value={local / all}
            aria-label="Local share"
            className={local / all >= goal ? "good" : ""}
          />
        </div>
        <div className="card tile">
          <h2>Saved in these days</h2>
          <p className="big">{usd(sum("saved_usd"))}</p>
          <p className="quiet">
            {sum("saved_usd") === null
              ? "Enter a machine price (slm_machine_prices) to see it"
              : `95 % interval: ${usd(sum("saved_low_usd"))} to ${
                usd(sum("saved_high_usd"))
              }, machine and making of the model paid`}
          </p>
        </div>
        <div className="card tile">
          <h2>Saved since the start</h2>
          <p className="big">{usd(last?.saved_so_far_usd)}</p>
          <p className="quiet">
            {last?.saved_so_far_usd == null
              ? "Enter a machine price (slm_machine_prices) to see it"
              : figures.break_even?.break_even_requests_per_day != null
              ? `pays from ${count(figures.break_even.break_even_requests_per_day)} requests a day; ${
                count(figures.break_even.requests_per_day)
              } came`
              : "break-even is not known yet"}
          </p>
        </div>
        <div className="card tile">
          <h2>First choice did not answer</h2>
          <p className="big">{percent(reasons.reduce((total, row) => total + row.requests, 0) / all)}</p>
          <p className="quiet">
            {plural(reasons.reduce((total, row) => total + row.requests, 0), "request")} of {count(all)}
          </p>
        </div>
      </div>
      <div className="charts">
        <section className="card" aria-label="Local share">
          <h2>Local share</h2>
          <Chart
            name="Local share"
            days={labels}
            lines={shares}
            show={share}
            from={0}
            to={1}
            theme={theme}
            none="No request in these days."
          />
        </section>
        <section className="card" aria-label="Savings">
          <h2>Savings, US dollars</h2>
          <Chart
            name="Savings"
            days={savingDays}
            lines={saved}
            show={money}
            theme={theme}
            none="No saving is known: enter a machine price (slm_machine_prices)."
          />
        </section>
        <section className="card" aria-label="Latency">
          <h2>Time to answer</h2>
          <p className="quiet">p50: half of the answers took at most so long; p95: 95 of 100 did.</p>
          <Chart
            name="Time to answer"
            days={labels}
            lines={waits}
            show={duration}
            from={0}
            theme={theme}
            none="No request was answered in these days."
          />
        </section>
      </div>
      <Table
        name="Why the first choice did not answer"
        rows={reasons}
        rowKey={(row) => `${row.feature} ${row.reason} ${row.answered_by}`}
        none="Every first provider answered."
        columns={[
          { name: "Reason", value: (row) => words(row.reason) },
          { name: "Feature", value: (row) => row.feature },
          { name: "Answered instead", value: (row) => row.answered_by },
          { name: "Requests", value: (row) => row.requests, show: (row) => count(row.requests), isNumber: true },
          {
            name: "Share",
            value: (row) => row.requests / all,
            show: (row) => percent(row.requests / all),
            isNumber: true,
          },
        ]}
      />
      <Table
        name="Requests by day"
        most={14}
        rows={[...days].reverse()}
        rowKey={(row) => row.day + row.feature}
        none="No requests."
        columns={[
          { name: "Day (UTC)", value: (row) => row.day, show: (row) => day(row.day) },
          { name: "Feature", value: (row) => row.feature },
          { name: "Requests", value: (row) => row.requests, show: (row) => count(row.requests), isNumber: true },
          { name: "Private", value: (row) => row.by_slm, show: (row) => count(row.by_slm), isNumber: true },
          { name: "Cloud", value: (row) => row.by_cloud, show: (row) => count(row.by_cloud), isNumber: true },
          { name: "Rules", value: (row) => row.by_rules, show: (row) => count(row.by_rules), isNumber: true },
          {
            name: "None",
            value: (row) => row.unanswered + row.lost,
            show: (row) => count(row.unanswered + row.lost),
            isNumber: true,
          },
          {
            name: "Local share",
            value: (row) => row.by_slm / row.requests,
            show: (row) => percent(row.by_slm / row.requests),
            isNumber: true,
          },
          { name: "p50", value: (row) => row.p50_ms, show: (row) => duration(row.p50_ms), isNumber: true },
          { name: "p95", value: (row) => row.p95_ms, show: (row) => duration(row.p95_ms), isNumber: true },
        ]}
      />
      <Table
        name="Savings by day"
        about={savings.some((row) => row.saved_usd === null)
          ? "– where no machine price is entered (slm_machine_prices)."
          : undefined}
        most={14}
        rows={[...savings].reverse()}
        rowKey={(row) => row.day}
        none="No savings yet."
        columns={[
          { name: "Day (UTC)", value: (row) => row.day, show: (row) => day(row.day) },
          { name: "Requests", value: (row) => row.requests, show: (row) => count(row.requests), isNumber: true },
          {
            name: "Cloud would have cost",
            value: (row) => row.alternative_usd,
            show: (row) => usd(row.alternative_usd),
            isNumber: true,
          },
          { name: "Cloud was paid", value: (row) => row.cloud_usd, show: (row) => usd(row.cloud_usd), isNumber: true },
          { name: "Machine", value: (row) => row.machine_usd, show: (row) => usd(row.machine_usd), isNumber: true },
          { name: "Making", value: (row) => row.expenses_usd, show: (row) => usd(row.expenses_usd), isNumber: true },
          { name: "Saved", value: (row) => row.saved_usd, show: (row) => usd(row.saved_usd), isNumber: true },
          {
            name: "95 % from",
            value: (row) => row.saved_low_usd,
            show: (row) => usd(row.saved_low_usd),
            isNumber: true,
          },
          { name: "to", value: (row) => row.saved_high_usd, show: (row) => usd(row.saved_high_usd), isNumber: true },
          {
            name: "So far",
            value: (row) => row.saved_so_far_usd,
            show: (row) => usd(row.saved_so_far_usd),
            isNumber: true,
          },
        ]}
      />
    </>
  );
}

/** Both features of a day in one row. */
function together(days: Day[]): { day: string; requests: number; by_slm: number }[] {
  const sums = new Map<string, { day: string; requests: number; by_slm: number }>();
  for (const row of days) {
    const sum = sums.get(row.day) ?? { day: row.day, requests: 0, by_slm: 0 };
    sums.set(row.day, { day: row.day, requests: sum.requests + row.requests, by_slm: sum.by_slm + row.by_slm });
  }
  return [...sums.values()];
}
