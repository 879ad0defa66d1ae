/** The review page: one pair at a time, by mouse or by keyboard alone. */
import type { SupabaseClient } from "@supabase/supabase-js";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { plural } from "../format.ts";
import { Empty } from "../parts/empty.tsx";
import type { Answer, Pair, Score, Verdict } from "../shapes.ts";
import { SCORES } from "../shapes.ts";
import { AnswerCard } from "./answer_card.tsx";
import { AnswerEditor } from "./answer_editor.tsx";
import { current, type Draft, submitted, undone } from "./desk.ts";
import { faultsOf } from "./faults.ts";
import { InputCard } from "./input_card.tsx";
import { type DeskState, useDesk } from "./use_desk.ts";

const VERDICTS: { verdict: Verdict; key: string; name: string }[] = [
  { verdict: "a", key: "A", name: "A is better" },
  { verdict: "b", key: "B", name: "B is better" },
  { verdict: "both_good", key: "G", name: "Both good" },
  { verdict: "both_bad", key: "X", name: "Both bad" },
  { verdict: "skip", key: "S", name: "Skip" },
];
const ASKED: Record<Score, string> = { correctness: "Correct", usefulness: "Useful", voice: "Tone" };

export function Review({ client, user }: { client: SupabaseClient; user: string }) {
  const state = useDesk(client, user);
  const { desk, connection, fault, isElsewhere, isDry } = state;
  const now = current(desk);
  if (isElsewhere) {
    return (
      <Empty isPage title="Reviewing is open in another window">
        Go on there, or close it: this page goes on by itself then.
      </Empty>
    );
  }
  if (!now && !isDry && connection !== "off" && !fault) return <p role="status">Fetching pairs…</p>;
  return (
    <>
      <Standing state={state} />
      {fault && <p className="fault" role="alert">{fault}</p>}
      {desk.refused.length > 0 && (
        <div className="fault" role="alert">
          <p>
            {plural(desk.refused.length, "verdict was", "verdicts were")} not taken:{" "}
            {[...new Set(desk.refused)].join("; ")}
          </p>
          <button type="button" className="small" onClick={() => state.change((desk) => ({ ...desk, refused: [] }))}>
            Understood
          </button>
        </div>
      )}
      {now
        ? <Judge key={now.pair.id} pair={now.pair} draft={now.draft} state={state} />
        : (
          <Empty isPage title="Nothing to review now">
            {connection === "off"
              ? "There is no connection. What you said is kept here and sent when it is back."
              : "You have judged every pair there is. New ones come when an operator fills the queue; this page looks for them by itself."}
            {desk.past.length > 0 && (
              <button type="button" onClick={() => state.change(undone)}>Undo the last verdict</button>
            )}
          </Empty>
        )}
    </>
  );
}

function Standing({ state: { desk, connection } }: { state: DeskState }) {
  const all = desk.done + desk.left;
  return (
    <div className="standing">
      <p role="status">
        {plural(desk.done, "pair")} judged, {desk.left} left
        {desk.waiting.length > 0 && ` · ${plural(desk.waiting.length, "change")} to send`}
        {connection === "off" && <strong className="tag warn-tag">No connection: nothing is lost</strong>}
      </p>
      <progress max={Math.max(1, all)} value={desk.done} aria-label="Pairs judged" />
    </div>
  );
}

function Judge({ pair, draft, state }: { pair: Pair; draft: Draft; state: DeskState }) {
  const { change, desk } = state;
  const title = useRef<HTMLHeadingElement>(null);
  const seconds = useSeconds(draft.seconds);
  const [usesKeys, setUsesKeys] = useState(() => localStorage.getItem("console-keys") !== "off");
  const put = useCallback((part: Partial<Draft>) => {
    change((desk) => {
      const now = current(desk);
      return now?.pair.id === pair.id ? { ...desk, draft: { ...now.draft, ...part } } : desk;
    });
  }, [change, pair.id]);

  const base: "a" | "b" = draft.verdict === "b" ? "b" : "a";
  const shown = useMemo<Answer | null>(() => draft.editing ? draft.corrected ?? pair[draft.editing] : draft.corrected, [
    draft.editing,
    draft.corrected,
    pair,
  ]);
  const faults = useMemo(() => shown ? faultsOf(pair, shown) : { shape: [], wording: [] }, [pair, shown]);
  const problem = draft.verdict === null
    ? "Choose a verdict"
    : draft.verdict === "skip" && draft.reason.trim() === ""
    ? "Say why you skip it"
    : draft.corrected && faults.shape.length > 0
    ? "Mend the correction"
    : null;

  const submit = useCallback(() => {
    if (problem || draft.verdict === null) return;
    const { correctness = null, usefulness = null, voice = null } = draft.verdict === "skip" ? {} : draft.scores;
    change((desk) =>
      submitted(desk, {
        id: newId(),
        item_id: pair.id,
        verdict: draft.verdict!,
        reason: draft.reason.trim() || null,
        corrected: draft.verdict === "skip" ? null : draft.corrected,
        correctness,
        usefulness,
        voice,
        seconds: Math.round(seconds() * 10) / 10,
      })
    );
  }, [problem, draft, change, pair.id, seconds]);

  const edit = useCallback(
    () => put({ editing: draft.editing ?? base, corrected: draft.corrected ?? structuredClone(pair[base]) }),
    [put, draft, base, pair],
  );
  const undo = useCallback(() => change(undone), [change]);

  useEffect(() => {
    title.current?.focus({ preventScroll: true });
    scrollTo({ top: 0 });
  }, []);
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const isTyping = event.target instanceof HTMLElement &&
        event.target.closest("input:not([type=radio], [type=checkbox]), textarea, select") !== null;
      if (event.ctrlKey || event.metaKey || event.altKey || !usesKeys) return;
      if (isTyping) {
        if (event.key === "Escape") (event.target as HTMLElement).blur();
        return;
      }
      const key = event.key.toUpperCase();
      const chosen = VERDICTS.find((it) => it.key === key);
      const next = SCORES.find((score) => draft.scores[score] === undefined);
      if (chosen) put({ verdict: chosen.verdict });
      else if (/^[1-5]$/.test(key) && next) put({ scores: { ...draft.scores, [next]: Number(key) } });
      else if (key === "0") put({ scores: {} });
      else if (key === "E") edit();
      else if (key === "U") undo();
      else if (
        key === "ENTER" && !(event.target instanceof HTMLElement && event.target.closest("button, a, summary"))
      ) submit();
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [usesKeys, draft, put, edit, undo, submit]);

  const card = (letter: "A" | "B") => {
    const side = letter === "A" ? "a" : "b";
    const isEdited = draft.editing === side && shown !== null;
    return (
      <AnswerCard
        letter={letter}
        answer={pair[side]}
        title={pair.prompt_input.title}
        chosen={draft.verdict === side}
        onChoose={() => put({ verdict: side })}
      >
        {isEdited
          ? (
            <AnswerEditor
              answer={shown}
              faults={faults}
              onChange={(corrected) => put({ corrected })}
              onDone={() => put({ editing: null })}
              onDrop={() => put({ editing: null, corrected: null })}
            />
          )
          : null}
      </AnswerCard>
    );
  };

  return (
    <>
      <h1 ref={title} tabIndex={-1} className="visually-hidden">Which answer is better?</h1>
      <InputCard pair={pair} />
      <div className="pair">{card("A")}{card("B")}</div>
      {draft.corrected && !draft.editing && (
        <p className="note">
          Your correction goes along. <button type="button" className="small" onClick={edit}>Edit it again</button>
        </p>
      )}
      <section className={`card verdict ${draft.editing ? "" : "sticky"}`} aria-label="Verdict">
        <div className="row" role="group" aria-label="Which answer is better?">
          {VERDICTS.map(({ verdict, key, name }) => (
            <button
              key={verdict}
              type="button"
              aria-pressed={draft.verdict === verdict}
              className="choice"
              onClick={() => put({ verdict })}
            >
              {name} {usesKeys && <kbd>{key}</kbd>}
            </button>
          ))}
        </div>
        {draft.verdict === "skip"
          ? (
            <label className="text">
              Why do you skip it?
              <input
                autoFocus
                value={draft.reason}
                maxLength={1000}
                onChange={(event) => put({ reason: event.target.value })}
                onKeyDown={(event) => event.key === "Enter" && submit()}
              />
            </label>
          )
          : (
            <Scores
              draft={draft}
              usesKeys={usesKeys}
              onScore={(score, value) => put({ scores: { ...draft.scores, [score]: value } })}
            />
          )}
        <div className="row">
          <button type="button" className="primary" onClick={submit} disabled={problem !== null}>
            Submit {usesKeys && <kbd>Enter</kbd>}
          </button>
          <button type="button" className="quiet-button" onClick={edit}>
            Correct {base.toUpperCase()} {usesKeys && <kbd>E</kbd>}
          </button>
          <button type="button" className="quiet-button" onClick={undo} disabled={desk.past.length === 0}>
            Undo last {usesKeys && <kbd>U</kbd>}
          </button>
          <span className="quiet" role="status">{problem ?? "Ready to submit"}</span>
          <label className="check">
            <input
              type="checkbox"
              checked={usesKeys}
              onChange={(event) => {
                setUsesKeys(event.target.checked);
                localStorage.setItem("console-keys", event.target.checked ? "on" : "off");
              }}
            />
            Keys
          </label>
        </div>
      </section>
    </>
  );
}

type ScoresProps = { draft: Draft; usesKeys: boolean; onScore: (score: Score, value: number) => void };

function Scores({ draft, usesKeys, onScore }: ScoresProps) {
  const of = draft.verdict === "a" || draft.verdict === "b"
    ? `of answer ${draft.verdict.toUpperCase()}`
    : "of both answers";
  return (
    <fieldset className="scores">
      <legend>
        Scores {of}, 1 poor to 5 excellent (not required){usesKeys && (
          <>
            <kbd>1</kbd>–<kbd>5</kbd> in turn, <kbd>0</kbd> clears
          </>
        )}
      </legend>
      {SCORES.map((score) => (
        <div key={score} className="score" role="radiogroup" aria-label={ASKED[score]}>
          <span aria-hidden="true">{ASKED[score]}</span>
          {[1, 2, 3, 4, 5].map((value) => (
            <label key={value}>
              <input
                type="radio"
                name={`${score}-${draft.item_id}`}
                checked={draft.scores[score] === value}
                onChange={() => onScore(score, value)}
              />
              {value}
            </label>
          ))}
        </div>
      ))}
    </fieldset>
  );
}

/** Seconds in front of this pair, without those in which the page was hidden. */
function useSeconds(before: number): () => number {
  const spent = useRef(before);
  const since = useRef<number | null>(document.hidden ? null : performance.now());
  useEffect(() => {
    const look = () => {
      if (since.current !== null) spent.current += (performance.now() - since.current) / 1000;
      since.current = document.hidden ? null : performance.now();
    };
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, []);
  return useCallback(
    () => spent.current + (since.current === null ? 0 : (performance.now() - since.current) / 1000),
    [],
  );
}

/** A UUID also where the page came over plain HTTP, which has no crypto.randomUUID. */
function newId(): string {
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 15) | 64;
  bytes[8] = (bytes[8]! & 63) | 128;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
