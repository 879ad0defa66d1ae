const utf8 = new TextEncoder();

/** A character that is no ASCII may cost a small model a token for each of its bytes: a text's bytes are bounded too. */
const BYTES_PER_CHARACTER = 2;

/**
 * Text of at most `limit` characters (code points) and twice as many bytes, cut at a word boundary where there is one
 * near; says whether it cut.
 */
export function shorten(text: string, limit: number): { text: string; cut: boolean } {
  const characters = Array.from(text);
  if (fits(characters, limit)) return { text, cut: false };
  const kept = longest(characters, limit - 1).join("");
  const boundary = kept.search(/\s\S*$/);
  const words = boundary > kept.length / 2 ? kept.slice(0, boundary) : kept;
  return { text: `${words.trimEnd()}…`, cut: true };
}

function fits(characters: string[], limit: number): boolean {
  return characters.length <= limit && utf8.encode(characters.join("")).length <= limit * BYTES_PER_CHARACTER;
}

function longest(characters: string[], limit: number): string[] {
  let [bytes, end] = [0, 0];
  for (const character of characters.slice(0, limit)) {
    bytes += utf8.encode(character).length;
    if (bytes > limit * BYTES_PER_CHARACTER) break;
    end++;
  }
  return characters.slice(0, end);
}
