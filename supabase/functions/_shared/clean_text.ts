// deno-lint-ignore no-control-regex
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]/g;

/** Whether a text holds what no layer should: control characters other than line ends, halves of characters. */
export function isUnclean(text: string): boolean {
  return text !== text.toWellFormed() || text.search(CONTROL) >= 0;
}

/**
 * Text that every layer can hold: no lone surrogates (they are no UTF-8), no NUL (PostgreSQL refuses it), no control
 * characters, line ends as `\n`. Anything but a string is empty text.
 */
export function cleanText(value: unknown): string {
  if (typeof value !== "string") return "";
  return value.replaceAll("\r\n", "\n").replaceAll("\r", "\n").toWellFormed().replace(CONTROL, "").trim();
}
