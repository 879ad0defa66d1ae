/** The decision bar, always in sight: the verdict, its scores or why there is none, and what is still missing. */
import { useEffect, useRef, useState } from "react";
import type { Score, Verdict } from "../shapes.ts";
import { SCORES } from "../shapes.ts";
import { type Draft, goingAlong } from "./desk.ts";
import { parts, READY, whole } from "./skip.ts";

/** `rest` of a name is left out where there is no room for it; screen readers have it everywhere. */
export const VERDICTS: { verdict: Verdict; key: string; name: string; rest?: string; before?: string }[] = [
  { verdict: "a", key: "A", name: "A", rest: " is better" },
  { verdict: "b", key: "B", name: "B", rest: " is better" },
  { verdict: "both_good", key: "G", before: "Both ", name: "good" },
  { verdict: "both_bad", key: "X", before: "Both ", name: "bad" },
  { verdict: "skip", key: "S", name: "Skip" },
];
const ASKED: Record<Score, string> = { correctness: "Correct", usefulness: "Useful", voice: "Tone" };
/** Where the scores do not take the room that the answers need. */
const ROOMY = "(min-width: 60rem) and (min-height: 54rem)";

type Props = {
  draft: Draft;
  /** What keeps the verdict from being submitted. */
  problem: string | null;
  usesKeys: boolean;
  mayUndo: boolean;
  onChoose: (verdict: Verdict) => void;
  onPut: (part: Partial<Draft>) => void;
  onSubmit: () => void;
  onUndo: () => void;
};

export function VerdictBar({ draft, problem, usesKeys, mayUndo, onChoose, onPut, onSubmit, onUndo }: Props) {
  const [isOpen, setOpen] = useState(() => {
    const chosen = localStorage.getItem("console-scores");
    return chosen ? chosen === "open" : matchMedia(ROOMY).matches;
  });
  const place = useRef<HTMLElement>(null);
  // What gets the focus is scrolled to above the bar, not behind it.
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => {
      const height = entry?.target.getBoundingClientRect().height ?? 0;
      document.documentElement.style.scrollPaddingBottom = `${height + 16}px`;
    });
    if (place.current) watch.observe(place.current);
    return () => {
      watch.disconnect();
      document.documentElement.style.scrollPaddingBottom = "";
    };
  }, []);
  const isSkip = draft.verdict === "skip";
  return (
    <section className="card verdict" aria-label="Verdict" ref={place}>
      <div className="decide">
        <div className="choices" role="group" aria-label="Which answer is better?">
          {VERDICTS.map(({ verdict, key, before, name, rest }) => (
            <button
              key={verdict}
              type="button"
              aria-pressed={draft.verdict === verdict}
              onClick={() => onChoose(verdict)}
            >
              {before && <span className="rest">{before}</span>}
              <span className="name">{name}</span>
              {rest && <span className="rest">{rest}</span>} {usesKeys && <kbd>{key}</kbd>}
            </button>
          ))}
        </div>
        <button type="button" className="primary" onClick={onSubmit} disabled={problem !== null}>
          Submit {usesKeys && <kbd>Enter</kbd>}
        </button>
        <button type="button" className="quiet-button" onClick={onUndo} disabled={!mayUndo}>
          Undo<span className="rest">&nbsp;last</span> {usesKeys && <kbd>U</kbd>}
        </button>
        {!isSkip && (
          <button
            type="button"
            className="quiet-button"
            aria-expanded={isOpen}
            onClick={() => {
              setOpen(!isOpen);
              localStorage.setItem("console-scores", isOpen ? "closed" : "open");
            }}
          >
            Scores
          </button>
        )}
        <span className="quiet so-far" role="status">
          <SoFar {...{ draft, problem }} />
        </span>
      </div>
      {isSkip ? <SkipReasons {...{ draft, usesKeys, onPut, onSubmit }} /> : isOpen && (
        <Scores
          draft={draft}
          usesKeys={usesKeys}
          onScore={(score, value) => onPut({ scores: { ...draft.scores, [score]: value } })}
        />
      )}
    </section>
  );
}

/** The choice in words: keys change it without moving the focus. Its name is on the pressed button for whoever sees it. */
function SoFar({ draft, problem }: { draft: Draft; problem: string | null }) {
  const chosen = VERDICTS.find((it) => it.verdict === draft.verdict);
  if (!chosen) return problem;
  const { before = "", name, rest = "" } = chosen;
  const isSkip = draft.verdict === "skip";
  const given = SCORES.filter((score) => draft.scores[score] !== undefined && !isSkip);
  const going = goingAlong(draft);
  const more = [
    ...given.map((score) => `${ASKED[score].toLowerCase()} ${draft.scores[score]}`),
    ...(going ? [`with your correction of ${going.side.toUpperCase()}`] : []),
    ...(isSkip && draft.reason ? [draft.reason] : []),
  ];
  return (
    <>
      <span className="visually-hidden">{before + name + rest}{more.length > 0 ? ", " : ": "}</span>
      {more.length > 0 && `${more.join(", ")}: `}
      {problem ?? "ready to submit"}
    </>
  );
}

type SkipProps = Pick<Props, "draft" | "usesKeys" | "onPut" | "onSubmit">;

function SkipReasons({ draft, usesKeys, onPut, onSubmit }: SkipProps) {
  const { ready, more } = parts(draft.reason);
  return (
    <div className="more skip" role="group" aria-label="Why do you skip it?">
      <span>Why do you skip it?</span>
      {READY.map((name, i) => (
        <button
          key={name}
          type="button"
          className="small"
          aria-pressed={ready === name}
          onClick={() => onPut({ reason: whole(name, more) })}
        >
          {name} {usesKeys && <kbd>{i + 1}</kbd>}
        </button>
      ))}
      <input
        aria-label="More about it (not required)"
        placeholder="More about it (not required)"
        value={more}
        maxLength={900}
        onChange={(event) => onPut({ reason: whole(ready, event.target.value) })}
        onKeyDown={(event) => event.key === "Enter" && !event.repeat && !event.nativeEvent.isComposing && onSubmit()}
      />
    </div>
  );
}

type ScoresProps = { draft: Draft; usesKeys: boolean; onScore: (score: Score, value: number) => void };

function Scores({ draft, usesKeys, onScore }: ScoresProps) {
  const of = draft.verdict === "a" || draft.verdict === "b"
    ? `of ${draft.verdict.toUpperCase()}`
    : draft.verdict === null
    ? "of the better answer"
    : "of both";
  const about = `Scores ${of}, 1 poor to 5 excellent (not required)`;
  return (
    <div className="more scores" role="group" aria-label={about}>
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
      <span className="quiet" aria-hidden="true">
        {of}; 1 poor, 5 excellent; not required{usesKeys && (
          <>
            <kbd>1</kbd>–<kbd>5</kbd> one after the other, <kbd>0</kbd> clears all
          </>
        )}
      </span>
    </div>
  );
}
