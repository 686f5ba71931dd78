/** The query bar: `env:prod state:down cpu>80 text`, as the parameters of a list of servers. */

export const STATES = ['down', 'unknown', 'paused', 'up'] as const;
export type State = (typeof STATES)[number];
type Measure = 'cpu' | 'memory' | 'disk';

export interface ServerQuery {
    status?: State;
    q?: string;
    label?: string[];
    cpu_above?: number;
    memory_above?: number;
    disk_above?: number;
}

/** A word is a state, a label, a measurement, or part of a text. Quotes keep spaces together. */
export function parse(text: string): ServerQuery {
    const query: ServerQuery = {};
    const rest: string[] = [];
    for (const word of text.match(/(?:[^\s"]|"[^"]*")+/g) ?? []) {
        const plain = word.replaceAll('"', '');
        const measured = /^(cpu|memory|disk)>(\d{1,3}(?:\.\d+)?)%?$/.exec(plain);
        const named = /^(?:state|status):(\w+)$/.exec(plain)?.[1];
        const state = STATES.find((one) => one === named);
        if (measured) query[`${measured[1] as Measure}_above`] = Math.min(99, Math.floor(Number(measured[2])));
        else if (state) query.status = state;
        else if (/^[^:]+:./.test(plain)) (query.label ??= []).push(plain);
        else rest.push(plain);
    }
    if (rest.length) query.q = rest.join(' ');
    return query;
}

/** The text with `state:…` in place of the one it has; without a state, with none. */
export function withState(text: string, state: string | undefined): string {
    const others = text.replace(/(^|\s)(?:state|status):\w+/g, ' ').replace(/\s+/g, ' ').trim();
    return [state ? `state:${state}` : '', others].filter(Boolean).join(' ');
}

/** The text with a label more, or less if it has it. */
export function toggled(text: string, key: string, value: string): string {
    const pair = `${key}:${value}`;
    const word = /\s/.test(pair) ? `"${pair}"` : pair;
    const words: string[] = text.match(/(?:[^\s"]|"[^"]*")+/g) ?? [];
    return (words.includes(word) ? words.filter((one) => one !== word) : [...words, word]).join(' ');
}
