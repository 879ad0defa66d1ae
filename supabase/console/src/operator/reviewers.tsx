/** Who may review, and the queue that they review. */
import type { SupabaseClient } from "@supabase/supabase-js";
import { useCallback, useState } from "react";
import { at, plural } from "../format.ts";
import { AsOf } from "../parts/asof.tsx";
import { usePolled } from "../parts/polled.ts";
import { Table } from "../parts/table.tsx";
import { call, said } from "../project.ts";
import type { Manager, Queue } from "../shapes.ts";

type Filled = { from_ledger: number; from_evaluation: number; planted: number };

export function Reviewers({ client }: { client: SupabaseClient }) {
  const polled = usePolled(useCallback(() => call<Manager[]>(client, "slm_reviewers"), [client]));
  const queue = usePolled(useCallback(() => call<Queue[]>(client, "slm_review_queue"), [client]));
  const waiting = queue.data?.reduce((sum, row) => sum + row.waiting_for_third, 0) ?? 0;
  const [told, setTold] = useState<string | null>(null);
  const fill = async () => {
    try {
      const { from_ledger, from_evaluation, planted } = await call<Filled>(client, "slm_fill_review_queue", {
        p_open: 200,
      });
      queue.again();
      setTold(
        from_ledger + from_evaluation > 0
          ? `${
            plural(from_ledger, "pair")
          } from requests, ${from_evaluation} from evaluations and ${planted} planted are new.`
          : "Nothing new: pairs come from the shadow stage (the cloud and the private model answer the same request) of organisations that have a reviewer, and from evaluations.",
      );
    } catch (error) {
      setTold(said(error));
    }
  };
  const admit = async ({ user_id, is_in, name }: Manager) => {
    const question = `Remove ${name ?? user_id}'s access? They can review no more pairs; what they said stays.`;
    if (is_in && !confirm(question)) return;
    try {
      polled.put(await call<Manager[]>(client, "slm_let_review", { p_user_id: user_id, p_may: !is_in }));
    } catch (error) {
      setTold(said(error));
    }
  };
  return (
    <>
      <AsOf polled={polled} />
      <section className="card" aria-label="Queue">
        <h2>Queue</h2>
        <p>
          Draws pairs evenly over slices until 200 are open, one in ten with a known answer. A reviewer sees only their
          own organisation's.
        </p>
        <div className="row">
          <button type="button" className="primary" onClick={fill}>Fill the queue</button>
          <span role="status">{told}</span>
        </div>
        {waiting > 0 && (
          <p className="warn">
            {plural(waiting, "pair waits", "pairs wait")} for a third reviewer, because the first two differ.
          </p>
        )}
        {queue.fault && <p className="fault" role="alert">{queue.fault}</p>}
        {queue.data && (
          <Table
            name="Pairs by organisation"
            rows={queue.data}
            rowKey={(row) => row.org ?? String(row.is_made_up)}
            none="No pair has been drawn yet."
            columns={[
              { name: "Organisation", value: (row) => row.is_made_up ? "made up, for all" : row.org ?? "not known" },
              { name: "Reviewers", value: (row) => row.reviewers, isNumber: true },
              { name: "Settled", value: (row) => row.settled, isNumber: true },
              { name: "Open", value: (row) => row.open, isNumber: true },
              {
                name: "Wait for a third reviewer",
                value: (row) => row.waiting_for_third,
                show: (row) =>
                  row.waiting_for_third > 0 && row.reviewers < 3
                    ? `${row.waiting_for_third} (let in one more)`
                    : row.waiting_for_third,
                isNumber: true,
              },
            ]}
          />
        )}
      </section>
      {polled.data && (
        <Table
          name="Managers"
          rows={polled.data}
          rowKey={(row) => row.user_id}
          none="The app has no manager yet: people with the role manager appear here."
          most={500}
          columns={[
            { name: "Name", value: (row) => row.name ?? row.user_id },
            { name: "Organisation", value: (row) => row.org },
            {
              name: "May review",
              value: (row) => row.is_in ? "yes" : "no",
              show: (row) => row.is_in ? `since ${at(row.since)}` : "no",
            },
            {
              name: "Change",
              value: () => "",
              show: (row) => (
                <button
                  type="button"
                  className="small"
                  onClick={() => admit(row)}
                >
                  {row.is_in ? "Remove access" : "Let in"}
                  <span className="visually-hidden">{` ${row.name}`}</span>
                </button>
              ),
            },
          ]}
        />
      )}
    </>
  );
}
