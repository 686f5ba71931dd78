// What the tests of the page have in common: the suite that they are run against, as operator and as agent, and the browser.
import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';

export const base = process.env.ROLLCALL_URL;
const api = `${base}/server-management/v1`;
export const password = readFileSync(process.env.ROLLCALL_PASSWORD_FILE, 'utf8').trim();

let token;
export async function ask(method, path, body, bearer = token, more = {}) {
    const headers = { 'content-type': 'application/json', ...(bearer ? { authorization: `Bearer ${bearer}` } : {}), ...more };
    const answer = await fetch(api + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
}

export async function logIn() {
    token = undefined;
    token = (await ask('POST', '/sessions', { username: 'admin', password })).access_token;
}

/** A host that enrolled with a token. */
export async function enrol(name, given) {
    const enrolment = given ?? (await ask('POST', '/enrolment-tokens', { uses: 1 })).token;
    return ask('POST', '/enrolments', { token: enrolment, enrolment_key: `the key of ${name}, which is long enough`, name });
}

/** Sends one snapshot of now; hosts report every second, so that they fall silent after four. */
export async function beat({ credential }, more = {}) {
    const snapshot = {
        sampled_at: Date.now(),
        covers_ms: 1_000,
        host: { hostname: 'host', os: 'Debian GNU/Linux 12' },
        cpu: { total: 12.5, user: 8, system: 4, iowait: 0.5, steal: 0, cores: [10, 15] },
        load: [0.5, 0.4, 0.3],
        memory: { total: 8 * 2 ** 30, used: 3 * 2 ** 30, swap_total: 2 ** 30, swap_used: 0 },
        disks: [{ mount: '/', device: '/dev/sda1', filesystem: 'ext4', total: 1e11, used: 4e10, read: 1000, written: 2000 }],
        networks: [{ name: 'eth0', received: 1000, sent: 500 }],
        temperatures: [{ name: 'cpu', celsius: 45 }],
        ...more,
    };
    const body = JSON.stringify({ interval_ms: 1_000, snapshots: [snapshot] });
    const answer = await fetch(`${base}/healthcheck/v1/snapshots`, { method: 'POST', headers: { authorization: `Bearer ${credential}` }, body });
    if (answer.status !== 202) throw new Error(`a beat: ${answer.status} ${await answer.text()}`);
}

/** Beats of these hosts, each second, until `stop`. */
export function keepBeating(hosts, more) {
    let going = true;
    const done = (async () => {
        while (going) {
            await Promise.all(hosts.map((host) => beat(host, more)));
            await new Promise((resolve) => setTimeout(resolve, 1_000));
        }
    })();
    return { stop: async () => ((going = false), await done) };
}

export async function browser() {
    const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
    return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
}

/** A page of a browser of its own; what its console says that is wrong is in `page.wrong`. */
export async function open(launched, options = {}) {
    const context = await launched.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-GB', ...options });
    return tab(context);
}

export async function tab(context) {
    const page = await context.newPage();
    page.setDefaultTimeout(30_000);
    page.wrong = [];
    page.asking = 0;
    page.on('request', () => page.asking++);
    for (const over of ['requestfinished', 'requestfailed']) page.on(over, () => page.asking--);
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && page.wrong.push(`${message.text()} ${message.location().url}`));
    page.on('pageerror', (error) => page.wrong.push(String(error)));
    page.on('dialog', (dialog) => (page.wrong.push(`a dialog: ${dialog.message()}`), dialog.dismiss()));
    return page;
}

export async function enter(page, username = 'admin', secret = password) {
    await page.goto(base);
    await page.fill('input[name=username]', username);
    await page.fill('input[name=password]', secret);
    await page.click('button.primary');
    await page.waitForSelector('nav a.brand', { state: 'attached' });
}

/** Goes to a page and waits until it has what it asked for. */
export async function visit(page, path) {
    await page.goto(`${base}/#/${path}`);
    await settled(page);
}

/** Waits until the page has its heading, and has asked for nothing that it does not have, for three frames. */
export async function settled(page) {
    await page.waitForSelector('main h1', { state: 'attached' });
    for (let quiet = 0; quiet < 3; quiet = page.asking === 0 ? quiet + 1 : 0) await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 20))));
}

/** Waits until the page was refreshed: the second answer was asked for after now. */
export async function refreshed(page, part) {
    for (const _ of [1, 2]) await page.waitForResponse((answer) => answer.url().includes(part));
}
