/**
 * The operator's page of a project with two months behind it: plots, training, lineage and the reports, in a browser, at 360 px
 * and at 4K too. Comes after the others: every reviewer may be given pairs of the evaluation that it leaves behind.
 *
 * scripts/test console
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { DAYS, seedRequests, seedTraining } from "./history.mjs";
import { assertClean, assertReadable, browser, open, page, person, service } from "./stack.mjs";

const olu = await person("Olu Ade", "developer", randomUUID());
let seeded;
before(async () => {
  await service("/rest/v1/slm_console_people", { user_id: olu.id, role: "operator", org_id: null, let_in_by: "test" });
  await service("/rest/v1/slm_machine_prices", {
    valid_from: new Date(Date.now() - DAYS * 86_400_000).toISOString().slice(0, 10),
    usd_per_hour: 0.00005,
  });
  await seedRequests(olu.org, olu.id);
  seeded = await seedTraining();
});
after(() => browser.close());

const PAGES = {
  figures: "operator/figures?days=90",
  rollout: "operator/rollout",
  models: "operator/models",
  data: "operator/data",
  evaluation: "operator/evaluation",
};

async function look(tab, name, size) {
  await tab.goto(`${page}#/${PAGES[name]}`);
  await tab.getByText(/^As of/).first().waitFor();
  await tab.waitForTimeout(300);
  await assertReadable(tab, `seeded-${name}${size}`);
}

test("two months of figures, a run under way and models with what they came from are shown", async () => {
  const { tab, context, ...rest } = await open(olu);
  await look(tab, "figures", "");
  const share = await tab.getByRole("img", { name: /^Local share: / }).getAttribute("aria-label");
  assert.match(share, /Local share \d/);
  assert.equal(await tab.locator(".chart canvas").count(), 3);

  await look(tab, "rollout", "");
  await look(tab, "models", "");
  const now = tab.getByRole("region", { name: "Training now" });
  await now.getByText(/Step 87 of 240, loss 0.412, 396 tokens\/s/).waitFor();
  assert.equal(await now.getByRole("progressbar", { name: "Steps" }).evaluate((bar) => bar.value / bar.max), 87 / 240);
  await tab.getByRole("img", { name: /^Calibration: 0.30 means 0.10/ }).waitFor();
  const model = tab.getByRole("row", { name: /smollm2-135m-7 risk active/ });
  await model.getByText("8 of 8").waitFor();
  await model.getByRole("link", { name: seeded.dataset.id.slice(0, 10) }).click();
  await tab.getByRole("heading", { name: "Data report: risk" }).waitFor();
  assert.match(tab.url(), new RegExp(`operator/data\\?id=${seeded.dataset.id}`));
  await tab.goBack();
  await model.getByRole("link", { name: /20\d\d/ }).click();
  await tab.getByRole("heading", { name: "Evaluation report: risk" }).waitFor();
  assertClean(rest);
  await context.close();
});

test("the data report is one click away, as tables and plots of what the trainer counted", async () => {
  const { tab, context, ...rest } = await open(olu);
  await tab.getByRole("link", { name: "Data report" }).click();
  await tab.getByRole("heading", { name: /^Data report: / }).waitFor();
  await tab.getByRole("navigation", { name: "Newest of each feature" }).getByRole("link", { name: "risk" }).click();
  await tab.getByRole("heading", { name: "Data report: risk" }).waitFor();
  const counted = seeded.dataset.manifest.report;
  const origins = tab.getByRole("region", { name: "Where the examples come from" });
  for (const [origin, rows] of Object.entries(counted.origins)) {
    await origins.getByRole("row", { name: new RegExp(`^${origin} .* ${rows} `) }).waitFor();
  }
  const reasons = tab.getByRole("region", { name: "Left out by cleaning" });
  await reasons.getByRole("row", { name: /own answer/ }).waitFor();
  assert.deepEqual(
    await reasons.getByRole("rowheader").allTextContents(),
    counted.reasons.map(([reason]) => reason.replaceAll("_", " ")),
  );
  await tab.getByText("no leak is left").waitFor();
  await tab.getByRole("img", { name: /^Conversations by tokens/ }).waitFor();
  assert.ok(await tab.locator(".heat-5").count() > 0);
  await assertReadable(tab, "seeded-data");
  assertClean(rest);
  await context.close();
});

test("the evaluation report is one click away, with what the confidence is worth", async () => {
  const { tab, context, ...rest } = await open(olu);
  await tab.getByRole("link", { name: "Evaluation report" }).click();
  await tab.getByRole("heading", { name: /^Evaluation report: / }).waitFor();
  await tab.getByRole("navigation", { name: "Newest of each feature" }).getByRole("link", { name: "risk" }).click();
  await tab.getByRole("heading", { name: "Evaluation report: risk" }).waitFor();
  await tab.getByRole("region", { name: "Scores" }).getByRole("row", { name: /^accepted \d/ }).waitFor();
  await tab.getByRole("region", { name: "Differences" }).getByRole("cell", { name: "better" }).first().waitFor();
  const [before, after] = [/^Calibration as the model says it: /, /^Calibration after calibration/];
  for (const name of [before, after]) {
    assert.match(await tab.getByRole("img", { name }).getAttribute("aria-label"), /confidence \d.*right, n = \d/);
  }
  await tab.getByRole("region", { name: "Levels of smollm2-135m-7" }).waitFor();
  await assertReadable(tab, "seeded-evaluation");
  const [file] = await Promise.all([
    tab.waitForEvent("download"),
    tab.getByRole("button", { name: "Save Calibration as CSV" }).click(),
  ]);
  assert.equal(file.suggestedFilename(), "calibration.csv");
  assertClean(rest);
  await context.close();
});

for (const [name, width, height] of [["-360", 360, 740], ["-4k", 3840, 2160]]) {
  test(`everything can be read at ${width} px`, async () => {
    const { tab, context, ...rest } = await open(olu, { width, height });
    for (const name_ of Object.keys(PAGES)) await look(tab, name_, name);
    assertClean(rest);
    await context.close();
  });
}
