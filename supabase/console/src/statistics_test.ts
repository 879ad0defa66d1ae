/** The statistics against what kept libraries say of the same data: test/statistics.json holds data, results and their versions. */
import assert from "node:assert/strict";
import { bootstrap, cohen, interval, krippendorff, nominal, quantile, wilson } from "./statistics.ts";
import known from "../test/statistics.json" with { type: "json" };

const near = (got: number, wanted: number, within = 1e-9) =>
  assert.ok(Math.abs(got - wanted) < within, `${got} is not ${wanted}`);

Deno.test("krippendorff() is krippendorff 0.8's alpha, nominal and interval, with units of one, two and three", () => {
  near(krippendorff(known.units, nominal), known.nominal);
  near(krippendorff(known.units, interval), known.interval);
});

Deno.test("krippendorff() of complete agreement is 1, and of nothing to compare is not known", () => {
  near(krippendorff([[1, 1], [2, 2], [3, 3]]), 1);
  assert.ok(Number.isNaN(krippendorff([[1], [2]])));
  assert.ok(Number.isNaN(krippendorff([[1, 1], [1, 1]])));
});

Deno.test("cohen() is scikit-learn's cohen_kappa_score", () => {
  near(
    cohen(known.units.filter((unit) => unit.length > 1).map((unit): [number, number] => [unit[0]!, unit[1]!])),
    known.kappa,
  );
});

Deno.test("wilson() is statsmodels' proportion_confint", () => {
  for (const [wins, n, low, high] of known.wilson as [number, number, number, number][]) {
    near(wilson(wins, n).low, low);
    near(wilson(wins, n).high, high);
  }
});

Deno.test("bootstrap() is SciPy's percentile interval, as far as chance lets two draws agree", () => {
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const { value, low, high } = bootstrap(known.bootstrap.values, mean, 20_000);
  near(value, known.bootstrap.mean);
  near(low, known.bootstrap.low, 0.02);
  near(high, known.bootstrap.high, 0.02);
  assert.deepEqual(bootstrap([1, 2, 3, 4], mean), bootstrap([1, 2, 3, 4], mean));
});

Deno.test("quantile() is NumPy's", () => {
  const sorted = [...known.bootstrap.values].sort((a, b) => a - b);
  for (const [share, wanted] of known.quantiles as [number, number][]) near(quantile(sorted, share), wanted);
});
