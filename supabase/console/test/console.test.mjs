/**
 * The console as people use it: Debian's Chromium against the running stack. Pictures of each page in both themes go where
 * CONSOLE_PICTURES says.
 *
 * scripts/test console
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, test } from "node:test";
import { requests } from "./pairs.mjs";
import { assertClean, assertReadable, browser, invoke, open, page, person, service, until } from "./stack.mjs";

const ITEMS = 20;
const [ours, theirs] = [randomUUID(), randomUUID()];
const [maya, noor, zoe, emil, olu] = [
  await person("Maya Iyer", "manager", ours),
  await person("Noor Khan", "manager", ours),
  await person("Zoe Lind", "manager", theirs),
  await person("Emil Roy", "employee", ours),
  await person("Olu Ade", "developer", ours),
];
const reviews = (filter) => service(`/rest/v1/slm_reviews?undone_at=is.null&${filter}`);
after(() => browser.close());

test("somebody who was not let in sees no pair and no figure", async () => {
  const { tab, heard, ...rest } = await open(emil);
  await tab.getByText("Nothing here for you yet").waitFor();
  assert.equal(await tab.getByRole("link", { name: "Operator" }).count(), 0);
  for (const address of ["operator/figures", "operator/rollout", "review", "results"]) {
    await tab.goto(`${page}#/${address}`);
    await tab.getByText("Nothing here for you yet").waitFor();
  }
  assert.deepEqual([...new Set(heard.map((it) => it.name))], ["slm_me"]);
  await assertReadable(tab, "nothing");
  assertClean(rest);
  await tab.context().close();
});

test("the operator lets managers in and fills the queue", async () => {
  await service("/rest/v1/slm_console_people", { user_id: olu.id, role: "operator", org_id: null, let_in_by: "test" });
  await service("/rest/v1/slm_requests", requests(ours, emil.id, ITEMS));
  const { tab, ...rest } = await open(olu);
  await tab.goto(`${page}#/operator/reviewers`);
  for (const { name } of [maya, noor]) {
    await tab.getByRole("row", { name: new RegExp(`${name}.*Organisation ${ours.slice(0, 4)}`) }).getByRole("button", {
      name: "Let in",
    }).click();
  }
  await tab.getByRole("row", { name: new RegExp(`${noor.name}.*${ours.slice(0, 4)}.*since`) }).waitFor();
  await tab.getByRole("button", { name: "Fill the queue" }).click();
  await tab.getByText(/pairs? from requests/).waitFor();
  const items = await service(`/rest/v1/slm_review_items?org_id=eq.${ours}`);
  assert.equal(items.filter((item) => !item.is_gold).length, ITEMS);
  await assertReadable(tab, "operator-reviewers");
  assertClean(rest);
  await tab.context().close();
});

/** Judges the pair in front with keys; returns its title. */
async function judge(tab, keys) {
  const title = await tab.locator("#input-title").textContent();
  for (const key of keys) await tab.keyboard.press(key);
  return title;
}

/** Whether there is another pair: waits until the page knows. */
async function hasPair(tab) {
  await tab.locator("#input-title").or(tab.getByText("Nothing to review now")).waitFor();
  return await tab.locator("#input-title").count() > 0;
}

/** How many pairs are judged, or skipped. */
const judged = async (tab) => {
  const text = await tab.locator(".standing .counted").textContent();
  return Number(/(\d+) pairs? judged/.exec(text)[1]) + Number(/(\d+) skipped/.exec(text)?.[1] ?? 0);
};

test("a new reviewer gives a first verdict at once, and twenty by keyboard alone, offline in the middle, with undo and a correction", async () => {
  const began = Date.now();
  const { tab, context, heard, ...rest } = await open(maya);
  await tab.getByRole("heading", { name: "Answer A" }).waitFor();
  for (const letter of ["A", "B"]) {
    assert.ok((await tab.getByRole("region", { name: `Answer ${letter}` }).getByRole("listitem").count()) >= 3);
  }
  await tab.getByRole("button", { name: "A is better", exact: true }).first().click();
  await tab.getByRole("button", { name: /^Submit/ }).click();
  await until(async () => await judged(tab) === 1, "the first verdict");
  assert.ok(Date.now() - began < 60_000, "it took longer than a minute");
  await assertReadable(tab, "review");

  await judge(tab, ["g", "5", "4", "3", "Enter"]);
  await until(async () => (await reviews(`reviewer=eq.${maya.id}`)).length === 2, "two verdicts in the database");
  const [scored] = await reviews(`reviewer=eq.${maya.id}&verdict=eq.both_good`);
  assert.deepEqual([scored.correctness, scored.usefulness, scored.voice], [5, 4, 3]);

  // Undo, and the other way.
  const title = await judge(tab, ["x", "Enter"]);
  await until(async () => (await reviews(`reviewer=eq.${maya.id}`)).length === 3, "three verdicts");
  await tab.keyboard.press("u");
  await until(async () => await tab.locator("#input-title").textContent() === title, "the pair to come back");
  await until(async () => (await reviews(`reviewer=eq.${maya.id}`)).length === 2, "the verdict to be taken back");
  await judge(tab, ["g", "Enter"]);
  await until(async () => (await reviews(`reviewer=eq.${maya.id}`)).length === 3, "the new verdict");

  // No connection: three more, one of them taken back and given again.
  await context.setOffline(true);
  for (let i = 0; i < 3; i++) await judge(tab, ["a", "Enter"]);
  await tab.keyboard.press("u");
  await judge(tab, ["b", "Enter"]);
  await tab.getByText("No connection: nothing is lost").waitFor();
  assert.equal(await judged(tab), 6);
  assert.equal((await reviews(`reviewer=eq.${maya.id}`)).length, 3);
  await context.setOffline(false);
  await until(async () => (await reviews(`reviewer=eq.${maya.id}`)).length === 6, "what was said offline");
  await tab.reload();
  await until(async () => await judged(tab) === 6, "the desk after a reload");

  // A correction: a risk level and a sentence, in place. The shape must hold.
  while (await hasPair(tab) && await tab.locator(".coach").count() === 0) await judge(tab, ["g", "Enter"]);
  await tab.keyboard.press("e");
  await tab.getByLabel("Reason 1").fill("Short");
  await tab.getByText("reasons 1: too short").waitFor();
  await assertReadable(tab, "review-correction");
  await tab.getByLabel("Reason 1").fill("Half of your time is used, and 40% is done.");
  await tab.getByLabel("Risk level").selectOption("medium");
  await tab.getByRole("button", { name: "Keep correction" }).click();
  await judge(tab, ["a", "Enter"]);
  const [corrected] = await until(async () => {
    const found = await reviews(`reviewer=eq.${maya.id}&corrected=not.is.null`);
    return found.length > 0 && found;
  }, "the correction");
  assert.equal(corrected.corrected.reasons[0], "Half of your time is used, and 40% is done.");

  // The rest by keyboard.
  let given = await judged(tab);
  const since = Date.now();
  const before = given;
  while (await hasPair(tab)) {
    await judge(tab, given % 5 === 0 ? ["s", "1", "Enter"] : ["g", "Enter"]);
    given++;
    await until(
      async () => !(await hasPair(tab)) || await judged(tab) >= given,
      "the next pair",
    );
    if (given > 60) throw new Error("the queue has no end");
  }
  const perVerdict = (Date.now() - since) / 1000 / Math.max(1, given - before);
  assert.ok(perVerdict < 20, `a verdict takes ${perVerdict} s by keyboard: 30 do not fit into 10 minutes`);
  await tab.getByText("Nothing to review now").waitFor();
  await assertReadable(tab, "review-empty");
  await until(async () => (await reviews(`reviewer=eq.${maya.id}`)).length === given, "all verdicts");

  const answers = heard.filter((it) => it.name === "slm_next_review" || it.name === "slm_undo_review");
  assert.ok(answers.length > 3);
  for (const { text } of answers) assert.doesNotMatch(text, /smollm|gpt|slm:|cloud/i);
  assertClean(rest);
  await context.close();
});

test("a second reviewer judges the same pairs; nobody judges one twice, and agreed pairs become results", async () => {
  const { tab, context, ...rest } = await open(noor, { width: 360, height: 740 });
  await tab.getByRole("heading", { name: "Answer A" }).waitFor();
  await assertReadable(tab, "review-360");
  let given = 0;
  while (await hasPair(tab)) {
    await judge(tab, ["g", "Enter"]);
    given++;
    await until(
      async () => !(await hasPair(tab)) || await judged(tab) >= given,
      "the next pair",
    );
  }
  await until(async () => (await reviews(`reviewer=eq.${noor.id}`)).length === given, "all verdicts");
  const items = await service(`/rest/v1/slm_review_items?org_id=eq.${ours}&select=id,is_gold`);
  assert.equal(given, items.length);
  const votes = await reviews(`item_id=in.(${items.map((item) => item.id).join()})`);
  const pairs = new Set(votes.map((vote) => `${vote.item_id} ${vote.reviewer}`));
  assert.deepEqual([votes.length, pairs.size], [2 * items.length, 2 * items.length]);

  await tab.goto(`${page}#/results`);
  await tab.getByRole("heading", { name: "Private model wins" }).waitFor();
  await assertReadable(tab, "results-360");
  assertClean(rest);
  await context.close();
});

test("a manager of another organisation sees nothing of it", async () => {
  await service("/rest/v1/slm_console_people", {
    user_id: zoe.id,
    role: "reviewer",
    org_id: theirs,
    let_in_by: "test",
  });
  const { tab, context, heard, ...rest } = await open(zoe);
  await tab.getByText("Nothing to review now").waitFor();
  await tab.goto(`${page}#/results`);
  await tab.getByText("No results yet").waitFor();
  await tab.goto(`${page}#/operator/figures`);
  await tab.getByText("There is no such page for you").waitFor();
  assert.ok(heard.length >= 3);
  for (const { text } of heard) assert.doesNotMatch(text, /Career page/);
  assertClean(rest);
  await context.close();
});

async function setStage(stage, share) {
  await service("/rest/v1/rpc/slm_set_rollout", {
    p_feature: "risk",
    p_stage: stage,
    p_share: share,
    p_by: "test",
    p_reason: "arranged by the test",
  });
}

/** An employee of an organisation that is in the share of 50 % but not in that of 10 %. */
async function betweenShares() {
  await setStage("canary", 50);
  for (;;) {
    const someone = await person("Asha Rao", "employee", randomUUID());
    await service("/rest/v1/slm_org_settings?on_conflict=org_id", { org_id: someone.org, allow_cloud: true });
    const inShare = async () =>
      (await service("/rest/v1/rpc/slm_context", { p_user_id: someone.id, p_feature: "risk" })).in_share;
    await setStage("canary", 10);
    const inTen = await inShare();
    await setStage("canary", 50);
    if (!inTen && await inShare()) return someone;
  }
}

/** The ledger row of one request to the risk coach. */
async function ask(who) {
  const metrics = {
    allocated_hours: 8,
    elapsed_hours: 4,
    steps_completed: 1,
    total_steps: 4,
    progress_ratio: 0.25,
    predicted_delay_hours: 2,
    base_risk_level: "medium",
    risk_level: "medium",
    org_id: who.org,
  };
  const { _meta } = await invoke(who, "analyze-task-risk", {
    metrics,
    taskTitle: "Career page",
    employeeContext: { role: "employee", milestone_triggered: "50_percent" },
  });
  const [row] = await until(async () => {
    const rows = await service(`/rest/v1/slm_requests?id=eq.${_meta.request_id}&status=eq.closed`);
    return rows.length > 0 && rows;
  }, "the ledger row");
  return row;
}

test("the operator rolls back a canary, with a reason, and the next request is served accordingly", async () => {
  const asha = await betweenShares();
  assert.equal((await ask(asha)).arm, "candidate");
  const { tab, context, ...rest } = await open(olu);
  await tab.goto(`${page}#/operator/rollout`);
  const card = tab.getByRole("region", { name: "Rollout of risk" });
  await card.getByRole("button", { name: "Roll back to canary 10 %" }).click();
  await card.getByLabel(/Why\?/).fill("reasons were too vague");
  await assertReadable(tab, "operator-rollout");

  // Somebody else moves it meanwhile: the operator is told, and nothing happens unseen.
  await setStage("full", 100);
  await card.locator("form button[type=submit]").click();
  await card.getByText("The stage has changed meanwhile: it is full-100 now").waitFor();
  await setStage("canary", 50);
  await card.getByRole("button", { name: "Cancel" }).click();
  await card.getByRole("button", { name: "Roll back to canary 10 %" }).click({ timeout: 20_000 });
  await card.getByLabel(/Why\?/).fill("reasons were too vague");
  await card.locator("form button[type=submit]").click();
  await card.getByRole("heading", { name: "canary 10 %" }).waitFor();
  await card.getByRole("cell", { name: "reasons were too vague" }).first().waitFor();
  const row = await ask(asha);
  assert.deepEqual([row.stage, row.arm], ["canary", "current"]);
  assert.ok(
    row.provider === "cloud" || row.fallback_reason,
    "the cloud's turn came first, and was passed over: there is no key here",
  );
  assertClean(rest);
  await context.close();
  await setStage("full", 100);
});

test("the operator sees figures, models and results, saves a table, and shares an address", async () => {
  await service("/rest/v1/slm_machine_prices", {
    valid_from: new Date(Date.now() - 5 * 86_400_000).toISOString().slice(0, 10),
    usd_per_hour: 0.02,
  });
  const { tab, context, ...rest } = await open(olu);
  await tab.goto(`${page}#/operator/figures?days=90`);
  await tab.getByRole("heading", { name: "Answered by the private model" }).waitFor();
  await tab.waitForTimeout(500);
  await assertReadable(tab, "operator-figures");
  const [file] = await Promise.all([
    tab.waitForEvent("download"),
    tab.getByRole("button", { name: "Save Requests by day as CSV" }).click(),
  ]);
  assert.equal(file.suggestedFilename(), "requests-by-day.csv");
  const text = (await file.createReadStream().then(async (stream) => (await stream.toArray()).join(""))).split("\r\n");
  assert.match(text[0], /^Day \(UTC\),Feature,Requests/);
  assert.ok(text.length > 2);
  await tab.goto(`${page}#/operator/models`);
  await tab.getByRole("heading", { name: "Training runs" }).waitFor();
  await assertReadable(tab, "operator-models");
  await tab.goto(`${page}#/results?feature=risk`);
  await tab.getByRole("link", { name: "risk", exact: true }).and(tab.locator("[aria-current=page]")).waitFor();
  await assertReadable(tab, "results");
  assertClean(rest);
  await context.close();
});

test("the sign-in page is readable, and says what is wrong", async () => {
  const context = await browser.newContext();
  const tab = await context.newPage();
  await tab.goto(page);
  await tab.getByLabel("E-mail").fill("nobody@example.com");
  await tab.getByLabel("Password").fill("not the password");
  await tab.getByRole("button", { name: "Sign in" }).click();
  await tab.getByText("E-mail or password is wrong").waitFor();
  await assertReadable(tab, "sign-in");
  const answers = [
    [429, { code: 429, error_code: "over_request_rate_limit", msg: "Request rate limit reached" }, "Too many attempts"],
    [400, { code: 400, error_code: "email_not_confirmed", msg: "Email not confirmed" }, "is not confirmed"],
    [400, { code: 400, error_code: "user_banned", msg: "User is banned" }, "Cannot sign in: User is banned"],
    [503, { msg: "Service Unavailable" }, "TalentOps does not answer"],
    [404, "<html>", "TalentOps does not answer"],
  ];
  for (const [status, said, shown] of answers) {
    const body = typeof said === "string" ? said : JSON.stringify(said);
    const headers = { "access-control-allow-origin": "*" };
    await tab.route(/auth\/v1\/token/, (route) => route.fulfill({ status, body, headers }), { times: 1 });
    await tab.getByRole("button", { name: "Sign in" }).click();
    await tab.getByRole("alert").filter({ hasText: shown }).waitFor();
  }
  await context.setOffline(true);
  await tab.getByRole("button", { name: "Sign in" }).click();
  await tab.getByText("No connection: try again").waitFor();
  await context.close();
});
