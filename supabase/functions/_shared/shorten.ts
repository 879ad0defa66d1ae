/** Text of at most `limit` characters (code points), cut at a word boundary where there is one near; says whether it cut. */
export function shorten(text: string, limit: number): { text: string; cut: boolean } {
  const characters = Array.from(text);
  if (characters.length <= limit) return { text, cut: false };
  const kept = characters.slice(0, limit - 1).join("");
  const boundary = kept.search(/\s\S*$/);
  const words = boundary > kept.length / 2 ? kept.slice(0, boundary) : kept;
  return { text: `${words.trimEnd()}…`, cut: true };
}
