/** What the query bar offers to go on with. */
import { STATES } from '../../data/query';

const MOST = 20;

export interface Known {
    /** Label keys and the values that are known of each. */
    labels: Record<string, string[]>;
}

/** Of some servers their labels, with what was known before. */
export function learn(known: Known, of: { labels: Record<string, string> }[]): Known {
    const labels: Record<string, Set<string>> = {};
    for (const [key, values] of Object.entries(known.labels)) labels[key] = new Set(values);
    for (const { labels: pairs } of of) for (const [key, value] of Object.entries(pairs)) (labels[key] ??= new Set()).add(value);
    return { labels: Object.fromEntries(Object.entries(labels).map(([key, values]) => [key, [...values].sort()])) };
}

/** The key whose value is being typed. */
export const keyOf = (text: string): string | undefined => /(?:^|\s)"?([^\s:"]+):[^\s"]*$/.exec(text)?.[1];

const quoted = (word: string): string => (/\s/.test(word) ? `"${word}"` : word);

/** The whole text each, as `<datalist>` takes it: what is there, with the last word completed. */
export function offers(text: string, { labels }: Known): string[] {
    const word = /(?:[^\s"]|"[^"]*"?)*$/.exec(text)?.[0] ?? '';
    const before = text.slice(0, text.length - word.length);
    const bare = word.replaceAll('"', '').toLowerCase();
    const key = keyOf(text);
    const values = key && Object.hasOwn(labels, key) ? labels[key] ?? [] : [];
    const words = [
        ...STATES.map((state) => `state:${state}`),
        ...['cpu>80', 'memory>80', 'disk>80'],
        ...(key ? values.map((value) => quoted(`${key}:${value}`)) : Object.keys(labels).map((label) => `${label}:`)),
    ];
    return words.filter((one) => one.toLowerCase().replaceAll('"', '').startsWith(bare) && one !== word).slice(0, MOST).map((one) => before + one);
}
