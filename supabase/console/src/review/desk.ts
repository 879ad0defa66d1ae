/**
 * Owns a reviewer's desk: the pairs they hold, what they said that is still to be sent, and what they can take back. It
 * outlives a reload and a lost connection. Pure, but for `load` and `save`; knows nothing of how a verdict is sent.
 */
import type { Answer, Next, Pair, Review, Score, Verdict } from "../shapes.ts";

/** What waits to be sent, in order. `tried`: it may have arrived although nobody said so. */
export type Operation = { kind: "submit"; review: Review; tried: boolean } | {
  kind: "undo";
  id: string;
  tried: boolean;
};
export type Side = "a" | "b";
export type Edit = { side: Side; answer: Answer };
export type Draft = {
  item_id: string;
  verdict: Verdict | null;
  scores: Partial<Record<Score, number>>;
  /** Being written, not kept yet: never sent. */
  edit: Edit | null;
  /** Written and dropped: can be brought back. */
  dropped: Edit | null;
  /** Kept; `under` is the verdict at that time. */
  correction: Edit & { under: Verdict | null } | null;
  reason: string;
  seconds: number;
};
export type Desk = {
  held: Pair[];
  waiting: Operation[];
  /** `isOld`: judged before this desk was opened. */
  past: { pair: Pair; review: Review; isOld?: boolean }[];
  /** What was said so far of pairs that are held, by pair. */
  drafts: Record<string, Draft>;
  done: number;
  skipped: number;
  left: number;
  /** What the database would not take, and why. */
  refused: string[];
};

const MOST_PAST = 20;

export const empty: Desk = { held: [], waiting: [], past: [], drafts: {}, done: 0, skipped: 0, left: 0, refused: [] };

export function draftFor(pair: Pair): Draft {
  return {
    item_id: pair.id,
    verdict: null,
    scores: {},
    edit: null,
    dropped: null,
    correction: null,
    reason: "",
    seconds: 0,
  };
}

/** The correction that is sent with the verdict: one of the chosen answer, or one that was kept under this very verdict. */
export function goingAlong({ verdict, correction }: Draft): Edit | null {
  if (!correction || verdict === null || verdict === "skip") return null;
  return correction.side === verdict || correction.under === verdict ? correction : null;
}

/** The pair in front of the reviewer, with what they have said of it so far. */
export function current(desk: Desk): { pair: Pair; draft: Draft } | null {
  const pair = desk.held[0];
  if (!pair) return null;
  return { pair, draft: { ...draftFor(pair), ...desk.drafts[pair.id] } };
}

/** More is said of the pair in front; nothing, where that is another one by now. */
export function drafted(desk: Desk, item_id: string, part: Partial<Draft>): Desk {
  const now = current(desk);
  if (now?.pair.id !== item_id) return desk;
  return { ...desk, drafts: { ...desk.drafts, [item_id]: { ...now.draft, ...part } } };
}

function without(drafts: Desk["drafts"], item_id: string): Desk["drafts"] {
  return Object.fromEntries(Object.entries(drafts).filter(([id]) => id !== item_id));
}

export function submitted(desk: Desk, review: Review): Desk {
  const [pair, ...held] = desk.held;
  if (!pair || pair.id !== review.item_id) return desk;
  return {
    ...desk,
    held,
    waiting: [...desk.waiting, { kind: "submit", review, tried: false }],
    past: [...desk.past, { pair, review }].slice(-MOST_PAST),
    drafts: without(desk.drafts, pair.id),
    ...counted(desk, review, 1),
    left: Math.max(0, desk.left - 1),
  };
}

/** A skipped pair is not a judged one. */
function counted({ done, skipped }: Desk, { verdict }: Review, by: 1 | -1): Pick<Desk, "done" | "skipped"> {
  return verdict === "skip" ? { done, skipped: skipped + by } : { done: done + by, skipped };
}

/** Takes the last verdict back: what was never sent is forgotten, what may have been is revoked. */
export function undone(desk: Desk): Desk {
  const last = desk.past.at(-1);
  if (!last) return desk;
  const { pair, review } = last;
  const isUnsent = desk.waiting.some((it) => it.kind === "submit" && it.review.id === review.id && !it.tried);
  const waiting: Operation[] = isUnsent
    ? desk.waiting.filter((it) => it.kind !== "submit" || it.review.id !== review.id)
    : [...desk.waiting, { kind: "undo", id: review.id, tried: false }];
  const scores = { correctness: review.correctness, usefulness: review.usefulness, voice: review.voice };
  return {
    ...desk,
    held: [pair, ...desk.held],
    waiting,
    past: desk.past.slice(0, -1),
    drafts: {
      ...desk.drafts,
      [pair.id]: {
        ...draftFor(pair),
        verdict: review.verdict,
        scores: Object.fromEntries(Object.entries(scores).filter(([, value]) => value !== null)),
        correction: review.corrected && review.corrected_of
          ? { side: review.corrected_of, answer: review.corrected, under: review.verdict }
          : null,
        reason: review.reason ?? "",
        seconds: review.seconds,
      },
    },
    ...counted(desk, review, -1),
    left: desk.left + 1,
  };
}

/**
 * More pairs from the database; what is on the desk, or was judged here, does not come twice. `isCounted`: nothing was
 * judged while the answer was on its way, so its counts are right.
 */
export function received(desk: Desk, next: Next, isCounted: boolean): Desk {
  const unsent = desk.waiting.flatMap((it) => it.kind === "submit" ? [it.review.item_id] : []);
  const known = new Set([...desk.held.map((pair) => pair.id), ...unsent, ...desk.past.map((it) => it.pair.id)]);
  const held = [...desk.held, ...next.items.filter((pair) => !known.has(pair.id))];
  return isCounted ? { ...desk, held, done: next.done, skipped: next.skipped, left: next.left } : { ...desk, held };
}

/** What was judged last, before this desk was opened: it can be taken back too. */
export function remembered(desk: Desk, last: { pair: Pair; review: Review } | null): Desk {
  if (!last || desk.past.length > 0 || desk.waiting.length > 0 || desk.held.some((it) => it.id === last.pair.id)) {
    return desk;
  }
  return { ...desk, past: [{ ...last, isOld: true }] };
}

export function tried(desk: Desk): Desk {
  return { ...desk, waiting: desk.waiting.map((it, i) => i === 0 ? { ...it, tried: true } : it) };
}

/** The first operation is through; a refusal says why it was not taken. */
export function sent(desk: Desk, refusal: string | null): Desk {
  return { ...desk, waiting: desk.waiting.slice(1), refused: refusal ? [...desk.refused, refusal] : desk.refused };
}

/** The first operation is through, but the database kept an earlier verdict on this pair: there is none to take back. */
export function judgedAlready(desk: Desk, review: Review): Desk {
  const pairs = [...desk.past.map((it) => it.pair), ...desk.held];
  const title = pairs.find((pair) => pair.id === review.item_id)?.prompt_input.title;
  const refusal = `${title ? `“${title}”` : "a pair"} had been judged by you already, and that verdict stays`;
  const after = sent(desk, refusal);
  return {
    ...after,
    held: after.held.filter((pair) => pair.id !== review.item_id),
    waiting: after.waiting.filter((it) => it.kind !== "undo" || it.id !== review.id),
    past: after.past.filter((it) => it.review.id !== review.id),
    drafts: without(after.drafts, review.item_id),
  };
}

const place = (user: string) => `console-desk-${user}`;

/** A desk as it was kept, also by an earlier console, which knew of one draft only. */
export function restored({ draft, ...kept }: Partial<Desk> & { draft?: Draft | null }): Desk {
  return { ...empty, ...(draft ? { drafts: { [draft.item_id]: draft } } : {}), ...kept };
}

export function load(user: string): Desk {
  try {
    return restored(JSON.parse(localStorage.getItem(place(user)) ?? "{}"));
  } catch {
    return empty;
  }
}

export function save(user: string, desk: Desk): void {
  localStorage.setItem(place(user), JSON.stringify(desk));
}

/** Other people's words do not stay behind in the browser. */
export function clear(user: string): void {
  localStorage.removeItem(place(user));
}
