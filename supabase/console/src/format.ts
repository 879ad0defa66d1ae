/** How figures and times are written: with units, in the viewer's language and zone. Knows nothing of what they mean. */
const time = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });
const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const dollars = new Intl.NumberFormat("en-US", {
  style: "currency",
  currency: "USD",
  minimumFractionDigits: 2,
  maximumFractionDigits: 4,
});

export const NONE = "–";

export const count = (value: number | null | undefined) => value == null ? NONE : whole.format(value);
export const percent = (value: number | null | undefined) =>
  value == null || Number.isNaN(value) ? NONE : `${tenths.format(100 * value)}\u00a0%`;
export const usd = (value: number | null | undefined) => value == null ? NONE : dollars.format(value);
/** Milliseconds as a person says them: 900 ms, 1.2 s, 45 s, 3 min. */
export function duration(value: number | null | undefined): string {
  if (value == null) return NONE;
  if (value < 1000) return `${whole.format(value)} ms`;
  if (value < 9_950) return `${tenths.format(value / 1000)} s`;
  return value < 119_500 ? `${whole.format(value / 1000)} s` : minutes(Math.round(value / 60_000));
}
export const figure = (value: number | null | undefined, digits = 2) =>
  value == null || Number.isNaN(value) ? NONE : value.toFixed(digits);
export const at = (value: string | null | undefined) => value ? time.format(new Date(value)) : NONE;
export const clockTime = (value: string) => clock.format(new Date(value));
/** A calendar day (UTC) as the database names it. */
export const day = (value: string | null | undefined) => value ? date.format(new Date(`${value}T00:00:00Z`)) : NONE;
export const plural = (n: number, one: string, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export function megabytes(bytes: number | null | undefined): string {
  return bytes == null ? NONE : `${(bytes / 1e6).toFixed(0)} MB`;
}

/** Minutes as a person says them: 45 min, 3 h, 2 h 15 min. */
export function minutes(value: number): string {
  if (value < 60) return `${value} min`;
  const [hours, rest] = [Math.floor(value / 60), value % 60];
  return rest && hours < 10 ? `${hours} h ${rest} min` : `${count(Math.round(value / 60))} h`;
}

/** `levels_agree` as words. */
export const words = (name: string) => name.replaceAll("_", " ");
