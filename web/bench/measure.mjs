// How quick the page is and whether its memory stays flat, on a rollcall that runs: `dev/web measure` starts it. By hand, not by `make test`:
// times on a machine that is busy otherwise say nothing.
//
//   ROLLCALL_URL, ROLLCALL_PASSWORD_FILE   the suite; it should have the 10,000 servers that the bounds are about
//   MINUTES                                for how long memory is watched; 10 unless set
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const { default: lighthouse, desktopConfig } = await import(process.env.LIGHTHOUSE);
const base = process.env.ROLLCALL_URL;
const password = readFileSync(process.env.ROLLCALL_PASSWORD_FILE, 'utf8').trim();
const minutes = Number(process.env.MINUTES ?? 10);
const PORT = 9333;
const LEAST = 95;
const PAGES = { Overview: `${base}/#/`, Servers: `${base}/#/servers` };
let failed = false;
const verdict = (good, text) => {
    failed ||= !good;
    console.log(`${good ? '  ok' : 'FAIL'}  ${text}`);
};

// One profile for all: what Lighthouse opens is logged in by the same cookie.
const context = await chromium.launchPersistentContext(mkdtempSync(join(tmpdir(), 'rollcall-measure-')), {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-dev-shm-usage', `--remote-debugging-port=${PORT}`],
    viewport: { width: 1440, height: 900 },
});
const page = context.pages()[0] ?? (await context.newPage());
await page.goto(base);
await page.fill('input[name=username]', 'admin');
await page.fill('input[name=password]', password);
await page.click('button.primary');
await page.waitForSelector('nav a.brand', { state: 'attached' });

/** From the call of the page to its sentence and its honeycomb, with everything in the browser's cache but the data. */
async function firstPicture() {
    await page.goto('about:blank');
    const began = Date.now();
    await page.goto(PAGES.Overview);
    await page.waitForFunction(() => document.querySelector('h1')?.textContent && document.querySelector('canvas')?.height > 50);
    return Date.now() - began;
}
const times = [];
for (let run = 0; run < 5; run++) times.push(await firstPicture());
times.sort((one, other) => one - other);
verdict(times[2] <= 1_000, `first useful picture: ${times[2]} ms (median of 5, at most 1,000)`);

/** Bytes as they were sent for what a page asks for by itself, in its second minute. */
async function refreshes(path) {
    const session = await context.newCDPSession(page);
    await page.goto(path);
    await page.waitForTimeout(15_000);
    const sizes = new Map();
    const urls = new Map();
    session.on('Network.responseReceived', ({ requestId, response }) => urls.set(requestId, new URL(response.url).pathname));
    session.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
        const url = urls.get(requestId);
        if (url) sizes.set(url, [...(sizes.get(url) ?? []), encodedDataLength]);
    });
    await session.send('Network.enable');
    await page.waitForTimeout(60_000);
    await session.detach();
    return sizes;
}
for (const [name, path] of Object.entries(PAGES)) {
    for (const [url, all] of await refreshes(path)) {
        const mean = Math.round(all.reduce((sum, one) => sum + one, 0) / all.length);
        const cells = url.endsWith('/cells');
        console.log(`      ${name}: ${url.replace(/^.*v1/, '')}: ${all.length} × ${mean} bytes`);
        if (cells) verdict(Math.max(...all) <= 30_720, `${name}: the fleet again: at most ${Math.max(...all)} bytes (30,720)`);
    }
}

for (const [name, path] of Object.entries(PAGES)) {
    const { lhr } = await lighthouse(path, { port: PORT, disableStorageReset: true, onlyCategories: ['performance', 'accessibility'], logLevel: 'error' }, desktopConfig);
    for (const [key, { score }] of Object.entries(lhr.categories)) {
        verdict(100 * score >= LEAST, `${name}, ${key}: ${Math.round(100 * score)} (at least ${LEAST})`);
        if (100 * score >= LEAST) continue;
        for (const { id } of lhr.categories[key].auditRefs) if (lhr.audits[id].score !== null && lhr.audits[id].score < 0.9) console.log(`        ${id}: ${lhr.audits[id].displayValue ?? lhr.audits[id].title}`);
    }
}

const session = await context.newCDPSession(page);
await page.goto(PAGES.Overview);
await page.waitForTimeout(30_000);
const heap = [];
for (let minute = 0; minute <= minutes; minute++) {
    await session.send('HeapProfiler.collectGarbage');
    heap.push((await session.send('Runtime.getHeapUsage')).usedSize / 2 ** 20);
    if (minute < minutes) await page.waitForTimeout(60_000);
}
// A quarter more, and 2 MiB for what a busy minute holds.
const [first, last] = [heap[0], heap.at(-1)];
verdict(last <= 1.25 * first + 2, `memory of Overview: ${first.toFixed(1)} MiB, after ${minutes} min ${last.toFixed(1)} MiB (most ${Math.max(...heap).toFixed(1)})`);
await context.close();
process.exit(failed ? 1 : 0);
