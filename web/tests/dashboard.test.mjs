// The page in a real browser, on a real rollcall that has no servers yet: services/standalone/tests/it/browser.rs starts both.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { ask, base, beat, browser, enrol, enter, keepBeating, logIn, open, password, refreshed, settled, tab, visit } from './suite.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const HOSTILE = '<img src=x onerror=alert(1)>"\'&lt;script&gt;';
const TABS = ['alerts?tab=channels', 'alerts?tab=routes', 'alerts?tab=silences', 'alerts?tab=windows'];
const PAGES = ['', 'servers', 'servers?view=cards', 'servers?view=cells', 'uptime', 'uptime?days=90', 'add', 'import', 'incidents', 'incidents?state=all', 'alerts', ...TABS, 'reports', 'admin?tab=account', 'admin?tab=tokens', 'admin?tab=people', 'admin?tab=roles', 'admin?tab=enrolment', 'admin?tab=audit', 'admin?tab=queues'];

/** The id of some incident: hosts that enrolled and beat no more have one each. */
async function anIncident() {
    for (let tries = 0; tries < 100; tries++) {
        const { items } = await ask('GET', '/incidents?page_size=1');
        if (items.length) return items[0].id;
        await new Promise((resolve) => setTimeout(resolve, 300));
    }
    throw new Error('nothing is an incident');
}

let launched;
before(async () => {
    launched = await browser();
    await logIn();
});
after(() => launched?.close());

test('the page may do nothing but run our own files, and keeps what has a hash for ever', async () => {
    const page = await fetch(base);
    const policy = page.headers.get('content-security-policy');
    assert.match(policy, /default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'/);
    assert.ok(!/unsafe|\*/.test(policy), policy);
    assert.equal(page.headers.get('cache-control'), 'no-cache');
    const script = /src="(\/assets\/[^"]+)"/.exec(await page.text())[1];
    assert.match((await fetch(base + script)).headers.get('cache-control'), /immutable/);
});

test('from an empty suite to a server that turns up, turns down and recovers', async () => {
    const page = await open(launched);
    await enter(page);
    await page.getByRole('heading', { name: 'Welcome to Rollcall' }).waitFor();
    await page.getByRole('link', { name: /Add the first server/ }).click();
    await page.getByRole('button', { name: 'Make a token' }).click();
    const token = await page.locator('#token pre').textContent();
    for (const command of await page.locator('pre').allTextContents()) assert.ok(command === token || !command.includes(token), command);
    await refreshed(page, '/servers?'); // The page has looked, so that the server is new to it.
    const host = await enrol(HOSTILE, token);
    let beating = keepBeating([host]);
    await page.getByText('answers ✓').waitFor();

    await visit(page, '');
    await page.getByRole('heading', { name: 'The one server is up' }).waitFor();
    await page.waitForFunction(() => !document.title.includes('down'));
    await beating.stop();
    await page.getByRole('heading', { name: /1 of 1 is down/ }).waitFor();
    await page.waitForFunction(() => document.title.startsWith('(1) down'));
    assert.match(await page.locator('h1').textContent(), /<img src=x/);
    assert.match(await page.getAttribute('link[rel=icon]', 'href'), /%3Etext|text-anchor/);
    await page.locator('.side').getByRole('link', { name: HOSTILE }).click();
    await page.getByRole('heading', { name: HOSTILE }).waitFor();
    beating = keepBeating([host]);
    await page.locator('header .state.up').waitFor();
    await page.waitForFunction(() => !document.title.includes('down'));
    await beating.stop();
    assert.deepEqual(page.wrong, []);
    await page.context().close();
});

test('hostile names are text, wherever they stand', async () => {
    const host = await enrol('another');
    const bad = { host: { hostname: HOSTILE, os: HOSTILE, kernel: HOSTILE }, disks: [{ mount: HOSTILE, device: HOSTILE, filesystem: HOSTILE, total: 100, used: 97 }], networks: [{ name: HOSTILE, received: 1, sent: 2 }], temperatures: [{ name: HOSTILE, celsius: 40 }] };
    const { labels } = await ask('GET', `/servers/${host.server_id}`);
    assert.deepEqual(labels, {});
    const channel = await ask('POST', '/channels', { name: HOSTILE, kind: 'mail', config: { recipients: ['ops@example.org'] } });
    const route = await ask('POST', '/alert-routes', { name: HOSTILE, match: { labels: { site: 'none' } }, steps: [{ after_ms: 0, channels: [channel.id] }] });
    await ask('POST', '/silences', { match: { labels: { site: HOSTILE } }, ends_at: Date.now() + 60_000, reason: HOSTILE });
    const beating = keepBeating([host], bad);
    const page = await open(launched);
    await enter(page);
    for (const path of ['', 'servers', 'servers?view=cards', 'uptime', `servers/${host.server_id}`, `servers/${host.server_id}?tab=changes`, 'incidents?state=all', ...TABS, 'servers?q=' + encodeURIComponent(HOSTILE)]) {
        await visit(page, path);
        assert.equal(await page.locator('main img, main script').count(), 0, path);
    }
    await ask('DELETE', `/alert-routes/${route.id}`);
    await visit(page, `servers/${host.server_id}`);
    assert.ok((await page.getByText(HOSTILE, { exact: true }).count()) >= 5);
    await beating.stop();
    assert.deepEqual(page.wrong, []);
    await page.context().close();
});

test('a sheet is imported after its differences were seen', async () => {
    const page = await open(launched);
    await enter(page);
    await visit(page, 'import');
    const file = (text) => ({ name: 'servers.csv', mimeType: 'text/csv', buffer: Buffer.from(text) });
    await page.setInputFiles('input[type=file]', file('name,address\nimported-1,192.0.2.1\nimported-2,192.0.2.2\n'));
    await page.getByText('2 new, 0 changed, 0 as they are').waitFor();
    assert.equal((await ask('GET', '/servers?q=imported')).total, 0, 'nothing is changed yet');
    await page.getByRole('button', { name: 'Apply 2 changes' }).click();
    await page.getByRole('heading', { name: 'Servers', exact: true }).waitFor();
    assert.equal((await ask('GET', '/servers?q=imported')).total, 2);
    await visit(page, 'import');
    await page.setInputFiles('input[type=file]', file('name,labels\nimported-1,env:prod\n,x:y\n'));
    await page.getByText(/One mistake/).waitFor();
    assert.ok(await page.getByRole('button', { name: /Apply/ }).isDisabled());
    await page.context().close();
});

test('a schedule tells its next runs before it is made', async () => {
    const page = await open(launched);
    await enter(page);
    await visit(page, 'reports');
    await page.getByRole('button', { name: 'New schedule' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel(/^When/).fill('30 6 * * 1');
    await dialog.getByText('Every Monday at 06:30').first().waitFor();
    await dialog.getByLabel('To whom').fill('ops@example.org');
    await dialog.locator('ol li').nth(4).waitFor();
    await dialog.getByRole('button', { name: 'Save' }).click();
    await page.locator('main li', { hasText: 'Every Monday at 06:30' }).waitFor();
    const { items } = await ask('GET', '/report-schedules');
    assert.deepEqual([items[0].cron, items[0].recipients], ['30 6 * * 1', ['ops@example.org']]);
    await page.context().close();
});

test('an incident turns up, is acknowledged and commented, and its timeline tells it', async () => {
    await beat(await enrol('falls-silent'));
    const page = await open(launched);
    await enter(page);
    await visit(page, 'incidents?server=falls-silent&level=critical');
    await page.locator('main').getByRole('link', { name: 'falls-silent' }).click();
    await page.getByRole('heading', { name: 'falls-silent: Server silent' }).waitFor();
    await page.locator('nav').getByTitle(/open incident/).waitFor();
    const act = async (name, note) => {
        await page.locator('main').getByRole('button', { name, exact: true }).click();
        const dialog = page.getByRole('dialog');
        await dialog.getByRole('textbox').fill(note);
        await dialog.getByRole('button', { name, exact: true }).click();
        await dialog.waitFor({ state: 'detached' });
    };
    await act('Acknowledge', 'mine');
    await page.getByRole('button', { name: 'Unacknowledge' }).waitFor();
    await act('Comment', `${HOSTILE} seen`);
    const steps = page.locator('.timeline li');
    await steps.nth(2).waitFor();
    const [opened, taken, said] = await steps.allTextContents();
    assert.match(opened, /Rollcall.*Opened: critical/s);
    assert.match(taken, /admin.*Acknowledged.*mine/s);
    assert.ok(said.includes('admin') && said.includes(`${HOSTILE} seen`), said);
    await act('Close', 'done with it');
    await page.getByText('Over: closed by hand').waitFor();
    assert.equal(await page.locator('main').getByRole('button', { name: /Acknowledge|Close/ }).count(), 0);
    const { items } = await ask('GET', '/incidents?server=falls-silent');
    assert.deepEqual([items[0].state, items[0].resolution], ['resolved', 'closed']);
    assert.deepEqual(page.wrong, []);
    await page.context().close();
});

test('a channel is made and tested, a route leads there, and an incident says that it was told', async () => {
    const page = await open(launched);
    await enter(page);
    await visit(page, 'alerts?tab=channels');
    const dialog = page.getByRole('dialog');
    const save = async () => {
        await dialog.getByRole('button', { name: 'Save' }).click();
        await dialog.waitFor({ state: 'detached' });
    };
    await page.getByRole('button', { name: 'New channel' }).click();
    await dialog.getByLabel('Name').fill('on call');
    await dialog.getByLabel('To whom').fill('oncall@example.org');
    await save();
    const channel = page.locator('main li', { hasText: 'on call' });
    await channel.getByRole('button', { name: 'Test: on call' }).click();
    await channel.getByText('sent', { exact: true }).waitFor();

    await visit(page, 'alerts?tab=routes');
    await page.getByRole('button', { name: 'New route' }).click();
    await dialog.getByLabel(/^Name/).fill('all of it');
    await dialog.getByLabel('on call').check();
    await save();
    await page.locator('main li', { hasText: 'all of it' }).getByText('at once → on call').waitFor();

    await beat(await enrol('is-told'));
    await visit(page, 'incidents?server=is-told');
    await page.locator('main').getByRole('link', { name: 'is-told' }).click();
    await page.locator('tr', { hasText: 'on call' }).getByText('sent', { exact: true }).waitFor();
    assert.deepEqual(page.wrong, []);
    await page.context().close();
});

test('a rule is tried before it is saved, and silences and maintenance are made and ended', async () => {
    const page = await open(launched);
    await enter(page);
    await visit(page, 'alerts');
    const dialog = page.getByRole('dialog');
    const row = (text) => page.locator('main li', { hasText: text });
    const answer = async (name) => {
        await dialog.getByRole('button', { name }).click();
        await dialog.waitFor({ state: 'detached' });
    };
    await page.getByRole('button', { name: 'Change: Disk nearly full' }).click();
    await dialog.getByLabel('Warning from').fill('30');
    await dialog.getByLabel('For how many minutes').fill('7');
    await dialog.getByRole('button', { name: 'What it would do' }).click();
    await dialog.getByText(/It binds .* servers, .* over now/).waitFor();
    await answer('Save');
    await row('Disk nearly full').getByText(/> 30 % warning, > 95 % critical.*for 7 min/).waitFor();
    await page.getByRole('button', { name: 'Disable: Disk nearly full' }).click();
    await row('Disk nearly full').getByText('off', { exact: true }).waitFor();

    await visit(page, 'alerts?tab=silences');
    await page.getByRole('button', { name: 'New silence' }).click();
    await dialog.getByLabel(/^Only servers/).fill('site:moon');
    await answer('Save');
    await row('site:moon').getByRole('button', { name: 'Delete' }).click();
    await answer('Delete');
    await row('site:moon').waitFor({ state: 'detached' });

    await visit(page, 'alerts?tab=windows');
    await page.getByRole('button', { name: 'Plan maintenance' }).click();
    await dialog.getByLabel('Name').fill('Move of the rack');
    await dialog.getByLabel(/^Only servers/).fill('site:moon');
    await dialog.getByText('It is about 0 servers').waitFor();
    await answer('Save');
    await row('Move of the rack').getByText('open now').waitFor();
    await page.getByRole('button', { name: 'Delete: Move of the rack' }).click();
    await answer('Delete');
    await row('Move of the rack').waitFor({ state: 'detached' });
    assert.deepEqual([(await ask('GET', '/silences')).items.filter(({ match }) => match.labels?.site === 'moon').length, (await ask('GET', '/maintenance-windows')).total], [0, 0]);
    assert.deepEqual(page.wrong, []);
    await page.context().close();
});

test('uptime is a matrix by day with targets for labels, and is exported as text', async () => {
    const host = await enrol('=counted');
    const beating = keepBeating([host]);
    const page = await open(launched);
    await enter(page);
    for (let tries = 0; tries < 100 && !(await ask('GET', '/uptime?q=counted')).items[0]?.expected_ms; tries++) await beat(host);
    await visit(page, 'uptime?q=counted');
    const row = page.locator('main li.line', { hasText: '=counted' });
    await row.locator('.day').nth(29).waitFor();
    assert.equal(await row.locator('.day.none').count(), 29, 'only today something was expected');
    await page.getByRole('link', { name: '90 days' }).click();
    await row.locator('.day').nth(89).waitFor();
    await beating.stop();
    await page.getByLabel('Target in percent').fill('99.9 site:moon=100');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => decodeURIComponent(location.hash).includes('target=99.9'));
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Export as csv' }).click()]);
    const sheet = readFileSync(await download.path(), 'utf8');
    assert.match(sheet, /^name,labels,uptime,\d{4}-\d\d-\d\d,/);
    assert.match(sheet, /\r\n'=counted,,/, 'no cell is a formula');
    assert.deepEqual(page.wrong, []);
    await page.context().close();
});

test('the list shows what was lately, in rows and cards, and its query bar completes', async () => {
    const host = await enrol('sparkling');
    await ask('PATCH', `/servers/${host.server_id}`, { labels: { rack: 'r 7' } }, undefined, { 'if-match': '*' });
    const beating = keepBeating([host]);
    const page = await open(launched);
    await enter(page);
    await visit(page, 'servers?q=sparkling');
    await page.locator('tbody tr', { hasText: 'sparkling' }).getByRole('img', { name: /heard in \d+ of its last/ }).waitFor();
    await page.getByRole('link', { name: 'Cards' }).click();
    await page.locator('main li.card', { hasText: 'sparkling' }).getByRole('img', { name: /heard in/ }).waitFor();
    const offered = () => page.locator('datalist option').evaluateAll((all) => all.map((one) => one.value));
    await page.fill('main input[type=search]', 'sparkling st');
    assert.deepEqual(await offered(), ['down', 'unknown', 'paused', 'up'].map((state) => `sparkling state:${state}`));
    await page.fill('main input[type=search]', 'rack:');
    await page.waitForFunction(() => [...document.querySelectorAll('datalist option')].some(({ value }) => value === '"rack:r 7"'));
    await page.fill('main input[type=search]', '"rack:r 7"');
    await page.getByText('Page 1 of 1 · 1 servers').waitFor();
    await page.getByRole('link', { name: 'Honeycomb' }).click();
    await page.getByRole('img', { name: /All servers: 1 up/ }).waitFor();
    await beating.stop();
    await visit(page, 'servers?q=sparkling');
    await page.locator('tr.down', { hasText: /measured \d+ s ago/ }).waitFor();
    assert.deepEqual(page.wrong, []);
    await page.context().close();
});

test('a server has a chart for each part, its room, and a day for each of 90', async () => {
    const host = await enrol('many-parts');
    const parts = { disks: [{ mount: '/', total: 1e11, used: 4e10, read: 1, written: 2 }, { mount: '/data', total: 1e12, used: 9e11, read: 3, written: 4 }], networks: [{ name: 'eth0', received: 1, sent: 2 }, { name: 'eth1', received: 3, sent: 4 }] };
    const beating = keepBeating([host], parts);
    const page = await open(launched);
    await enter(page);
    await visit(page, `servers/${host.server_id}?range=15m`);
    for (const title of ['Disks, how full', 'Disk traffic, by disk', 'Cores over time', 'Network: eth0', 'Network: eth1']) await page.locator('figure', { has: page.getByRole('heading', { name: title }) }).waitFor();
    const room = page.locator('section', { has: page.getByRole('heading', { name: 'Room on disks' }) });
    await room.locator('tr', { hasText: '/data' }).getByText('too short a time to tell').waitFor();
    assert.equal(await page.locator('main ol .cell').count() >= 90, true);
    await beating.stop();
    assert.deepEqual(page.wrong, []);
    await page.context().close();
});

test('what runs on a server is told at a moment and over a range', async () => {
    const host = await enrol('runs-things');
    const row = (pid, name, cpu, rss) => ({ pid, start_ms: 1000 + pid, cpu, rss, name, ppid: 1, user: 'db' });
    const processes = { level: 'basic', keyframe: true, count: 112, running: 3, blocked: 1, rows: [row(4711, 'postgres', 183.5, 2 ** 31), row(4712, HOSTILE, 12, 2 ** 33)], other: { cpu: 4.5 } };
    const beating = keepBeating([host], { processes });
    const page = await open(launched);
    await enter(page);
    await visit(page, `servers/${host.server_id}?range=15m&tab=processes`);
    await page.getByText('112 processes, 3 running, 1 waiting for a disk').waitFor();
    const table = page.getByRole('region', { name: 'Processes' });
    const names = () => table.locator('tbody th').allTextContents();
    assert.deepEqual((await names()).map((name) => name.trim()), ['postgres', HOSTILE, 'All others']);
    await table.getByRole('link', { name: 'Memory' }).click();
    await page.waitForFunction((name) => document.querySelector('[role=region][aria-label=Processes] tbody th')?.textContent.trim() === name, HOSTILE);
    await page.getByRole('link', { name: 'Over the range' }).click();
    await table.getByRole('link', { name: /^CPU time/ }).waitFor();
    await table.locator('tr', { hasText: 'postgres' }).waitFor();
    await page.getByRole('link', { name: 'At a moment' }).click();
    await page.locator('figure .u-over').first().click();
    await page.waitForFunction(() => /[?&]at=\d{13}/.test(location.hash));
    await beating.stop();
    assert.deepEqual(page.wrong, []);
    await page.context().close();
});

test('a process is ended by who gives the password, where the host lets them', async () => {
    const host = await enrol('takes-orders');
    const row = { pid: 4711, start_ms: 5711, cpu: 183.5, rss: 2 ** 31, name: HOSTILE, ppid: 1, user: 'db' };
    const processes = { level: 'basic', keyframe: true, count: 112, running: 3, blocked: 1, rows: [row] };
    const agent = { boot: '0b6f9d3e-5a1c-4a44-9c1e-2f1d3a4b5c6d', hand: ['process.terminate'] };
    const beating = keepBeating([host], { processes, agent });
    const page = await open(launched);
    await enter(page);
    await visit(page, `servers/${host.server_id}?range=15m&tab=processes`);
    const table = page.getByRole('region', { name: 'Processes' });
    await table.getByRole('button', { name: 'End' }).waitFor();
    assert.equal(await table.getByRole('button', { name: 'Kill' }).count(), 0, 'what its owner does not allow is not offered');
    await table.getByRole('button', { name: 'End' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText(HOSTILE).waitFor();
    await dialog.getByLabel('Why').fill('it fills the disk');
    await dialog.getByLabel(/password/i).fill('not the password');
    await dialog.getByRole('button', { name: 'End' }).click();
    await dialog.getByText('The password is wrong.').waitFor();
    await dialog.getByLabel(/password/i).fill(password);
    await dialog.getByRole('button', { name: 'End' }).click();
    await dialog.getByText('The host has not answered yet').waitFor();
    const headers = { authorization: `Bearer ${host.credential}` };
    const bulletin = await (await fetch(`${base}/healthcheck/v1/bulletin?wait_ms=5000`, { headers })).json();
    const order = JSON.parse(Buffer.from(bulletin.orders[0].payload, 'base64url').toString());
    assert.deepEqual([order.kind, order.process, order.reason], ['process.terminate', { pid: 4711, start_ms: 5711 }, 'it fills the disk']);
    const body = JSON.stringify({ results: [{ order: order.order, state: 'refused', code: 'not_allowed', detail: HOSTILE, at: Date.now() }] });
    assert.equal((await fetch(`${base}/healthcheck/v1/results`, { method: 'POST', headers, body })).status, 202);
    await dialog.getByText('The host refused').waitFor();
    await dialog.getByText('not_allowed').waitFor();
    await dialog.getByRole('button', { name: 'Close' }).click();
    await beating.stop();
    page.wrong = page.wrong.filter((line) => !/403/.test(String(line)));
    assert.deepEqual(page.wrong, []);
    await page.context().close();
});

test('a viewer is offered nothing that is forbidden', async () => {
    await ask('POST', '/users', { username: 'viewer', password: 'a long enough secret', role: 'viewer' });
    const page = await open(launched);
    await enter(page, 'viewer', 'a long enough secret');
    const { items } = await ask('GET', '/servers?page_size=1');
    const incident = await anIncident();
    for (const path of ['', 'servers', 'uptime', `servers/${items[0].id}`, 'incidents', `incidents/${incident}`, 'reports', 'admin']) {
        await visit(page, path);
        for (const name of ['Add a server', 'Import', 'Actions', 'Pause', 'Acknowledge', 'Unacknowledge', 'Comment', 'Close', 'New schedule', 'A report now', 'People', 'Audit', 'Enrolment']) {
            const found = page.locator('main').locator('button, a, summary').filter({ hasText: new RegExp(`^\\s*${name}`) });
            assert.equal(await found.count(), 0, `${path}: ${name}`);
        }
        assert.equal(await page.locator('main input[type=checkbox]:visible').count(), path === 'admin' ? 1 : 0, path);
    }
    for (const path of ['alerts', ...TABS]) {
        await visit(page, path);
        assert.equal(await page.locator('main button').count(), 0, path);
    }
    await visit(page, 'add');
    await page.getByText('There is no such page').first().waitFor();
    assert.deepEqual(page.wrong, []);
    await page.context().close();
});

test('a new tab is logged in, two tabs refresh at once, and logging out ends both', async () => {
    const page = await open(launched);
    await enter(page);
    const others = await Promise.all([0, 1, 2].map(() => tab(page.context())));
    await Promise.all(others.map((other) => other.goto(`${base}/#/servers`)));
    for (const other of others) await other.getByRole('heading', { name: 'Servers' }).waitFor();
    const cookies = await page.context().cookies(`${base}/server-management/v1/sessions`);
    assert.deepEqual(cookies.map(({ httpOnly, sameSite, path }) => [httpOnly, sameSite, path]), [[true, 'Strict', '/server-management/v1/sessions']]);
    assert.equal(await page.evaluate(() => document.cookie + JSON.stringify({ ...localStorage, ...sessionStorage })).then((text) => /rct_|eyJ|[\w-]{40}/.test(text)), false);
    await page.locator('summary', { hasText: 'admin' }).click();
    await page.getByRole('button', { name: 'Log out' }).click();
    for (const other of [page, ...others]) await other.getByRole('button', { name: 'Log in' }).waitFor();
    await page.reload();
    await page.getByRole('button', { name: 'Log in' }).waitFor();
    // A tab that came second is told so by 409 and tries again: the browser notes it, and nobody else.
    for (const other of [page, ...others]) assert.deepEqual(other.wrong.filter((text) => !text.includes('409')), []);
    await page.context().close();
});

test('each page in each language and theme is without errors, serious findings and overflow', async () => {
    const host = await enrol('web-1');
    const beating = keepBeating([host]);
    const paths = [...PAGES, `servers/${host.server_id}`, `servers/${host.server_id}?tab=processes`, `incidents/${await anIncident()}`];
    const page = await open(launched, { viewport: { width: 390, height: 800 } });
    await page.addInitScript(axe);
    await enter(page);
    for (const language of ['en', 'vi', 'zh', 'sq']) {
        for (const theme of ['light', 'dark']) {
            await page.evaluate(([chosen, colours]) => (localStorage.setItem('rollcall.language', chosen), localStorage.setItem('rollcall.theme', colours)), [language, theme]);
            await page.reload();
            await page.waitForSelector(`html[lang=${language}][data-theme=${theme}] nav a.brand`, { state: 'attached' });
            for (const path of paths) {
                await page.evaluate((to) => (location.hash = `#/${to}`), path);
                await settled(page);
                const over = await page.evaluate(() => {
                    const wide = document.documentElement.scrollWidth - innerWidth;
                    const beyond = [...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5);
                    return wide > 0 ? beyond.map((one) => `${one.tagName}.${one.className} ${one.textContent.slice(0, 40)}`).slice(0, 8) : [];
                });
                assert.deepEqual(over, [], `${language} ${theme} ${path} is too wide`);
                // What axe looks at does not depend on the words, but for the first language.
                if (language !== 'en') continue;
                const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
                const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
                assert.deepEqual(serious.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(({ html, failureSummary }) => html.slice(0, 160) + failureSummary.slice(0, 200)).join(' | ')}`), [], `${theme} ${path}`);
            }
        }
    }
    await beating.stop();
    assert.deepEqual(page.wrong, []);
    await page.context().close();
});

test('what is typed and chosen survives a refresh, and stands in the URL', async () => {
    const page = await open(launched);
    await enter(page);
    await visit(page, 'servers');
    await page.keyboard.press('/');
    await page.keyboard.type('imported state:unknown');
    await page.waitForFunction(() => location.hash.includes('imported'));
    await page.getByText('Page 1 of 1 · 2 servers').waitFor();
    await page.reload();
    await page.getByText('Page 1 of 1 · 2 servers').waitFor();
    assert.equal(await page.inputValue('input[type=search]'), 'imported state:unknown');
    await page.locator('h1').focus();
    await page.keyboard.press('j');
    await page.keyboard.press('j');
    await refreshed(page, '/servers?'); // A refresh lets the focus where it was.
    assert.match(await page.evaluate(() => document.activeElement.textContent), /imported-2/);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'imported-2' }).waitFor();
    assert.deepEqual(page.wrong, []);
    await page.context().close();
});

test('10,000 servers are shown', async () => {
    const rows = Array.from({ length: 10_000 }, (_, index) => `many-${String(index).padStart(5, '0')},site:s${index % 7}`);
    const form = new FormData();
    form.append('file', new Blob([`name,labels\n${rows.join('\n')}\n`], { type: 'text/csv' }), 'many.csv');
    const { access_token } = await ask('POST', '/sessions', { username: 'admin', password });
    const answer = await fetch(`${base}/server-management/v1/servers/import`, { method: 'POST', headers: { authorization: `Bearer ${access_token}` }, body: form });
    assert.equal(answer.status, 200, await answer.text());
    const page = await open(launched);
    await enter(page);
    await visit(page, '?group=site');
    await page.waitForFunction(() => /10,\d\d\d|1\d{4} /.test(document.querySelector('canvas')?.ariaLabel ?? document.querySelector('canvas')?.getAttribute('aria-label') ?? ''));
    await page.getByText(/never heard/).first().waitFor();
    await visit(page, 'servers?sort=name&page=3');
    await page.getByText(/Page 3 of 20\d/).waitFor();
    assert.ok((await page.locator('[data-row]').count()) === 50);
    assert.deepEqual(page.wrong, []);
    await page.context().close();
});
