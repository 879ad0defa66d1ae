/**
 * A reviewer's desk outlives what happens to it: other windows, lost connections, signing out, second thoughts.
 *
 * scripts/test console
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { requests } from "./pairs.mjs";
import { assertClean, assertReadable, browser, open, page, person, service, until } from "./stack.mjs";

const org = randomUUID();
const [ada, ben, cleo, dana] = await Promise.all(
  ["Ada Noll", "Ben Osei", "Cleo Park", "Dana Quist"].map((name) => person(name, "manager", org)),
);
before(async () => {
  for (const { id } of [ada, ben, cleo, dana]) {
    await service("/rest/v1/slm_console_people", { user_id: id, role: "reviewer", org_id: org, let_in_by: "test" });
  }
  await service("/rest/v1/slm_requests", requests(org, ada.id, 24));
  await service("/rest/v1/rpc/slm_fill_reviews", { p_open: 2000 });
});
after(() => browser.close());

const said = (who) => service(`/rest/v1/slm_reviews?reviewer=eq.${who.id}&undone_at=is.null&order=created_at`);
const kept = (tab, who) => tab.evaluate((id) => localStorage.getItem(`console-desk-${id}`), who.id);
const counted = (tab, text) => tab.locator(".counted").filter({ hasText: text }).waitFor();
const isThere = (tab) => tab.locator("#input-title").waitFor();
/** The page listens to keys once its title has the focus. */
async function press(tab, ...keys) {
  await tab.waitForFunction(() => document.activeElement?.tagName === "H1");
  for (const key of keys) await tab.keyboard.press(key);
}

test("a second window waits, and goes on with what the first one kept without a connection", async () => {
  const { tab: first, context, ...rest } = await open(ada);
  await isThere(first);
  // The first has no connection, the second has a slow one.
  await first.route(/\/rpc\//, (route) => route.abort("internetdisconnected"));
  const second = await context.newPage();
  await second.addInitScript(() => {
    const put = Storage.prototype.setItem;
    globalThis.saved = [];
    Storage.prototype.setItem = function (name, value) {
      if (name.startsWith("console-desk-")) globalThis.saved.push(value);
      return put.call(this, name, value);
    };
  });
  let answer;
  const isJudged = new Promise((done) => answer = done);
  const asked = [];
  await second.route(/\/rpc\/slm_\w+_review/, async (route) => {
    asked.push(route.request().url());
    await isJudged;
    await route.continue();
  });
  await second.goto(page);
  await second.getByRole("heading", { name: "Reviewing is open in another window" }).waitFor();
  for (const n of [1, 2, 3]) {
    await press(first, "g", "Enter");
    await counted(first, `${n} pair`);
  }
  await counted(first, "3 changes to send");
  answer();
  await second.evaluate(() => dispatchEvent(new Event("online")));
  // Longer than it takes to try again.
  await second.waitForTimeout(4_000);
  assert.deepEqual(await second.evaluate(() => globalThis.saved), []);
  assert.deepEqual(asked, []);

  await first.close();
  await counted(second, "3 pairs judged");
  assert.equal(await second.locator(".told").textContent(), "");
  await until(async () => (await said(ada)).length === 3, "what the first window kept");
  await press(second, "g", "Enter");
  await until(async () => (await said(ada)).length === 4, "the verdict of the second window");
  assertClean(rest);
  await context.close();
});

/** Signs out, and says yes or no where the page asks whether what is not sent may be lost. */
async function signOut(tab, answer) {
  if (answer) tab.once("dialog", (dialog) => void dialog[answer]());
  await tab.getByRole("button", { name: "Sign out" }).click();
}
const isOut = (tab) => tab.getByRole("heading", { name: "Sign in" }).waitFor();
/** What this browser keeps, but for the colours. */
const leftBehind = (tab) => tab.evaluate(() => Object.keys(localStorage).filter((name) => name !== "console-theme"));

test("signing out without a connection asks about what is not sent, and nobody stays signed in", async () => {
  const { tab, context, ...rest } = await open(ben);
  await isThere(tab);
  await context.setOffline(true);
  await press(tab, "g", "Enter");
  await counted(tab, "1 change to send");
  await signOut(tab, "dismiss");
  await counted(tab, "1 change to send");
  assert.equal(JSON.parse(await kept(tab, ben)).waiting.length, 1);
  await signOut(tab, "accept");
  await isOut(tab);
  await until(async () => (await leftBehind(tab)).length === 0, "nothing to be left");
  await context.setOffline(false);
  await tab.reload();
  await isOut(tab);
  assert.deepEqual([await said(ben), await leftBehind(tab)], [[], []]);
  assertClean(rest);
  await context.close();
});

for (const [name, answer] of [["fails", (route) => route.fulfill({ status: 503 })], ["does not answer", () => {}]]) {
  test(`signing out where the project ${name} ends the session all the same`, async () => {
    const { tab, context } = await open(ben);
    await isThere(tab);
    await tab.route(/auth\/v1\/logout/, answer);
    const told = tab.waitForRequest(/auth\/v1\/logout\?scope=local/);
    await signOut(tab);
    await isOut(tab);
    await told;
    await until(async () => (await leftBehind(tab)).length === 0, "nothing to be left");
    await context.close();
  });
}

test("a verdict that is on its way when another window signs out brings nothing back", async () => {
  const { tab, context, ...rest } = await open(ben);
  await isThere(tab);
  const other = await context.newPage();
  await other.goto(`${page}#/results`);
  let answer;
  const isOver = new Promise((done) => answer = done);
  await tab.route(/slm_submit_review/, async (route) => {
    await isOver;
    await route.continue();
  });
  await press(tab, "g", "Enter");
  await counted(tab, "1 change to send");
  await signOut(other, "accept");
  for (const one of [other, tab]) await isOut(one);
  const answered = tab.waitForResponse(/slm_submit_review/);
  answer();
  await answered;
  await tab.waitForTimeout(500);
  assert.deepEqual(await leftBehind(tab), []);
  assertClean(rest);
  await context.close();
});

test("a pair that was judged in another browser meanwhile is said to be, and is not taken back", async () => {
  const [one, two] = [await open(cleo), await open(cleo)];
  for (const { tab } of [one, two]) await isThere(tab);
  const title = await one.tab.locator("#input-title").textContent();
  assert.equal(await two.tab.locator("#input-title").textContent(), title);
  await press(one.tab, "a", "Enter");
  await one.tab.locator(".told").filter({ hasText: "Saved." }).waitFor();
  const [first] = await until(async () => {
    const found = await said(cleo);
    return found.length > 0 && found;
  }, "the first verdict");
  await press(two.tab, "g", "Enter");
  const alert = two.tab.getByRole("alert").filter({ hasText: "1 verdict was not taken" });
  await alert.getByText(`“${title}” had been judged by you already, and that verdict stays`).waitFor();
  assert.equal(await two.tab.locator(".told").textContent(), "");
  assert.ok(await two.tab.getByRole("button", { name: /^Undo/ }).isDisabled());
  await assertReadable(two.tab, "desk-judged-already");
  await alert.getByRole("button", { name: "Understood" }).click();
  await two.tab.reload();
  await isThere(two.tab);
  assert.notEqual(await two.tab.locator("#input-title").textContent(), title);
  assert.deepEqual(await said(cleo), [first]);
  for (const { tab: _tab, context, ...rest } of [one, two]) {
    assertClean(rest);
    await context.close();
  }
});

test("taking a verdict back leaves what was said of the pair in front, and a key that is held takes back one", async () => {
  const { tab, context, ...rest } = await open(dana);
  const bar = tab.getByRole("region", { name: "Verdict" });
  const text = "Half of your time is used, and 40% is done.";
  await isThere(tab);
  let given = 0;
  // Two pairs at least are judged, and one of the risk coach is in front.
  while (given < 2 || await tab.locator(".coach").count() === 0) {
    await press(tab, "g", "Enter");
    await counted(tab, `${++given} pair`);
  }
  const title = await tab.locator("#input-title").textContent();
  await press(tab, "b", "4", "e");
  await tab.getByLabel("Reason 1").fill(text);
  await tab.keyboard.press("Control+Enter");
  const isAsLeft = async () => {
    await bar.getByText("B is better, correct 4, with your correction of B: ready to submit").waitFor();
    await tab.getByRole("region", { name: "Answer B" }).getByText(text).waitFor();
    assert.equal(await tab.locator("#input-title").textContent(), title);
  };
  await isAsLeft();

  await press(tab, "u");
  await counted(tab, `${given - 1} pair`);
  await bar.getByText("Both good: ready to submit").waitFor();
  await tab.reload();
  await isThere(tab);
  await press(tab, "Enter");
  await counted(tab, `${given} pair`);
  await isAsLeft();

  // Held down, both keys do what they do once.
  for (const [key, n] of [["u", given - 1], ["Enter", given]]) {
    await tab.waitForFunction(() => document.activeElement?.tagName === "H1");
    for (let i = 0; i < 5; i++) {
      await tab.keyboard.down(key);
      await tab.waitForTimeout(100);
    }
    await tab.keyboard.up(key);
    await counted(tab, `${n} pair`);
  }
  await isAsLeft();
  await press(tab, "Enter");
  const rows = await until(async () => {
    const found = await said(dana);
    return found.length === given + 1 && found;
  }, "all verdicts");
  assert.deepEqual([rows.at(-1).corrected.reasons[0], rows.at(-1).correctness], [text, 4]);
  assertClean(rest);
  await context.close();
});
