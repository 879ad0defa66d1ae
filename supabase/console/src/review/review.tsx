/** The review page: pairs one after the other, what was said, and the way back. Knows nothing of how a pair is judged. */
import type { SupabaseClient } from "@supabase/supabase-js";
import { useCallback, useEffect, useRef, useState } from "react";
import { plural } from "../format.ts";
import { Empty } from "../parts/empty.tsx";
import type { Pair } from "../shapes.ts";
import { current, type Desk, undone } from "./desk.ts";
import { Judge } from "./judge.tsx";
import { type DeskState, useDesk } from "./use_desk.ts";

export function Review({ client, user }: { client: SupabaseClient; user: string }) {
  const state = useDesk(client, user);
  const { desk, change, connection, fault, owner, isDry } = state;
  const now = owner === "us" ? current(desk) : null;
  const [told, tell] = useTold(desk, now?.pair ?? null, connection, owner === "us");
  const [usesKeys, setUsesKeys] = useState(() => localStorage.getItem("console-keys") !== "off");
  const undo = useCallback(() => change(undone), [change]);
  const isOver = owner === "us" && !now && desk.past.length > 0;
  useEffect(() => {
    if (!isOver || !usesKeys) return;
    const press = (event: KeyboardEvent) => {
      if (event.key.toUpperCase() !== "U" || event.repeat) return;
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
      event.preventDefault();
      undo();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [isOver, usesKeys, undo]);
  if (owner === "elsewhere") {
    return (
      <Empty isPage title="Reviewing is open in another window">
        Go on there, or close it: this page goes on by itself then.
      </Empty>
    );
  }
  if (owner === "unknown" || (!now && !isDry && connection !== "off" && !fault)) {
    return <p role="status">Fetching pairs…</p>;
  }
  return (
    <>
      <Standing state={state} told={told}>
        <label className="check">
          <input
            type="checkbox"
            checked={usesKeys}
            onChange={(event) => {
              setUsesKeys(event.target.checked);
              localStorage.setItem("console-keys", event.target.checked ? "on" : "off");
            }}
          />
          Keyboard shortcuts
        </label>
      </Standing>
      {fault && <p className="fault" role="alert">{fault}</p>}
      {desk.refused.length > 0 && (
        <div className="fault" role="alert">
          <p>
            {plural(desk.refused.length, "verdict was", "verdicts were")} not taken:{" "}
            {[...new Set(desk.refused)].join("; ")}
          </p>
          <button type="button" className="small" onClick={() => change((desk) => ({ ...desk, refused: [] }))}>
            Understood
          </button>
        </div>
      )}
      {now
        ? <Judge key={now.pair.id} {...now} {...{ state, tell, usesKeys, undo }} />
        : (
          <Empty isPage title="Nothing to review now">
            {connection === "off"
              ? "There is no connection. What you said is kept here and sent when it is back."
              : desk.left > 0
              ? `${
                plural(desk.left, "pair is", "pairs are")
              } with other reviewers now. What they do not judge comes to you within half an hour; this page looks for it by itself.`
              : "You have judged every pair there is. New ones come when an operator fills the queue; this page looks for them by itself."}
            {isOver && <button type="button" onClick={undo}>Undo the last verdict {usesKeys && <kbd>U</kbd>}</button>}
          </Empty>
        )}
    </>
  );
}

export function isTyping(event: Event): boolean {
  return event.target instanceof HTMLElement &&
    event.target.closest("input:not([type=radio], [type=checkbox]), textarea, select") !== null;
}

/** What has just been done here, for those who cannot see the page change; and the way to say more. */
function useTold(
  desk: Desk,
  pair: Pair | null,
  connection: DeskState["connection"],
  isOurs: boolean,
): [string, (text: string) => void] {
  const [told, tell] = useState("");
  const before = useRef<{ ids: string[]; refused: number } | null>(null);
  useEffect(() => {
    if (!isOurs) return;
    const ids = desk.past.map((it) => it.review.id);
    const [was, last] = [before.current, desk.past.at(-1)];
    before.current = { ids, refused: desk.refused.length };
    if (was === null) return;
    // The page itself says what was not taken: that was neither saved nor taken back.
    if (desk.refused.length > was.refused) return tell("");
    if (was.ids.at(-1) === last?.review.id) return;
    const isUndone = last === undefined || was.ids.includes(last.review.id);
    const title = pair?.prompt_input.title;
    if (isUndone) tell(`Undone: your verdict is taken back. ${title ?? ""}`);
    else if (!last.isOld) {
      const what = last.review.verdict === "skip" ? "Skipped." : connection === "off" ? "" : "Saved.";
      const where = connection === "off" ? "Kept in this browser, to be sent later." : "";
      const next = title ? `Next pair: ${title}` : "That was the last pair for now.";
      tell([what, where, next].filter((text) => text !== "").join(" "));
    }
  }, [desk.past, desk.refused, pair, connection, isOurs]);
  return [told, tell];
}

type StandingProps = { state: DeskState; told: string; children: React.ReactNode };

function Standing({ state: { desk, connection }, told, children }: StandingProps) {
  const all = desk.done + desk.left;
  return (
    <div className="standing">
      <p className="counted">
        {plural(desk.done, "pair")} judged, {desk.skipped > 0 && `${desk.skipped} skipped, `}
        {desk.left} left
        {desk.waiting.length > 0 && ` · ${plural(desk.waiting.length, "change")} to send`}
        <span role="status">
          {connection === "off" && <strong className="tag warn-tag">No connection: nothing is lost</strong>}
        </span>
      </p>
      <progress max={Math.max(1, all)} value={desk.done} aria-label="Pairs judged" />
      <p className="quiet told" role="status">{told}</p>
      {children}
    </div>
  );
}
