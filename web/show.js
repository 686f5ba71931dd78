// What people read: texts, formats, elements, charts. What comes from hosts is hostile and goes in as text only.

import { now } from './api.js';

const none = '–';

/** The texts that do not stand in index.html. */
export const text = {
    states: { up: 'up', down: 'down', unknown: 'unknown', paused: 'paused' },
    never: 'never',
    ago: span => `${span} ago`,
    moment: (ago, instant) => `${ago}, ${instant}`,
    updated: instant => `Updated ${instant}`,
    late: span => `Monitoring is late by ${span}.`,
    notYet: 'Monitoring has not begun yet.',
    lateSpoken: 'monitoring is late',
    dead: count => `${count} dead ${count === 1 ? 'letter' : 'letters'}: what no store took. Mend the cause the worker logged, then run healthcheck-worker redrive.`,
    deadMail: count => `${count} dead ${count === 1 ? 'letter' : 'letters'} of mail: what is no job. Upgrade mail, then run mail redrive.`,
    noServers: 'No server yet: add the first one.',
    noMatch: 'No server matches.',
    page: (page, pages, total) => `${total} ${total === 1 ? 'server' : 'servers'}, page ${page} of ${pages}`,
    cores: (count, busiest) => `${count}, busiest ${busiest}`,
    of: (used, total) => `${used} of ${total}`,
    covered: (covered, expected) => `heard for ${covered} of ${expected}`,
    reading: (name, mean, peak) => `${name}: mean ${mean}, peak ${peak}`,
    noData: 'no data in this range',
    pausedNote: (since, until, reason) => `Paused since ${since}${until ? ` until ${until}` : ''}${reason ? `: ${reason}` : '.'}`,
    conflict: 'Two agents report with its credential, as when a machine was cloned: its figures are of both. Revoke the credential, and let each machine enrol by itself.',
    pause: 'Pause',
    resume: 'Resume',
    askReason: 'Why is it not expected to report?',
    askDelete: name => `Delete ${name}? Its credential will be refused and its history expires.`,
    outages: (count, total) => `${count} ${count === 1 ? 'outage' : 'outages'}, ${total} together.`,
    outagesShown: count => `The latest ${count} are shown.`,
    noOutages: 'None.',
    badLabels: 'Labels are key:value, one a line.',
    madeNote: instant => `The token works until ${instant} and is shown only now.`,
    retryAfter: seconds => `Try again in ${seconds} s.`,
    problems: {
        unreachable: 'Rollcall does not answer.',
        unavailable: 'A part of Rollcall does not answer.',
        unauthorized: 'Your session has ended: log in again.',
        bad_login: 'User name or password is wrong.',
        insufficient_scope: 'Your account may not do this.',
        not_found: 'There is no such server.',
        name_taken: 'Another server has this name.',
        precondition_failed: 'Somebody changed it meanwhile: close and open the form to see how it is now.',
        rate_limited: 'Too many tries.',
        unexpected: 'Something went wrong in this page; loading it again may help.',
    },
};

/** A problem in words. */
export function words({ code, detail, retryAfter }) {
    const said = text.problems[code] ?? detail ?? code ?? text.problems.unexpected;
    return code === 'rate_limited' && retryAfter ? `${said} ${text.retryAfter(retryAfter)}` : said;
}

const told = format => value => (value === undefined || value === null ? none : format(value));
const short = value => value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);

export const GiB = told(bytes => (bytes > 0 && bytes < 2 ** 30 ? `${short(bytes / 2 ** 20)} MiB` : `${short(bytes / 2 ** 30)} GiB`));
export const percent = told(share => `${share.toFixed(share < 9.95 ? 1 : 0)} %`);
export const number = told(value => value.toFixed(2));
export const celsius = told(degrees => `${degrees.toFixed(0)} °C`);

export const rate = told(bytes => {
    const power = bytes < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(bytes) / 3));
    return `${power ? short(bytes / 1000 ** power) : bytes.toFixed(0)} ${['', 'k', 'M', 'G', 'T'][power]}B/s`;
});

/** Cut, never rounded up: only what was heard all of the time shows as 100 %. */
export const uptime = told(ratio => {
    const decimals = ratio >= 0.999 && ratio < 1 ? 3 : 2;
    return `${(Math.floor(ratio * 100 * 10 ** decimals + 1e-6) / 10 ** decimals).toFixed(decimals)} %`;
});

export const span = told(ms => {
    const seconds = Math.round(Math.abs(ms) / 1000);
    const [size, unit] = [[86_400, 'd'], [3600, 'h'], [60, 'min']].find(([size]) => seconds >= 2 * size) ?? [1, 's'];
    return `${Math.floor(seconds / size)} ${unit}`;
});

/** RFC 3339 in UTC. */
export const instant = told(at => new Date(at).toISOString().replace('T', ' ').replace(/\.\d+/, ''));
export const ago = at => (at ? text.ago(span(Math.max(0, now() - at))) : text.never);
export const moment = at => (at ? text.moment(ago(at), instant(at)) : undefined);

const maker = namespace => (tag, attributes = {}, ...children) => {
    const made = document.createElementNS(namespace, tag);
    for (const [name, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(name, value);
    made.append(...children);
    return made;
};

/** An element; its children are elements, or strings, which become text. */
export const element = maker('http://www.w3.org/1999/xhtml');
const svg = maker('http://www.w3.org/2000/svg');

/** Text of someone else, which cannot reorder what stands around it. */
export const foreign = value => element('bdi', { title: value ?? undefined }, value ?? none);
export const state = status => element('span', { class: `state ${status}` }, text.states[status] ?? status);
export const cell = (...children) => element('td', {}, ...children);
export const figure = value => element('td', { class: 'figure' }, value);
export const head = child => element('th', { scope: 'row' }, child);

/** A cell with a bar for a share of 0 to 100 behind its text. */
export function share(value, ...more) {
    const made = element('td', { class: value >= 90 ? 'figure share high' : 'figure share' }, percent(value), ...more);
    made.style.setProperty('--share', `${value ?? 0}%`);
    return made;
}

/** Puts children in place of those there are; what had the focus has it again, by its id. */
export function fill(parent, ...children) {
    const focused = parent.contains(document.activeElement) ? document.activeElement.id : '';
    parent.replaceChildren(...children);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

/** Fills a list of facts that stands in the page; the style hides what is not told. */
export function facts(parent, values) {
    for (const fact of parent.querySelectorAll('[data-fact]')) fact.replaceChildren(values[fact.dataset.fact] ?? '');
}

/** Draws means as lines with peaks behind them into a figure of the page. `top` is the least top of its axis. */
export function chart(parent, { points, from, to, gap }, format, top) {
    const lines = [...parent.querySelectorAll('[data-line]')].map(({ dataset: { line }, textContent }, index) =>
        ({ name: line, label: textContent, index, known: points.filter(point => point[line]) })).filter(({ known }) => known.length);
    const highest = Math.max(0, ...lines.flatMap(({ name, known }) => known.map(point => point[name].max)));
    const power = 10 ** Math.floor(Math.log10(highest));
    const ceiling = highest > top ? [1, 2, 5, 10].find(step => step * power >= highest) * power : top;
    const draw = ({ name, index, known }, part) => {
        const steps = known.map((point, step) => {
            const starts = step === 0 || point.at - known[step - 1].at > gap;
            const place = `${(1000 * (point.at - from) / (to - from)).toFixed(1)} ${(100 - 100 * point[name][part] / ceiling).toFixed(2)}`;
            return starts ? `M${place}h0` : `L${place}`;
        });
        return svg('path', { class: `line${index} ${part}`, d: steps.join('') });
    };
    fill(parent.querySelector('g'), ...['max', 'avg'].flatMap(part => lines.map(line => draw(line, part))));
    const summary = lines.map(({ name, label, known }) => {
        const samples = known.reduce((sum, point) => sum + point.count, 0);
        const mean = known.reduce((sum, point) => sum + point[name].avg * point.count, 0) / samples;
        return text.reading(label, format(mean), format(Math.max(...known.map(point => point[name].max))));
    }).join('; ') || text.noData;
    const [plot, reading] = [parent.querySelector('svg'), parent.querySelector('.reading')];
    plot.setAttribute('aria-label', `${parent.querySelector('strong').textContent}: ${summary}`);
    reading.textContent = summary;
    plot.onpointerleave = () => { reading.textContent = summary; };
    plot.onpointermove = event => {
        const at = from + (to - from) * event.offsetX / plot.clientWidth;
        const near = points.reduce((best, point) => (Math.abs(point.at - at) < Math.abs(best.at - at) ? point : best), points[0]);
        const values = lines.map(({ name, label }) => text.reading(label, format(near[name]?.avg), format(near[name]?.max)));
        if (near) reading.textContent = `${instant(near.at)}: ${values.join('; ')}`;
    };
    const labels = [format(ceiling), format(ceiling / 2), format(0), instant(from).slice(5, 16), instant(to).slice(5, 16)];
    parent.querySelectorAll('.axis span').forEach((label, index) => { label.textContent = labels[index]; });
}

