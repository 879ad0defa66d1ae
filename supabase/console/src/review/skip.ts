/** Why a pair is skipped: ready reasons, each with room for more, kept as one text. */
export const READY = [
  "I do not know this kind of work",
  "The task is unreadable",
  "Both are the same",
  "Other",
] as const;

/** `Other: no time` as ["Other", "no time"]; a text of one's own counts as Other. */
export function parts(reason: string): { ready: string; more: string } {
  const ready = READY.find((name) => reason === name || reason.startsWith(`${name}: `));
  if (ready) return { ready, more: reason.slice(ready.length + 2) };
  return reason === "" ? { ready: "", more: "" } : { ready: "Other", more: reason };
}

export function whole(ready: string, more: string): string {
  return more === "" ? ready : `${ready || "Other"}: ${more}`;
}
