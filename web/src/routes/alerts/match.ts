/** What rules, routes, silences and windows are about, in words and as it is typed. */
import { Problem } from '../../data/problem';
import { t } from '../../words/index.svelte';

/** Labels as they are typed: `env:prod "site:new york"`; quotes keep spaces together. */
export function labelsOf(text: string): string[] {
    const labels = (text.match(/"[^"]*"|[^\s,]+/g) ?? []).map((label) => label.replace(/^"(.*)"$/, '$1'));
    if (labels.some((label) => !/^[^:]+:./.test(label))) throw new Problem('bad_label', t().badLabel);
    return labels;
}

/** The other way round. */
export const typed = (labels: string[]): string => labels.map((label) => (/[\s,]/.test(label) ? `"${label}"` : label)).join(' ');

/** What was typed, as incidents are matched. */
export const labelMap = (text: string): Record<string, string> =>
    Object.fromEntries(labelsOf(text).map((label) => [label.slice(0, label.indexOf(':')), label.slice(label.indexOf(':') + 1)]));

interface Match {
    labels?: Record<string, string> | string[];
    rules?: string[];
    servers?: string[];
}

/** All that has to be so, each in words; nothing of what takes everything. `named` tells the name of a rule. */
export function parts({ labels = {}, rules = [], servers = [] }: Match, named: (id: string) => string = (id) => id): string[] {
    const all = Array.isArray(labels) ? labels : Object.entries(labels).map(([key, value]) => `${key}:${value}`);
    return [...all, ...(rules.length ? [rules.map(named).join(' / ')] : []), ...(servers.length ? [t().alerts.servers(servers.length)] : [])];
}
