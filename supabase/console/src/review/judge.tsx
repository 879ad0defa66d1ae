/** One pair in front of the reviewer: what they read, write and say of it, by mouse or by keyboard alone. */
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { Answer, Pair, Verdict } from "../shapes.ts";
import { SCORES } from "../shapes.ts";
import { AnswerCard } from "./answer_card.tsx";
import { AnswerEditor } from "./answer_editor.tsx";
import { type Draft, drafted, goingAlong, type Side, submitted } from "./desk.ts";
import { faultsOf } from "./faults.ts";
import { InputCard } from "./input_card.tsx";
import { isTyping } from "./review.tsx";
import { parts, READY, whole } from "./skip.ts";
import type { DeskState } from "./use_desk.ts";
import { VerdictBar, VERDICTS } from "./verdict_bar.tsx";

/** So many verdicts, and nobody needs to be told how it goes. */
const FIRST = 3;
const NO_FAULTS = { shape: [], wording: [] };
const same = (one: Answer, other: Answer) => JSON.stringify(one) === JSON.stringify(other);
const letterOf = (side: Side) => side === "a" ? "A" : "B";

type Props = {
  pair: Pair;
  draft: Draft;
  state: DeskState;
  tell: (text: string) => void;
  usesKeys: boolean;
  undo: () => void;
};

export function Judge({ pair, draft, state, tell, usesKeys, undo: takeBack }: Props) {
  const { change, desk } = state;
  const title = useRef<HTMLHeadingElement>(null);
  const seconds = useSeconds(draft.seconds);
  const [isUnchanged, setUnchanged] = useState(false);
  const put = useCallback((part: Partial<Draft>) => {
    change((desk) => drafted(desk, pair.id, part));
  }, [change, pair.id]);

  const { verdict, edit, dropped, correction } = draft;
  const going = goingAlong(draft);
  const faults = useMemo(() => edit ? faultsOf(pair, edit.answer) : NO_FAULTS, [pair, edit]);
  const isUnkept = edit !== null &&
    !same(edit.answer, correction?.side === edit.side ? correction.answer : pair[edit.side]);
  const problem = verdict === null
    ? "Choose a verdict"
    : verdict === "skip" && draft.reason.trim() === ""
    ? "say why"
    : isUnkept
    ? faults.shape.length > 0 ? "fix the correction, or drop it" : "keep your correction first, or drop it"
    : null;

  const submit = useCallback(() => {
    if (problem || verdict === null) return;
    const { correctness = null, usefulness = null, voice = null } = verdict === "skip" ? {} : draft.scores;
    change((desk) =>
      submitted(desk, {
        id: newId(),
        item_id: pair.id,
        verdict,
        reason: verdict === "skip" ? draft.reason.trim() : null,
        corrected: going?.answer ?? null,
        corrected_of: going?.side ?? null,
        correctness,
        usefulness,
        voice,
        seconds: Math.round(seconds() * 10) / 10,
      })
    );
  }, [problem, verdict, draft, going, change, pair.id, seconds]);

  // What was said of this pair waits for it to be in front again, with the time that it took.
  const undo = useCallback(() => {
    put({ seconds: seconds() });
    takeBack();
  }, [put, seconds, takeBack]);

  const leave = useCallback((part: Partial<Draft>, text: string) => {
    put(part);
    tell(text);
    title.current?.focus({ preventScroll: true });
  }, [put, tell]);
  const choose = useCallback((verdict: Verdict) => {
    put({ verdict });
    if (!correction) return;
    const letter = letterOf(correction.side);
    const goes = goingAlong({ ...draft, verdict }) !== null;
    if (going && !goes) {
      tell(`Your correction of ${letter} is set aside: choose “${letter} is better” to bring it back.`);
    } else if (!going && goes) tell(`Your correction of ${letter} goes along.`);
  }, [put, tell, draft, correction, going]);
  const begin = useCallback((side: Side, answer?: Answer) => {
    if (edit && edit.side === side) return;
    if (correction && correction.side !== side) {
      const [old, now] = [letterOf(correction.side), letterOf(side)];
      if (!confirm(`One correction goes along with a verdict. Drop yours of ${old}, and edit ${now}?`)) return;
    }
    setUnchanged(false);
    tell("");
    put({
      edit: { side, answer: answer ?? structuredClone(correction?.side === side ? correction.answer : pair[side]) },
      correction: correction?.side === side ? correction : null,
      dropped: null,
    });
  }, [put, tell, edit, correction, pair]);
  const keep = useCallback(() => {
    if (!edit || faults.shape.length > 0) return;
    if (!same(edit.answer, pair[edit.side])) {
      const kept = { ...edit, under: verdict };
      const goes = verdict === null || goingAlong({ ...draft, correction: kept }) !== null;
      leave(
        { edit: null, correction: kept },
        goes
          ? "Your correction is kept and goes along with your verdict."
          : `Your correction is kept: it goes along with “${letterOf(edit.side)} is better”.`,
      );
    } else if (correction) leave({ edit: null, correction: null }, "It reads as before: your correction is dropped.");
    else setUnchanged(true);
  }, [edit, faults, pair, draft, verdict, correction, leave]);
  const drop = useCallback(() => {
    if (!edit) return;
    if (isUnkept) leave({ edit: null, dropped: edit }, "Your edit is dropped.");
    else leave({ edit: null }, "Nothing was changed.");
  }, [edit, isUnkept, leave]);

  useEffect(() => {
    title.current?.focus({ preventScroll: true });
    scrollTo({ top: 0 });
  }, []);
  useEffect(() => {
    const act = (event: KeyboardEvent): boolean => {
      if (event.isComposing) return false;
      if (edit && event.key === "Enter" && (event.ctrlKey || event.metaKey)) return keep(), true;
      if (edit && event.key === "Escape") return drop(), true;
      if (event.ctrlKey || event.metaKey || event.altKey || !usesKeys) return false;
      if (isTyping(event)) {
        if (event.key === "Escape") (event.target as HTMLElement).blur();
        return false;
      }
      const key = event.key.toUpperCase();
      // Held down, a key takes one verdict back, or gives one, not all of them.
      if (event.repeat && (key === "U" || key === "ENTER")) return false;
      const chosen = VERDICTS.find((it) => it.key === key);
      if (chosen) return choose(chosen.verdict), true;
      if (verdict === "skip") {
        const ready = READY[Number(key) - 1];
        if (ready) return put({ reason: whole(ready, parts(draft.reason).more) }), true;
      } else {
        const next = SCORES.find((score) => draft.scores[score] === undefined);
        if (/^[1-5]$/.test(key) && next) return put({ scores: { ...draft.scores, [next]: Number(key) } }), true;
        if (key === "0") return put({ scores: {} }), true;
        if (key === "E") return begin(correction?.side ?? (verdict === "b" ? "b" : "a")), true;
      }
      if (key === "U" && !isUnkept) return undo(), true;
      const isElsewhere = event.target instanceof HTMLElement && event.target.closest("button, a, summary") !== null;
      if (key === "ENTER" && !isElsewhere) return submit(), true;
      return false;
    };
    const press = (event: KeyboardEvent) => {
      if (act(event)) event.preventDefault();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [usesKeys, draft, verdict, edit, isUnkept, correction, put, choose, begin, keep, drop, undo, submit]);

  const card = (side: Side) => {
    const letter = letterOf(side);
    const isAside = correction?.side === side && going === null && verdict !== null && !edit;
    return (
      <AnswerCard
        letter={letter}
        answer={going?.side === side || (correction?.side === side && verdict === null)
          ? correction!.answer
          : pair[side]}
        isCorrected={correction?.side === side && !isAside}
        title={pair.prompt_input.title}
        chosen={verdict === side}
        onChoose={() => choose(side)}
        onEdit={verdict === "skip" || edit ? null : () => begin(side)}
        isEdited={edit?.side === side}
      >
        {isAside && (
          <p className="note">
            Your correction of {letter} is set aside: it goes along with “{letter} is better”.{" "}
            <button
              type="button"
              className="small"
              onClick={() => leave({ correction: null }, "Your correction is dropped.")}
            >
              Drop it
            </button>
          </p>
        )}
        {dropped?.side === side && !edit && (
          <p className="note">
            Your edit is dropped.{" "}
            <button type="button" className="small" onClick={() => begin(side, dropped.answer)}>Bring it back</button>
          </p>
        )}
        {edit?.side === side && (
          <AnswerEditor
            answer={edit.answer}
            faults={faults}
            isUnchanged={isUnchanged}
            onChange={(answer) => {
              setUnchanged(false);
              put({ edit: { side, answer } });
            }}
            letter={letter}
            onKeep={keep}
            onDrop={drop}
          />
        )}
      </AnswerCard>
    );
  };

  return (
    <>
      <div className="asked">
        <h1 ref={title} tabIndex={-1}>Which answer is better?</h1>
        {desk.done < FIRST && (
          <p className="quiet">
            Read the task, compare A and B, choose below and submit. You are not told who wrote which, and you can undo.
          </p>
        )}
      </div>
      <InputCard pair={pair} />
      <div className="pair">{card("a")}{card("b")}</div>
      <VerdictBar
        draft={draft}
        problem={problem}
        usesKeys={usesKeys}
        mayUndo={desk.past.length > 0 && !isUnkept}
        onChoose={choose}
        onPut={put}
        onSubmit={submit}
        onUndo={undo}
      />
    </>
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
