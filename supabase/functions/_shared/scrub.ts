/** How many of each kind were taken out. */
export type Counts = Record<string, number>;

export type Scrubbed<T> = {
  value: T;
  counts: Counts;
  /** The answer with the placeholders turned back into what stood there. */
  restore<A>(answer: A): A;
};

/** What may never leave, most specific first. Each kind becomes a numbered placeholder such as [email 1]. */
const KINDS: [name: string, pattern: RegExp][] = [
  [
    "url",
    /\b(?:https?|ftp|wss?|postgres(?:ql)?|mongodb(?:\+srv)?|redis):\/\/[^\s<>"')\]]+|\bwww\.[^\s<>"')\]]+|(?<![\w@.-])(?:[a-z0-9-]{1,63}\.){1,5}[a-z]{2,12}\/[^\s<>"')\]]*/gi,
  ],
  ["token", /\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}/g],
  ["secret", /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g],
  [
    "secret",
    /\b(?:sk|pk|rk|sb|gh[pousr]|glpat|xox[abprs]|hf|AIza|ya29|whsec|npm|dop_v1|shpat)[-_][\w-]{8,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{30,}/g,
  ],
  ["secret", /\b(?:password|passwd|pwd|secret|api[ _-]?key|token)\s*[:=]\s*[^\s,;]{4,}/gi],
  ["email", /(?<![\p{L}\p{N}._%+'-])[\p{L}\p{N}._%+'-]{1,64}@[\p{L}\p{N}-]{1,63}(?:\.[\p{L}\p{N}-]{1,63}){1,8}/gu],
  ["id", /\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/gi],
  ["secret", /(?<![A-Za-z0-9+/_-])(?=[A-Za-z+/_-]*\d)(?=[\d+/_-]*[A-Za-z])[A-Za-z0-9+/_-]{32,}={0,2}/g],
  ["phone", /(?<!\d|\d[.:-])(?:\+|00)?\(?\d{1,4}\)?(?:[ ./–-]{0,3}\(?\d{2,5}\)?){2,5}(?!\d)/g],
];
/** Phone numbers have at least this many digits; fewer are figures of the task. */
const PHONE_DIGITS = 8;
const DATE = /^(?:\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{4})(?:[ T]\d{1,4})?$/;

/**
 * Takes personal data and secrets out of every text in `value`, whatever its shape. `names` are full names of people;
 * each part of a name of three letters or more counts, as a whole word, in any case. What lies under a key in `spared`
 * stays as it is: words of our own, of which a person's name may be one (Low, Min, Pace).
 */
export function scrub<T>(value: T, names: string[], spared: ReadonlySet<string> = new Set()): Scrubbed<T> {
  const kept = new Map<string, string>();
  const placeholders = new Map<string, string>();
  const counts: Counts = {};
  const replace = (kind: string, found: string): string => {
    counts[kind] = (counts[kind] ?? 0) + 1;
    const key = `${kind} ${found.toLowerCase()}`;
    let placeholder = placeholders.get(key);
    if (placeholder === undefined) {
      const number = [...placeholders.keys()].filter((other) => other.startsWith(`${kind} `)).length + 1;
      placeholder = `[${kind} ${number}]`;
      placeholders.set(key, placeholder);
      kept.set(placeholder, found);
    }
    return placeholder;
  };
  const name = namePattern(names);
  const clean = (raw: string): string => {
    let text = raw.normalize("NFC");
    for (const [kind, pattern] of KINDS) {
      text = text.replace(pattern, (found) => isFigure(kind, found) ? found : replace(kind, found));
    }
    return name ? text.replace(name, (found) => replace("name", found)) : text;
  };
  const scrubbed = inTexts(value, clean, spared) as T;
  const restore = <A>(answer: A): A =>
    inTexts(answer, (text) => text.replace(/\[[a-z]+ \d+\]/g, (found) => kept.get(found) ?? found)) as A;
  return { value: scrubbed, counts, restore };
}

function isFigure(kind: string, found: string): boolean {
  return kind === "phone" && (found.replace(/\D/g, "").length < PHONE_DIGITS || DATE.test(found.trim()));
}

function namePattern(names: string[]): RegExp | null {
  const parts = new Set(
    names.map((name) => name.normalize("NFC").trim()).flatMap((name) => [
      name,
      ...name.split(/[^\p{L}\p{M}'’]+/u).filter((part) => [...part].length >= 3),
    ]).filter((part) => [...part].length >= 2),
  );
  if (parts.size === 0) return null;
  const escaped = [...parts].sort((a, b) => b.length - a.length).map((part) =>
    part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
  );
  // Scripts without spaces between words have no word boundary: there a name counts wherever it stands.
  const bounded = (part: string) =>
    /^[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}]+$/u.test(part)
      ? part
      : `(?<![\\p{L}\\p{N}])${part}(?![\\p{L}\\p{N}])`;
  return new RegExp(escaped.map(bounded).join("|"), "giu");
}

/** The same value with every text in it changed; keys stay, and what lies under a key in `spared`. */
function inTexts(value: unknown, change: (text: string) => string, spared: ReadonlySet<string> = new Set()): unknown {
  if (typeof value === "string") return change(value);
  if (Array.isArray(value)) return value.map((item) => inTexts(item, change, spared));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, spared.has(key) ? item : inTexts(item, change, spared)]),
    );
  }
  return value;
}
