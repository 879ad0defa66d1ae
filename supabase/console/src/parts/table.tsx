/** A table with a name, right-aligned figures, and its CSV. */
import type { ReactNode } from "react";
import { type Cell, csv, download } from "./csv.ts";

export type Column<T> = {
  name: string;
  value: (row: T) => Cell;
  show?: (row: T) => ReactNode;
  isNumber?: boolean;
  isLong?: boolean;
};
type Props<T> = {
  name: string;
  rows: readonly T[];
  columns: readonly Column<T>[];
  rowKey: (row: T) => string;
  none: ReactNode;
  most?: number;
  /** What it is, in a line. */
  about?: string | undefined;
};

export function Table<T>({ name, rows, columns, rowKey, none, most = 60, about }: Props<T>) {
  const save = () =>
    download(
      `${name.toLowerCase().replaceAll(/\W+/g, "-")}.csv`,
      csv(columns.map((it) => it.name), rows.map((row) => columns.map((it) => it.value(row)))),
      "text/csv",
    );
  return (
    <section className="table" aria-label={name}>
      <header>
        <h2>{name}</h2>
        <button
          type="button"
          className="small quiet-button"
          onClick={save}
          disabled={rows.length === 0}
          aria-label={`Save ${name} as CSV`}
        >
          CSV
        </button>
      </header>
      {about && <p className="quiet">{about}</p>}
      {rows.length === 0
        ? <p className="quiet">{none}</p>
        : (
          <div className="scroll" tabIndex={0} role="group" aria-label={`${name}, scrollable`}>
            <table>
              <thead>
                <tr>
                  {columns.map((it) => (
                    <th key={it.name} scope="col" className={it.isNumber ? "number" : ""}>{it.name}</th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {rows.slice(0, most).map((row) => (
                  <tr key={rowKey(row)}>
                    {columns.map((it, i) => {
                      const shown = it.show ? it.show(row) : String(it.value(row) ?? "–");
                      return i === 0
                        ? <th key={it.name} scope="row">{shown}</th>
                        : <td key={it.name} className={it.isNumber ? "number" : it.isLong ? "long" : ""}>{shown}</td>;
                    })}
                  </tr>
                ))}
              </tbody>
            </table>
            {rows.length > most && <p className="quiet">{most} of {rows.length} rows; the CSV has all.</p>}
          </div>
        )}
    </section>
  );
}
