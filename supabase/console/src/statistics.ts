/**
 * Owns the statistics of reviews: shares with intervals, agreement between people, agreement of metrics with people.
 * Pure; checked in statistics_test.ts against SciPy, statsmodels, scikit-learn and krippendorff.
 */
export type Interval = { value: number; low: number; high: number; n: number };

const Z = 1.959963984540054;

/** A share of `n` with its 95 % Wilson score interval (Wilson 1927); `wins` may hold halves for ties. NaN where n is 0. */
export function wilson(wins: number, n: number): Interval {
  const p = wins / n;
  const middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n);
  const half = Z * Math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n);
  return { value: p, low: Math.max(0, middle - half), high: Math.min(1, middle + half), n };
}

export type Distance = (a: number, b: number) => number;
export const nominal: Distance = (a, b) => a === b ? 0 : 1;
export const interval: Distance = (a, b) => (a - b) ** 2;

/**
 * Krippendorff's alpha (2011, "Computing Krippendorff's Alpha-Reliability") of units × values, where a unit holds what
 * each reviewer said of it. Units with one value say nothing. NaN where there is nothing to compare or no variation.
 */
export function krippendorff(units: readonly (readonly number[])[], distance: Distance = nominal): number {
  const told = units.filter((unit) => unit.length > 1);
  const counts = new Map<number, number>();
  let observed = 0;
  for (const unit of told) {
    for (const [i, a] of unit.entries()) {
      counts.set(a, (counts.get(a) ?? 0) + 1);
      for (const [j, b] of unit.entries()) if (i !== j) observed += distance(a, b) / (unit.length - 1);
    }
  }
  const n = told.reduce((sum, unit) => sum + unit.length, 0);
  let expected = 0;
  for (const [a, times] of counts) for (const [b, others] of counts) expected += times * others * distance(a, b);
  return expected === 0 ? NaN : 1 - (n - 1) * observed / expected;
}

/** Cohen's kappa (1960) of two people's answers to the same units. NaN where both always say one and the same thing. */
export function cohen(pairs: readonly (readonly [number, number])[]): number {
  const n = pairs.length;
  const [mine, theirs] = [new Map<number, number>(), new Map<number, number>()];
  let same = 0;
  for (const [a, b] of pairs) {
    same += a === b ? 1 : 0;
    mine.set(a, (mine.get(a) ?? 0) + 1);
    theirs.set(b, (theirs.get(b) ?? 0) + 1);
  }
  const chance = [...mine].reduce((sum, [value, times]) => sum + times * (theirs.get(value) ?? 0), 0) / (n * n);
  return (same / n - chance) / (1 - chance);
}

/** A figure of `units` with its 95 % percentile bootstrap interval (Efron 1979) over units; the same seed, the same interval. */
export function bootstrap<T>(units: readonly T[], figure: (units: T[]) => number, rounds = 1000, seed = 1): Interval {
  const draw = random(seed);
  const seen: number[] = [];
  for (let round = 0; round < rounds && units.length > 0; round++) {
    const value = figure(Array.from(units, () => units[Math.floor(draw() * units.length)]!));
    if (!Number.isNaN(value)) seen.push(value);
  }
  seen.sort((a, b) => a - b);
  return { value: figure([...units]), low: quantile(seen, 0.025), high: quantile(seen, 0.975), n: units.length };
}

/** The quantile of sorted values, with straight lines between them (type 7 of Hyndman and Fan 1996). NaN where there are none. */
export function quantile(sorted: readonly number[], share: number): number {
  const place = (sorted.length - 1) * share;
  const [below, above] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  return below === undefined || above === undefined ? NaN : below + (above - below) * (place - Math.floor(place));
}

/** Numbers from 0 to 1, always the same for a seed (mulberry32). */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
