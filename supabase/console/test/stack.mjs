/** The running stack as the tests see it: with the service key to arrange and to look, and a browser for each person. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run scripts/test console, which starts the stack`);
  return value;
}

const url = setting("SUPABASE_URL");
export const page = `${setting("INFERENCE_URL")}/console/`;
const publishable = setting("SUPABASE_PUBLISHABLE_KEY");
const secret = setting("SUPABASE_SECRET_KEY");
export const pictures = process.env.CONSOLE_PICTURES;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

async function send(path, { key, token = key, method, body, prefer = "" }) {
  const headers = { apikey: key, authorization: `Bearer ${token}`, "content-type": "application/json", prefer };
  const answer = await fetch(`${url}${path}`, {
    method: method ?? (body === undefined ? "GET" : "POST"),
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${text.slice(0, 300)}`);
  return text ? JSON.parse(text) : null;
}

/** Reads or writes with the service key; sees everything. */
export const service = (path, body, method) =>
  send(path, { key: secret, body, method, prefer: "resolution=merge-duplicates,return=representation" });

/** A new person with a profile: `{ id, email, password, token, name }`. */
export async function person(name, role, org) {
  const login = { email: `${randomUUID()}@example.com`, password: "a-long-password" };
  const session = await send("/auth/v1/signup", { key: publishable, body: login });
  await service("/rest/v1/orgs", { id: org, name: `Organisation ${org.slice(0, 4)}` });
  await service("/rest/v1/profiles", { id: session.user.id, full_name: name, role, org_id: org });
  return { ...login, id: session.user.id, name, org, token: session.access_token };
}

/** As the app does it. */
export const invoke = (who, name, body) => send(`/functions/v1/${name}`, { key: publishable, token: who.token, body });

export const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});

/** A signed-in browser of a person. `seen` are the addresses it asked, `heard` the database's answers, `faults` what went wrong in the page. */
export async function open(who, { width = 1280, height = 900 } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, acceptDownloads: true });
  const tab = await context.newPage();
  tab.setDefaultTimeout(15_000);
  const [seen, heard, faults] = [[], [], []];
  tab.on("request", (request) => seen.push(request.url()));
  tab.on("response", async (response) => {
    if (response.url().includes("/rpc/")) {
      heard.push({
        name: response.url().split("/rpc/")[1],
        text: await response.text().catch(() => ""),
      });
    }
  });
  tab.on("pageerror", (error) => faults.push(String(error)));
  tab.on(
    "console",
    (message) =>
      message.type() === "error" &&
      !/ERR_INTERNET_DISCONNECTED|Failed to load resource|Failed to fetch/.test(message.text()) &&
      faults.push(message.text()),
  );
  await tab.goto(page);
  await tab.getByLabel("E-mail").fill(who.email);
  await tab.getByLabel("Password").fill(who.password);
  await tab.getByRole("button", { name: "Sign in" }).click();
  await tab.getByRole("button", { name: "Sign out" }).waitFor();
  return { tab, context, seen, heard, faults };
}

/** Nothing went wrong in the page, and it asked nobody but the service and the project. */
export function assertClean({ seen, faults }) {
  assert.deepEqual(faults, []);
  const hosts = new Set(
    seen.filter((address) => !address.startsWith("blob:")).map((address) => new URL(address).origin),
  );
  assert.deepEqual([...hosts].sort(), [new URL(page).origin, new URL(url).origin].sort());
}

/** Both themes: axe finds nothing, nothing is wider than the window; a picture of each where CONSOLE_PICTURES names a folder. */
export async function assertReadable(tab, name) {
  for (const theme of ["light", "dark"]) {
    await tab.locator(".theme select").selectOption(theme);
    await tab.waitForTimeout(300);
    await tab.evaluate(axe);
    const { violations } = await tab.evaluate(() =>
      globalThis.axe.run(document, {
        runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
      })
    );
    if (pictures) {
      mkdirSync(pictures, { recursive: true });
      await tab.screenshot({ path: join(pictures, `${name}-${theme}.png`), fullPage: true });
    }
    assert.deepEqual(
      violations.map((it) => `${it.id}: ${it.nodes.map((node) => node.target.join(" ")).slice(0, 3).join(", ")}`),
      [],
      `${name}, ${theme}`,
    );
  }
  const [content, window] = await tab.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= window, `${name} is ${content} px wide in a window of ${window} px`);
}

export async function until(look, what) {
  for (let tries = 0; tries < 150; tries++) {
    const found = await look();
    if (found) return found;
    await new Promise((next) => setTimeout(next, 200));
  }
  throw new Error(`waited in vain for ${what}`);
}
