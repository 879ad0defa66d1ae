import assert from "node:assert/strict";
import { ledger } from "./ledger.ts";

const row = { id: "1" };

Deno.test("a row is written once the database is back, and only once", async () => {
  const written: string[] = [];
  let down = 3;
  const close = (row: { id: string }) =>
    down-- > 0 ? Promise.reject(new Error("down")) : Promise.resolve(void written.push(row.id));
  await ledger({ open: close, close }, [1, 1, 1]).close(row);
  assert.deepEqual(written, ["1"]);
});

Deno.test("a database that stays down costs a row and a line in the log, never an error", async () => {
  const down = () => Promise.reject(new Error("down"));
  const said: string[] = [];
  const log = console.error;
  console.error = (line: string) => void said.push(line);
  try {
    const rows = ledger({ open: down, close: down }, [1]);
    await rows.open(row);
    await rows.close(row);
  } finally {
    console.error = log;
  }
  assert.deepEqual(said, ["down", "Cannot write ledger row 1: down"]);
});
