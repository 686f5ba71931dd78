/** Figures and times as people read them, in the language that is spoken and the zone of the browser. */
import { spoken, t } from '../words/index.svelte';
import { now } from './client';

export const none = '–';

type Maybe = number | null | undefined;
const told =
    (format: (value: number) => string) =>
    (value: Maybe): string =>
        value === null || value === undefined || !Number.isFinite(value) ? none : format(value);

const number = (value: number, decimals: number): string =>
    value.toLocaleString(spoken.language, { minimumFractionDigits: decimals, maximumFractionDigits: decimals });

/** Three digits that tell something. */
const short = (value: number): string => number(value, value < 10 ? 2 : value < 100 ? 1 : 0);

function scaled(value: number, step: number, units: readonly string[]): string {
    let power = 0;
    while (Math.abs(value) >= step && power < units.length - 1) {
        value /= step;
        power++;
    }
    return `${power === 0 ? number(value, 0) : short(value)} ${units[power]}`;
}

export const bytes = told((value) => scaled(value, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']));
export const rate = told((value) => scaled(value, 1000, ['B/s', 'kB/s', 'MB/s', 'GB/s', 'TB/s', 'PB/s']));
export const percent = told((value) => `${number(value, value < 9.95 ? 1 : 0)} %`);
export const whole = told((value) => number(value, 0));
export const plain = told((value) => number(value, 2));
export const celsius = told((value) => `${number(value, 0)} °C`);

/** Cut, never rounded up: only what was heard all of the time is 100 %. */
export const uptime = told((ratio) => {
    const decimals = ratio >= 0.999 && ratio < 1 ? 3 : ratio === 1 ? 0 : 2;
    return `${number(Math.floor(ratio * 100 * 10 ** decimals + 1e-6) / 10 ** decimals, decimals)} %`;
});

/** A difference of two ratios, in points of a percent; nothing where there is none to see. */
export function change(points: Maybe): string {
    if (points === null || points === undefined || Math.abs(points) < 0.0005) return '';
    return `${points > 0 ? '+' : '−'}${number(Math.abs(points), Math.abs(points) < 0.01 ? 3 : 2)}`;
}

/** A length of time in its two greatest units. */
export const span = told((ms) => {
    const seconds = Math.round(Math.abs(ms) / 1000);
    const units: [number, string][] = [
        [86_400, t().units.d],
        [3_600, t().units.h],
        [60, t().units.min],
        [1, t().units.s],
    ];
    const first = units.findIndex(([size]) => seconds >= size);
    if (first === -1) return `0 ${t().units.s}`;
    const [size = 1, unit = ''] = units[first] ?? [];
    const rest = units[first + 1];
    const more = rest ? Math.floor((seconds % size) / rest[0]) : 0;
    const big = Math.floor(seconds / size);
    return rest && more > 0 && big < 10 ? `${big} ${unit} ${more} ${rest[1]}` : `${big} ${unit}`;
});

/** A time of the suite's clock before now. */
export const ago = (at: Maybe): string => (at === null || at === undefined ? t().never : t().ago(span(Math.max(0, now() - at))));

const sameDay = (one: Date, other: Date): boolean => one.toDateString() === other.toDateString();

/** A time in the viewer's zone, without the day where it is today. */
export const time = told((at) => {
    const date = new Date(at);
    const clock: Intl.DateTimeFormatOptions = { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false };
    const day: Intl.DateTimeFormatOptions = { year: 'numeric', month: 'short', day: 'numeric' };
    return date.toLocaleString(spoken.language, sameDay(date, new Date(now())) ? clock : { ...day, ...clock });
});

export const day = told((at) => new Date(at).toLocaleDateString(spoken.language, { month: 'short', day: 'numeric' }));

/** The same in UTC, for a hint. */
export const utc = (at: Maybe): string | undefined =>
    at === null || at === undefined ? undefined : `${new Date(at).toISOString().replace('T', ' ').slice(0, 19)} UTC`;

/** What `<input type="datetime-local">` takes. */
export const local = (at: number): string => {
    const date = new Date(at);
    return new Date(at - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
};

export const zone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone;
