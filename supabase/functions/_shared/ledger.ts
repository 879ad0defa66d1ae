import type { Database, LedgerRow } from "./database.ts";

/** What keeps rows until the database takes them. Neither call ever rejects. */
export type Ledger = { open(row: LedgerRow): Promise<void>; close(row: LedgerRow): Promise<void> };

/** Waits between attempts, in milliseconds: a database that is down for a minute loses nothing. */
const WAITS_MS = [200, 1_000, 3_000, 10_000, 20_000, 30_000, 30_000];
/** Rows that may wait at once; past it the oldest promise is still kept, a new row is dropped and said so. */
const MOST_WAITING = 5_000;

/**
 * Writes rows in the background, again and again until the database has them; writing twice changes nothing there.
 * A row is dropped only after the last attempt, and the log says which.
 */
export function ledger(database: Pick<Database, "open" | "close">, waitsMs: number[] = WAITS_MS): Ledger {
  let waiting = 0;
  return {
    // Opening is a courtesy to the sweep: closing writes the whole row anyway, so one attempt is enough.
    open: (row) => database.open(row).catch(complain),
    async close(row) {
      if (waiting >= MOST_WAITING) return complain(new Error(`Cannot keep ledger row ${row.id}: too many are waiting`));
      waiting++;
      try {
        for (const wait of [...waitsMs, null]) {
          try {
            return await database.close(row);
          } catch (error) {
            if (wait === null) complain(new Error(`Cannot write ledger row ${row.id}: ${message(error)}`));
            else await new Promise((resolve) => setTimeout(resolve, wait));
          }
        }
      } finally {
        waiting--;
      }
    },
  };
}

function complain(error: unknown): void {
  console.error(message(error));
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
