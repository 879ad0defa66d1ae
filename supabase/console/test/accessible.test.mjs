/**
 * A whole review for those who do not see the page, by its accessibility tree; and thirty verdicts by keyboard alone.
 *
 * scripts/test console
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { requests } from "./pairs.mjs";
import { assertClean, assertReadable, browser, open, person, pictures, service, until } from "./stack.mjs";

const VERDICTS = 30;
const org = randomUUID();
const [rita, kofi] = [await person("Rita Moss", "manager", org), await person("Kofi Ansah", "manager", org)];
before(async () => {
  for (const { id } of [rita, kofi]) {
    await service("/rest/v1/slm_console_people", { user_id: id, role: "reviewer", org_id: org, let_in_by: "test" });
  }
  await service("/rest/v1/slm_requests", requests(org, rita.id, VERDICTS + 4));
  await service("/rest/v1/rpc/slm_fill_reviews", { p_open: 500 });
});
after(() => browser.close());

const title = (tab) => tab.locator("#input-title").textContent();
const told = (tab, text) => tab.locator(".told[role=status]").filter({ hasText: text }).waitFor();
/** Where the lines of a snapshot are, in their order. */
const places = (tree, lines) => lines.map((line) => tree.search(line));

test("a review can be followed from the task to the verdict, with what was saved and undone said aloud", async () => {
  const { tab, context, ...rest } = await open(rita);
  await tab.getByRole("heading", { name: "Answer A" }).waitFor();
  assert.match(
    await tab.locator("body").ariaSnapshot(),
    /link "Skip to content"[\s\S]*banner:[\s\S]*navigation "Pages":[\s\S]*main:/,
  );
  const first = await title(tab);
  const tree = await tab.getByRole("main").ariaSnapshot();
  const found = places(tree, [
    /heading "Which answer is better\?" \[(active\] \[)?level=1\]/,
    new RegExp(`region "${first}":`),
    new RegExp(`heading "${first}" \\[level=2\\]`),
    /region "Answer A"/,
    /heading "Answer A" \[level=2\]/,
    /button "A is better"/,
    /list/,
    /region "Answer B"/,
    /heading "Answer B" \[level=2\]/,
    /region "Verdict":/,
    /group "Which answer is better\?":/,
    /radiogroup "Correct":/,
    /button "Submit Enter" \[disabled\]/,
    /status: "?Choose a verdict/,
  ]);
  assert.ok(found.every((place) => place >= 0), `${found}\n${tree}`);
  assert.match(tree, /progressbar "(Pairs judged|Work done, percent|Time used, percent)"/);
  assert.equal(await tab.evaluate(() => document.activeElement?.tagName), "H1", "reading begins with what is asked");

  for (const key of ["a", "5", "4", "3"]) await tab.keyboard.press(key);
  const verdict = tab.getByRole("region", { name: "Verdict" });
  assert.match(await verdict.ariaSnapshot(), /status: "?A is better, correct 5, useful 4, tone 3: ready to submit/);
  assert.match(await verdict.ariaSnapshot(), /button "A is better A" \[pressed\]/);
  assert.match(await verdict.ariaSnapshot(), /radio "5" \[checked\]/);

  await tab.keyboard.press("Enter");
  await until(async () => await title(tab) !== first, "the next pair");
  const second = await title(tab);
  await told(tab, `Saved. Next pair: ${second}`);
  assert.equal(await tab.evaluate(() => document.activeElement?.tagName), "H1");
  await tab.keyboard.press("u");
  await told(tab, `Undone: your verdict is taken back. ${first}`);
  assert.match(
    await verdict.ariaSnapshot(),
    /status: "?A is better, correct 5, useful 4, tone 3: ready to submit/,
    "as it was said",
  );

  // A correction: the focus goes in and comes back, and what is wrong is said.
  await tab.keyboard.press("e");
  const editor = tab.getByRole("group", { name: "Edit answer A" });
  assert.match(await editor.ariaSnapshot(), /(combobox "Risk level"|textbox "Title")/);
  assert.ok(await editor.evaluate((it) => it.contains(document.activeElement)), "writing begins at once");
  const text = editor.getByRole("textbox").first();
  const before = await text.inputValue();
  await text.fill("No");
  assert.match(await editor.ariaSnapshot(), /alert:[\s\S]*too short/);
  assert.match(await editor.ariaSnapshot(), /button "Keep correction Ctrl\+Enter" \[disabled\]/);
  await text.fill(`${before.replace(/\.$/, "")}, as I see it.`);
  await assertReadable(tab, "reader-correction");
  await editor.getByRole("button", { name: "Keep correction" }).click();
  await told(tab, "Your correction is kept and goes along with your verdict.");
  assert.equal(await tab.evaluate(() => document.activeElement?.tagName), "H1");
  await tab.keyboard.press("Enter");
  await told(tab, `Saved. Next pair: ${second}`);
  const [corrected] = await until(async () => {
    const rows = await service(`/rest/v1/slm_reviews?reviewer=eq.${rita.id}&corrected=not.is.null&undone_at=is.null`);
    return rows.length > 0 && rows;
  }, "the correction");
  assert.deepEqual([corrected.correctness, corrected.usefulness, corrected.voice], [5, 4, 3]);

  await context.setOffline(true);
  for (const key of ["g", "Enter"]) await tab.keyboard.press(key);
  await tab.locator(".counted [role=status]").getByText("No connection: nothing is lost").waitFor();
  for (const key of ["g", "Enter"]) await tab.keyboard.press(key);
  await told(tab, "Kept in this browser, to be sent later.");
  await context.setOffline(false);
  await until(
    async () => (await service(`/rest/v1/slm_reviews?reviewer=eq.${rita.id}&undone_at=is.null`)).length === 3,
    "what was said offline",
  );
  assertClean(rest);
  await context.close();
});

test("thirty verdicts with all their scores, by keyboard alone", async (t) => {
  const began = performance.now();
  const { tab, context, ...rest } = await open(kofi);
  await tab.getByRole("heading", { name: "Answer A" }).waitFor();
  const opened = performance.now() - began;
  if (pictures) await tab.screenshot({ path: `${pictures}/first-screen.png` });
  let [strokes, waited] = [0, 0];
  const press = async (key) => {
    await tab.keyboard.press(key);
    strokes++;
  };
  for (let given = 0; given < VERDICTS; given++) {
    for (const key of ["abgx"[given % 4], "4", "5", "3"]) await press(key);
    const since = performance.now();
    await press("Enter");
    // Not the title: a planted pair may have that of the one before it.
    await tab.waitForFunction(
      (n) => document.querySelector(".counted")?.textContent.startsWith(`${n} pair`),
      given + 1,
    );
    waited += performance.now() - since;
  }
  const kept = () => service(`/rest/v1/slm_reviews?reviewer=eq.${kofi.id}&undone_at=is.null`);
  await until(async () => (await kept()).length === VERDICTS, "all verdicts in the database");
  assert.ok((await kept()).every((one) => one.correctness === 4 && one.usefulness === 5 && one.voice === 3));
  assert.equal(strokes, 5 * VERDICTS, "a verdict, three scores, Enter");
  t.diagnostic(
    `from opening to the first pair ${(opened / 1000).toFixed(1)} s, sign-in included; ${VERDICTS} verdicts, ${
      strokes / VERDICTS
    } keystrokes each; the app took ${(waited / VERDICTS).toFixed(0)} ms from Enter to the next pair`,
  );
  assertClean(rest);
  await context.close();
});
