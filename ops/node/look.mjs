// Looks at the reference page in a real browser: `node look.mjs CHROMIUM URL API_KEY FOLDER` prints one JSON object with
// everything the page asked for and complained about, and leaves screenshots of it in the folder.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [executablePath, url, key, folder] = process.argv.slice(2);
const SIZES = { desktop: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } };
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

const seen = { requests: [], complaints: [], views: {} };
const profile = mkdtempSync(join(tmpdir(), "look-"));
const context = await chromium.launchPersistentContext(profile, { executablePath, headless: true, args: FLAGS });

async function open(name, address) {
  const page = await context.newPage();
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) seen.complaints.push(`${name}: ${message.text()}`);
  });
  page.on("pageerror", (error) => seen.complaints.push(`${name}: ${error}`));
  await page.setViewportSize(SIZES[name]);
  await page.goto(address, { waitUntil: "networkidle" });
  await page.waitForSelector(".opblock", { timeout: 20_000 });
  return page;
}

// Authorize, open the token's operation, try it, and read what came back.
async function tryIt(page) {
  await page.click(".btn.authorize");
  await page.fill(".auth-container input", key);
  await page.click(".auth-btn-wrapper .authorize");
  await page.click(".auth-btn-wrapper .btn-done");
  await page.click("#operations-tokens-tokens_info .opblock-summary-control");
  await page.click("#operations-tokens-tokens_info .try-out__btn");
  await page.click("#operations-tokens-tokens_info .execute");
  await page.waitForSelector("#operations-tokens-tokens_info .live-responses-table tbody .response-col_status");
  return page.textContent("#operations-tokens-tokens_info .live-responses-table .response");
}

try {
  for (const name of Object.keys(SIZES)) {
    const page = await open(name, url);
    await page.screenshot({ path: join(folder, `${name}.png`) });
    const answer = await tryIt(page);
    const widths = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
    await page.locator("#operations-tokens-tokens_info .live-responses-table .highlight-code, #operations-tokens-tokens_info .live-responses-table pre").first().scrollIntoViewIfNeeded();
    await page.screenshot({ path: join(folder, `${name}-tried.png`) });
    seen.views[name] = { answer, widths, operations: await page.locator(".opblock").count() };
    await page.close();
  }
  const page = await open("phone", `${url}#errors/not_found`);
  await page.waitForTimeout(300);
  seen.anchor = await page.evaluate(() => {
    const place = document.getElementById("errors/not_found").getBoundingClientRect();
    return { top: place.top, height: window.innerHeight, text: document.getElementById("errors/not_found").nextSibling.textContent };
  });
  await page.screenshot({ path: join(folder, "phone-error.png") });
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
console.log(JSON.stringify(seen));
