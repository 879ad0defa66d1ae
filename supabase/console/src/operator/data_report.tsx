/** What a dataset is made of and what was left out, from the figures that the trainer wrote with it. */
import type { SupabaseClient } from "@supabase/supabase-js";
import { at, count, percent, plural, words } from "../format.ts";
import { Bar } from "../parts/bar.tsx";
import { Empty } from "../parts/empty.tsx";
import { type Column, Table } from "../parts/table.tsx";
import type { DataFigures, DataReport, Pairs } from "../shapes.ts";
import { ReportFrame } from "./report_frame.tsx";

const SPLITS = ["train", "validation", "test", "gold", "not split"];
type Counts = Record<string, number>;

export function DataReportPage({ client, id }: { client: SupabaseClient; id: string | null }) {
  return (
    <ReportFrame<DataReport>
      client={client}
      id={id}
      kind="data"
      title="data report"
      none="python -m trainer data --write-back makes a dataset of the history, where organisations allow training, and writes it here with its report."
    >
      {(report) => <Shown report={report} />}
    </ReportFrame>
  );
}

function Shown({ report }: { report: DataReport }) {
  const figures = report.manifest.report;
  return (
    <>
      <h2>Data report: {report.feature}</h2>
      <p className="quiet">
        Dataset <code>{report.id.slice(0, 12)}</code>, made {at(report.created_at)}, {words(report.status)}
        {report.erased > 0 && `; ${plural(report.erased, "example")} erased since`}.
      </p>
      {figures ? <Figures figures={figures} /> : (
        <Empty title="This dataset came without figures">
          An earlier version of the trainer wrote it: run python -m trainer data --write-back again.
        </Empty>
      )}
    </>
  );
}

const all = (counts: Counts) => Object.values(counts).reduce((sum, rows) => sum + rows, 0);

function Figures({ figures }: { figures: DataFigures }) {
  const { numbers = [], origins_by_split = {}, balance = {}, reasons = [], by_source = {}, axes = [] } = figures;
  const splits = SPLITS.filter((split) => split in origins_by_split);
  const origins = [...new Set(Object.values(origins_by_split).flatMap(Object.keys))];
  const rowsOf = (origin: string) => splits.reduce((sum, split) => sum + (origins_by_split[split]?.[origin] ?? 0), 0);
  const total = origins.reduce((sum, origin) => sum + rowsOf(origin), 0);
  const { leakage, grid, histogram } = figures;
  const isWhole = Object.keys(leakage?.left ?? {}).length === 0;
  return (
    <>
      {(figures.missing ?? []).length > 0 && <p className="warn">Not there: {figures.missing!.join(", ")}.</p>}
      <div className="tiles small-tiles">
        {numbers.map(([name, rows]) => (
          <div key={name} className="card tile">
            <h3>{name}</h3>
            <p className="big">{count(rows)}</p>
          </div>
        ))}
      </div>
      <Table
        name="Where the examples come from"
        rows={origins.sort((a, b) => rowsOf(b) - rowsOf(a))}
        rowKey={(origin) => origin}
        none="No examples."
        columns={[
          { name: "Origin", value: (origin) => origin },
          ...splits.map((split): Column<string> => ({
            name: split,
            value: (origin) => origins_by_split[split]?.[origin] ?? 0,
            show: (origin) => count(origins_by_split[split]?.[origin] ?? 0),
            isNumber: true,
          })),
          { name: "All", value: rowsOf, show: (origin) => count(rowsOf(origin)), isNumber: true },
          {
            name: "Share",
            value: (origin) => rowsOf(origin) / total,
            show: (origin) => (
              <>
                {percent(rowsOf(origin) / total)} <Bar value={rowsOf(origin)} most={total} />
              </>
            ),
            isNumber: true,
          },
        ]}
      />
      {figures.balance_values && (
        <Table
          name={figures.balance_of ?? "Balance"}
          rows={SPLITS.filter((split) => split in balance)}
          rowKey={(split) => split}
          none="No examples."
          columns={[
            { name: "Split", value: (split) => split },
            ...figures.balance_values.map((value): Column<string> => ({
              name: value,
              value: (split) => balance[split]?.[value] ?? 0,
              show: (split) => (
                <>
                  {count(balance[split]?.[value] ?? 0)}{" "}
                  <span className="quiet">{percent((balance[split]?.[value] ?? 0) / all(balance[split]!))}</span>
                </>
              ),
              isNumber: true,
            })),
            {
              name: "All",
              value: (split) => all(balance[split]!),
              show: (split) => count(all(balance[split]!)),
              isNumber: true,
            },
          ]}
        />
      )}
      <Counted
        name="Left out by cleaning"
        counts={reasons}
        meanings={figures.meanings ?? {}}
        none="Nothing was left out."
      />
      {Object.keys(by_source).length > 0 && (
        <Table
          name="Candidates by source"
          rows={["kept", ...reasons.map(([reason]) => reason)]}
          rowKey={(end) => end}
          none=""
          columns={[
            { name: "Ended as", value: words },
            ...Object.entries(by_source).map(([source, ends]): Column<string> => ({
              name: source,
              value: (end) => ends[end] ?? 0,
              show: (end) => count(ends[end] ?? 0),
              isNumber: true,
            })),
          ]}
        />
      )}
      {(figures.refused ?? []).length > 0 && (
        <Counted name="Left out of what the teacher wrote" counts={figures.refused!} none="" />
      )}
      {grid && (
        <>
          <Table
            name={`Coverage: ${grid.rows_are} by ${words(grid.columns_are)}`}
            rows={grid.lines}
            rowKey={([line]) => line}
            none=""
            columns={[
              { name: grid.rows_are, value: ([line]) => words(line) },
              ...grid.columns.map((column, i): Column<[string, number[]]> => ({
                name: words(column),
                value: ([, counts]) => counts[i],
                show: ([, counts]) => (
                  <span className={`heat heat-${heat(counts[i]!, grid.most)}`}>{count(counts[i])}</span>
                ),
                isNumber: true,
              })),
            ]}
          />
          <p className="quiet">{figures.cells}</p>
          <div className="charts">
            {axes.map(([axis, counts]) => (
              <Counted key={axis} name={`Coverage by ${words(axis)}`} counts={counts} none="No examples." />
            ))}
          </div>
        </>
      )}
      {histogram && <Lengths histogram={histogram} told={figures.length ?? ""} />}
      {leakage?.grouped_by && (
        <section className="card" aria-label="Leakage">
          <h3>Leakage</h3>
          <p className={isWhole ? "good-text" : "fault"}>
            {isWhole
              ? "The written files were compared again: no leak is left."
              : `Leaks are left: ${JSON.stringify(leakage.left)}`}
          </p>
          <p className="quiet">
            Grouped by {leakage.grouped_by.join(", ")}: {count(leakage.groups)} groups, the largest of{" "}
            {plural(leakage.largest_group ?? 0, "example")}.
            {leakage.times?.oldest_in_test &&
              ` The oldest test example is of ${at(leakage.times.oldest_in_test)}, the newest in training of ${
                at(leakage.times.newest_in_training)
              }.`}
          </p>
          <Table
            name="Put aside against leaks"
            rows={figures.aside ?? []}
            rowKey={(line) => line.kind + line.split}
            none="Nothing had to be put aside."
            columns={[
              { name: "Because of", value: (line) => line.kind },
              { name: "Near", value: (line) => line.split },
              { name: "Examples", value: (line) => line.rows, show: (line) => count(line.rows), isNumber: true },
              { name: "Which is", value: (line) => line.meaning, isLong: true },
            ]}
          />
        </section>
      )}
      {(figures.wrote ?? []).length > 0 && (
        <Table
          name="What the teacher wrote"
          rows={figures.wrote!}
          rowKey={([name]) => name}
          none=""
          columns={[{ name: "Figure", value: ([name]) => name }, {
            name: "Value",
            value: ([, value]) => value,
            isLong: true,
          }]}
        />
      )}
    </>
  );
}

/** 0 for none, 1 to 5 by its share of the fullest cell. */
const heat = (rows: number, most: number) => rows === 0 ? 0 : Math.ceil(5 * rows / most);

type CountedProps = { name: string; counts: Pairs; meanings?: Record<string, string>; none: string };

function Counted({ name, counts, meanings, none }: CountedProps) {
  const most = Math.max(1, ...counts.map(([, rows]) => rows));
  return (
    <Table
      name={name}
      rows={counts}
      rowKey={([value]) => value}
      none={none}
      columns={[
        { name: meanings ? "Reason" : "Value", value: ([value]) => words(value) },
        {
          name: "Examples",
          value: ([, rows]) => rows,
          show: ([, rows]) => (
            <>
              {count(rows)} <Bar value={rows} most={most} />
            </>
          ),
          isNumber: true,
        },
        ...(meanings ? [{ name: "Because", value: ([value]: [string, number]) => meanings[value], isLong: true }] : []),
      ]}
    />
  );
}

function Lengths({ histogram: bins, told }: { histogram: Pairs; told: string }) {
  const most = Math.max(1, ...bins.map(([, rows]) => rows));
  const width = 600 / Math.max(1, bins.length);
  return (
    <section className="card" aria-label="Lengths">
      <h3>Length of the training conversations</h3>
      <p className="quiet">{told}</p>
      <svg className="histogram" viewBox="0 0 640 170" role="img" aria-label={`Conversations by tokens: ${told}`}>
        <text x="32" y="12" textAnchor="end">{count(most)}</text>
        <path className="grid" d="M38 140.5H640" />
        {bins.map(([edge, rows], i) => (
          <g key={edge}>
            <rect
              x={40 + i * width}
              y={140 - 130 * rows / most}
              width={Math.max(1, width - 2)}
              height={130 * rows / most}
            />
            {i % (Math.floor(bins.length / 8) + 1) === 0 && <text x={40 + i * width} y="156">{edge}</text>}
          </g>
        ))}
        <text x="640" y="168" textAnchor="end">tokens</text>
      </svg>
    </section>
  );
}
