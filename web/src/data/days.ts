/** Uptime by day, as people look at it. */

/** What a day was: nothing expected, no outage, within the target, up to ten times what the target lets be lost, or more. */
export const KINDS = ['good', 'little', 'some', 'much', 'none'] as const;
export type Kind = (typeof KINDS)[number];

/** Unless somebody says otherwise, as a ratio. */
export const USUAL_TARGET = 0.999;

export function kindOf(covered: number, expected: number, target = USUAL_TARGET): Kind {
    if (expected <= 0) return 'none';
    const lost = (expected - covered) / expected;
    const may = 1 - target;
    // What a float cannot tell is no outage.
    return expected === covered ? 'good' : lost <= may + 1e-9 ? 'little' : lost <= 10 * may ? 'some' : 'much';
}

export interface Targets {
    all: number;
    labels: { key: string; value: string; target: number }[];
}

const ratio = (text: string): number | undefined => {
    const percent = Number(text.replace(',', '.').replace('%', ''));
    return text && percent > 0 && percent <= 100 ? percent / 100 : undefined;
};

/** Reads `99.9 env:prod=99.99`; what cannot be read is passed over. */
export function targetsOf(text: string): Targets {
    const targets: Targets = { all: USUAL_TARGET, labels: [] };
    for (const word of text.split(/\s+/)) {
        const [label = '', percent] = word.split('=', 2);
        const [key = '', ...rest] = label.split(':');
        const target = ratio(percent ?? label);
        if (target === undefined) continue;
        if (percent === undefined) targets.all = target;
        else if (rest.length) targets.labels.push({ key, value: rest.join(':'), target });
    }
    return targets;
}

/** Of several labels with a target of their own the strictest counts. */
export function targetFor({ all, labels }: Targets, of: Record<string, string>): number {
    const own = labels.filter(({ key, value }) => of[key] === value).map(({ target }) => target);
    return own.length ? Math.max(...own) : all;
}
