// Routes and views. The hash holds all that chooses what is shown. api.js has the data, show.js the looks.

import { Problem, change, download, get, getTagged, logIn, logOut, loggedIn, now, post, remove } from './api.js';
import {
    GiB, ago, cell, celsius, chart, element, facts, figure, fill, foreign, head, instant, moment, number, percent, rate, share, span,
    state, text, uptime, words,
} from './show.js';

const [second, minute, hour, day] = [1000, 60_000, 3_600_000, 86_400_000];
const refreshEvery = 10 * second;
const ranges = { '1h': [hour, 60], '24h': [day, 144], '7d': [7 * day, 168] };
const uptimes = { '1h': hour, '24h': day, '7d': 7 * day, '30d': 30 * day };
const loaders = { fleet: showFleet, server: showServer };
const forms = {
    login: submitLogin, filter: submitFilter, enrol: submitEnrol, export: submitExport, pause: submitPause, delete: submitDelete, edit: submitEdit,
};
/** Outages in one table. */
const mostOutages = 20;

const at = id => document.getElementById(id);
/** Percent in use of what tells its total. */
const used = of => (of?.total && of.used !== undefined ? 100 * of.used / of.total : undefined);
const mark = (link, current) => link.setAttribute('aria-current', current);

let shown = {};
let trouble;
let timer;
let underWay = new AbortController();

/** Says it once, however often it is said: a live region reads out each change. */
function say(id, words) {
    if (at(id).textContent !== words) at(id).textContent = words;
}

function route() {
    const [path, query] = location.hash.replace(/^#/, '').split('?');
    const id = path.match(/^\/servers\/([\w-]+)$/)?.[1];
    const view = !loggedIn() ? 'login' : id ? 'server' : path === '/add' ? 'add' : 'fleet';
    return { view, id, query: Object.fromEntries(new URLSearchParams(query)) };
}

/** Shows what the hash asks for, now and every 10 s while someone looks. */
async function run() {
    clearTimeout(timer);
    underWay.abort();
    const { signal } = underWay = new AbortController();
    const asked = route();
    enter(asked);
    if (!loaders[asked.view]) return;
    trouble = undefined;
    try {
        await loaders[asked.view](asked, signal);
        say('problem', trouble ? words(trouble) : '');
        at('main').classList.remove('stale');
    } catch (error) {
        if (signal.aborted) return;
        at('main').classList.add('stale');
        fail(error);
    }
    if (!signal.aborted && loggedIn()) timer = setTimeout(() => { if (!document.hidden) run(); }, refreshEvery);
}

/** Makes a view afresh, so that nothing of another view, server or session is left. */
function enter({ view, id }) {
    if (shown.view === view && shown.id === id) return;
    shown = { view, id, answers: new Map() };
    at('main').replaceChildren(at(`view-${view}`).content.cloneNode(true));
    at('main').classList.remove('stale');
    at('nav').hidden = at('log-out').hidden = view === 'login';
    for (const name of ['fleet', 'add']) mark(at(`to-${name}`), name === view);
    say('spoken', '');
    const title = document.querySelector('h1');
    document.title = title.textContent ? `${title.textContent} – Rollcall` : 'Rollcall';
    if (view !== 'login') say('problem', '');
    if (view === 'login') at('username').focus();
    else title.focus();
}

function fail(error) {
    if (!(error instanceof Problem)) console.error(error);
    say('problem', words(error));
    if (!loggedIn()) enter(route());
}

/** What a view can do without; its problem is told all the same. */
const optional = promise => promise.catch(error => {
    if (!(error instanceof Problem) || !loggedIn()) throw error;
    trouble = error;
});

async function showFleet({ query }, signal) {
    const { q = '', status = '', sort = 'name', page = '1' } = query;
    for (const [id, value] of Object.entries({ q, status })) if (document.activeElement !== at(id)) at(id).value = value;
    const asked = { q, status, sort, page, page_size: 50 };
    // By the minute, so that an answer that did not change is not sent again.
    const to = Math.floor(now() / minute) * minute;
    const [counts, servers, figures] = await Promise.all([
        get('/status', {}, signal), get('/servers', asked, signal),
        optional(get('/uptime', { ...asked, from: to - day, to }, signal)),
    ]);
    const uptimeOf = new Map(figures?.items.map(item => [item.server_id, item.uptime]));
    showCounts(counts, query);
    for (const column of document.querySelectorAll('[data-sort]')) {
        const key = column.dataset.sort;
        const order = sort === key ? 'ascending' : sort === `-${key}` ? 'descending' : 'none';
        column.setAttribute('aria-sort', order);
        column.firstElementChild.href = fleet(query, { sort: order === 'ascending' ? `-${key}` : key });
    }
    const nothing = q || status || servers.total ? text.noMatch : text.noServers;
    const rows = servers.items.map(server => serverRow(server, uptimeOf.get(server.id)));
    fill(at('servers'), ...(rows.length ? rows : [element('tr', {}, element('td', { colspan: 8 }, nothing))]));
    showPages(servers, query);
    at('updated').textContent = text.updated(instant(now()));
}

/** The address of the same list with something changed; it begins at its first page again. */
function fleet(query, changes) {
    const next = Object.entries({ ...query, page: '', ...changes }).filter(([, value]) => value !== '');
    return `#/?${new URLSearchParams(next)}`;
}

function showCounts(counts, query) {
    const states = Object.entries(text.states);
    fill(at('counts'), ...states.map(([status, name]) => {
        const chosen = query.status === status;
        const href = fleet(query, { status: chosen ? '' : status });
        const count = element('b', {}, String(counts[status]));
        const link = element('a', { id: `count-${status}`, class: `state ${status}`, href }, count, ` ${name}`);
        mark(link, chosen);
        return element('li', {}, link);
    }));
    const lag = counts.pipeline_lag_ms;
    at('late').textContent = !counts.late ? '' : lag === null ? text.notYet : text.late(span(lag));
    const dead = [[counts.dead_letters, text.dead], [counts.mail_dead_letters, text.deadMail]];
    at('dead').textContent = dead.filter(([count]) => count).map(([count, tell]) => tell(count)).join(' ');
    const told = states.map(([status, name]) => `${counts[status]} ${name}`);
    say('spoken', [...told, ...(counts.late ? [text.lateSpoken] : [])].join(', '));
}

function showPages({ total, page, page_size: size }, query) {
    const pages = Math.max(1, Math.ceil(total / size));
    for (const [id, target] of [['previous', Math.min(page - 1, pages)], ['next', page + 1]]) {
        at(id).hidden = target < 1 || target > pages;
        at(id).href = fleet(query, { page: String(target) });
    }
    at('pages').textContent = text.page(page, pages, total);
}

function serverRow({ id, name, status, last_seen_at: seen, latest }, upFor) {
    const { cpu, memory, load, disks = [] } = latest ?? {};
    const [fullest] = disks.filter(disk => used(disk) !== undefined).sort((one, other) => used(other) - used(one));
    return element('tr', {},
        head(element('a', { id: `server-${id}`, href: `#/servers/${id}` }, foreign(name))),
        cell(state(status)), element('td', { title: seen ? instant(seen) : undefined }, ago(seen)),
        share(cpu?.total), share(used(memory)), fullest ? share(used(fullest), ' ', foreign(fullest.mount)) : share(),
        figure(number(load?.[0])), figure(uptime(upFor)));
}

async function showServer({ id, query }, signal) {
    const range = Object.hasOwn(ranges, query.range) ? query.range : '1h';
    for (const name of Object.keys(ranges)) {
        at(`range-${name}`).href = `#/servers/${id}?range=${name}`;
        mark(at(`range-${name}`), name === range);
    }
    const path = `/servers/${id}`;
    const [length, points] = ranges[range];
    const [server, series, outages, ...figures] = await Promise.all([
        get(path, {}, signal), overTime(`${path}/snapshots`, length, { points }, signal), overTime(`${path}/outages`, length, {}, signal),
        ...Object.values(uptimes).map(back => overTime(`${path}/uptime`, back, {}, signal)),
    ]);
    fill(document.querySelector('h1'), foreign(server.name), ' ', state(server.status));
    document.title = `${server.name} – Rollcall`;
    say('spoken', `${server.name}: ${text.states[server.status]}`);
    facts(at('uptime'), Object.fromEntries(Object.keys(uptimes).map((name, index) => [name, uptimeFigure(figures[index])])));
    showNotes(server);
    showOutages(outages?.outages);
    showFacts(server);
    showLatest(server.latest ?? {});
    showCharts(series ?? { points: [], from: now() - length, to: now() }, length / points, server.latest ?? {});
    at('updated').textContent = text.updated(instant(now()));
}

/** A range up to now; asked again only when its age can be seen, for a long range costs much and changes slowly. */
async function overTime(path, length, query, signal) {
    const [key, to, { answers }] = [`${path} ${length}`, now(), shown];
    if (to < (answers.get(key)?.to ?? 0) + Math.min(length / 500, 300 * second)) return answers.get(key);
    const answer = await optional(get(path, { from: to - length, to, ...query }, signal));
    if (answer) answers.set(key, { ...answer, from: to - length, to });
    return answers.get(key);
}

function uptimeFigure(answer) {
    const title = answer?.expected_ms ? text.covered(span(answer.covered_ms), span(answer.expected_ms)) : undefined;
    return element('span', { title }, uptime(answer?.uptime));
}

function showNotes({ name, paused, conflict }) {
    shown.name = name;
    shown.paused = paused !== null;
    at('pause-button').textContent = paused ? text.resume : text.pause;
    at('conflict').textContent = conflict ? text.conflict : '';
    at('paused').textContent = paused ? text.pausedNote(instant(paused.since), paused.until && instant(paused.until), paused.reason) : '';
}

function showOutages(outages) {
    const latest = (outages ?? []).slice(-mostOutages).reverse();
    const total = (outages ?? []).reduce((sum, outage) => sum + outage.length_ms, 0);
    const more = outages?.length > latest.length ? ` ${text.outagesShown(latest.length)}` : '';
    at('outages-note').textContent = outages?.length ? text.outages(outages.length, span(total)) + more : outages ? text.noOutages : '';
    at('outages-table').hidden = !latest.length;
    fill(at('outages'), ...latest.map(({ from, to, length_ms: length }) =>
        element('tr', {}, cell(instant(from)), cell(instant(to)), figure(span(length)))));
}

function showFacts({ id, address, labels, facts: host, last_seen_at: seen, created_at: made, enrolled_at: enrolled }) {
    const theirs = Object.entries({ address, ...host }).map(([name, value]) => [name, value && foreign(value)]);
    const labelled = Object.entries(labels ?? {}).map(([key, value]) => element('span', { class: 'label' }, foreign(`${key}: ${value}`)));
    facts(at('facts'), {
        ...Object.fromEntries(theirs), id, enrolled: instant(enrolled ?? made), seen: moment(seen) ?? text.never, boot_at: moment(host?.boot_at),
        labels: labelled.length ? element('span', {}, ...labelled) : undefined,
    });
}

function showLatest({ sampled_at: sampled, cpu, load, memory, agent, disks, networks, temperatures }) {
    const counts = Object.entries(agent ?? {}).map(([name, count]) => [name, count ? String(count) : undefined]);
    facts(at('latest'), {
        ...Object.fromEntries(counts), skew_ms: agent?.skew_ms ? span(agent.skew_ms) : undefined, sampled: sampled && moment(sampled),
        cpu: cpu && percent(cpu.total), kinds: cpu && [cpu.user, cpu.system, cpu.iowait, cpu.steal].map(percent).join(', '),
        cores: cpu?.cores && text.cores(cpu.cores.length, percent(Math.max(...cpu.cores))), load: load?.map(number).join(', '),
        memory: memory && text.of(GiB(memory.used), GiB(memory.total)),
        swap: memory?.swap_total ? text.of(GiB(memory.swap_used), GiB(memory.swap_total)) : undefined,
    });
    rows('disks', disks, disk => [head(foreign(disk.mount)), cell(foreign(disk.device)), cell(foreign(disk.filesystem)),
        figure(GiB(disk.used)), figure(GiB(disk.total)), share(used(disk)), figure(rate(disk.read)), figure(rate(disk.written))]);
    rows('networks', networks, network => [head(foreign(network.name)), figure(rate(network.received)), figure(rate(network.sent))]);
    rows('temperatures', temperatures, sensor => [head(foreign(sensor.name)), figure(celsius(sensor.celsius))]);
}

function rows(id, items = [], cells) {
    at(id).closest('section').hidden = !items.length;
    fill(at(id), ...items.map(item => element('tr', {}, ...cells(item))));
}

function showCharts(series, bucket, { covers_ms: covers = 0, memory }) {
    // A server that reports less often than once a bucket leaves buckets empty without having been silent.
    const data = { ...series, gap: Math.max(1.5 * bucket, 4 * covers) };
    chart(at('chart-cpu'), data, percent, 100);
    chart(at('chart-memory'), data, GiB, memory?.total ?? 2 ** 30);
    chart(at('chart-network'), data, rate, 1000);
    chart(at('chart-load'), data, number, 1);
}

document.addEventListener('submit', async event => {
    event.preventDefault();
    const [form, button] = [event.target, event.submitter ?? {}];
    button.disabled = true;
    try {
        await forms[form.id](Object.fromEntries(new FormData(form)));
    } catch (error) {
        fail(error);
    } finally {
        button.disabled = false;
    }
});

async function submitLogin({ username, password }) {
    await logIn(username, password).catch(error => { throw error.code === 'unauthorized' ? new Problem('bad_login') : error; });
    run();
}

function submitFilter({ q, status }) {
    history.replaceState(null, '', fleet(route().query, { q: q.trim(), status }));
    run();
}

async function submitEnrol({ uses, expires }) {
    const { token, expires_at: until } = await post('/enrolment-tokens', { uses: Number(uses), expires_in: Number(expires) });
    const agents = await optional(get('/agents'));
    say('problem', '');
    at('made-note').textContent = text.madeNote(instant(until ?? now() + expires * second));
    // By itself, to be pasted: a command line is read by others, and kept by the shell.
    for (const id of ['token', 'asked-token']) at(id).textContent = token;
    at('install').textContent = `curl -fsSL ${location.origin}/install.sh | sh`;
    at('by-script').hidden = !agents?.items.length;
    at('by-hand').hidden = !at('by-script').hidden;
    at('start').textContent = `ROLLCALL_URL=${location.origin} ROLLCALL_TOKEN_FILE=rollcall-token rollcall-agent`;
    at('local').hidden = !/^(localhost|127\.|\[::1\])/.test(location.hostname);
    at('made').hidden = false;
    at('made-title').focus();
}

async function submitExport({ format }) {
    const { q, status } = route().query;
    const url = URL.createObjectURL(await download('/servers/export', { format, q, status }));
    element('a', { href: url, download: `servers.${format}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60 * second);
}

async function submitPause() {
    const { id, paused } = shown;
    const reason = paused ? '' : prompt(text.askReason, '');
    if (reason === null) return;
    await post(`/servers/${id}/${paused ? 'resume' : 'pause'}`, paused ? undefined : { reason: reason.trim() || undefined });
    run();
}

async function submitDelete() {
    const { id, name } = shown;
    if (!confirm(text.askDelete(name))) return;
    await remove(`/servers/${id}`);
    location.hash = '#/';
}

/** As it is when the form is opened; what is saved is a change of that. */
document.addEventListener('toggle', async ({ target }) => {
    if (target.id !== 'change' || !target.open) return;
    const { id } = shown;
    try {
        const { etag, body: { name, address, labels } } = await getTagged(`/servers/${id}`);
        if (shown.id !== id) return;
        shown.etag = etag;
        at('edit-name').value = name;
        at('edit-address').value = address ?? '';
        at('edit-labels').value = Object.entries(labels).map(([key, value]) => `${key}:${value}`).join('\n');
        at('edit-button').disabled = false;
    } catch (error) {
        fail(error);
    }
}, true);

async function submitEdit({ name, address, labels }) {
    const lines = labels.split('\n').map(line => line.trim()).filter(line => line);
    if (lines.some(line => !line.includes(':'))) throw new Problem('bad_labels', text.badLabels);
    const pairs = lines.map(line => [line.slice(0, line.indexOf(':')).trim(), line.slice(line.indexOf(':') + 1).trim()]);
    await change(`/servers/${shown.id}`, shown.etag, { name, address: address.trim() || null, labels: Object.fromEntries(pairs) });
    at('change').open = false;
    run();
}

let typing;
document.addEventListener('input', ({ target: { form } }) => {
    clearTimeout(typing);
    if (form?.id === 'filter') typing = setTimeout(() => { if (form.isConnected) form.requestSubmit(); }, 300);
});

at('log-out').addEventListener('click', async () => {
    await logOut().catch(fail);
    history.replaceState(null, '', '#/');
    run();
});
addEventListener('hashchange', run);
document.addEventListener('visibilitychange', () => { if (!document.hidden) run(); });
run();
