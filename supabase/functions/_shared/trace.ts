/** A request's ids on their way to the private model: the ledger's, and its place in a W3C trace. */
export type Ids = { request: string; traceparent: string };

const HEADER =
  /^(?<version>[0-9a-f]{2})-(?<trace>[0-9a-f]{32})-(?<parent>[0-9a-f]{16})-(?<flags>[0-9a-f]{2})(?<more>-.*)?$/;

/**
 * The `traceparent` to send on: a new span of the caller's trace. A caller without a well-formed one begins a trace whose
 * id is the request's own without its dashes, so that ledger, logs and trace are found by the same id.
 */
export function traceparent(incoming: string | null, requestId: string): string {
  const given = read(incoming);
  const span = crypto.randomUUID().replaceAll("-", "").slice(0, 16);
  return given ? `00-${given.trace}-${span}-${given.flags}` : `00-${requestId.replaceAll("-", "")}-${span}-01`;
}

/** The trace's id and the one flag of it that is known, null for a header that must be ignored. */
function read(header: string | null): { trace: string; flags: string } | null {
  const { version, trace, parent, flags, more } = header?.match(HEADER)?.groups ?? {};
  if (!trace || !parent || !flags || version === "ff" || (version === "00" && more !== undefined)) return null;
  if (/^0+$/.test(trace) || /^0+$/.test(parent)) return null;
  return { trace, flags: parseInt(flags, 16) & 1 ? "01" : "00" };
}
