const said = new Set<string>();

/** Writes a line to the log once in this worker's life: for what the operator must mend, not for what happens per request. */
export function warnOnce(line: string): void {
  if (said.has(line)) return;
  said.add(line);
  console.warn(line);
}
