/** The whole fleet as columns, of which only what changed is sent again. */
import type { Schemas } from './client';

export interface Cells {
    version: string;
    ids: string[];
    names: string[];
    groups: string[];
    group: number[];
    state: string[];
    cpu: (number | null)[];
    memory: (number | null)[];
    disk: (number | null)[];
}

/** What there was, with what an answer says. */
export function merge(before: Cells | undefined, answer: Schemas['Cells']): Cells {
    const { version, ids, names, groups, group, changed, state, cpu, memory, disk } = answer;
    const columns = { state: [...state], cpu: [...cpu], memory: [...memory], disk: [...disk] };
    if (ids && names && groups && group) return { version, ids, names, groups, group, ...columns };
    if (!before) throw new Error('changes of nothing');
    if (!changed) return { ...before, version, ...columns };
    const next = { ...before, version, state: [...before.state], cpu: [...before.cpu], memory: [...before.memory], disk: [...before.disk] };
    changed.forEach((place, index) => {
        next.state[place] = columns.state[index] ?? 'n';
        next.cpu[place] = columns.cpu[index] ?? null;
        next.memory[place] = columns.memory[index] ?? null;
        next.disk[place] = columns.disk[index] ?? null;
    });
    return next;
}

export const LETTERS: Record<string, string> = { u: 'up', d: 'down', n: 'unknown', p: 'paused' };
