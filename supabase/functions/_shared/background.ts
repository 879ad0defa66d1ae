declare const EdgeRuntime: { waitUntil(work: Promise<unknown>): void } | undefined;

/** Lets work go on after the answer is sent. The platform keeps the worker alive for it; elsewhere the process does. */
export function background(work: Promise<unknown>): void {
  const settled = work.catch((error: unknown) => console.error(error instanceof Error ? error.message : String(error)));
  if (typeof EdgeRuntime !== "undefined") EdgeRuntime.waitUntil(settled);
}
