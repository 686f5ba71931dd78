/** A range of time as the URL has it: `range=24h`, or `from=…&to=…` in Unix ms. */
import type { Query } from '../data/router.svelte';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export const RANGES = { '15m': 15 * MINUTE, '1h': HOUR, '6h': 6 * HOUR, '24h': DAY, '7d': 7 * DAY, '30d': 30 * DAY, '90d': 90 * DAY } as const;
export type RangeName = keyof typeof RANGES;

export interface Range {
    /** Of a range that goes on with the clock. */
    name?: RangeName;
    from: number;
    to: number;
    length: number;
}

export function rangeOf(query: Query, now: number, usual: RangeName = '1h'): Range {
    const [from, to] = [Number(query['from']), Number(query['to'])];
    if (Number.isSafeInteger(from) && Number.isSafeInteger(to) && 0 < from && from < to) return { from, to, length: to - from };
    const name = Object.hasOwn(RANGES, query['range'] ?? '') ? (query['range'] as RangeName) : usual;
    return { name, from: now - RANGES[name], to: now, length: RANGES[name] };
}
