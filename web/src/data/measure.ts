/** What pages derive of a snapshot. */
import type { Schemas, Server, Snapshot } from './client';

/** How much of it is used, in percent. */
export function share(part: { used?: number | null; total?: number | null } | null | undefined): number | undefined {
    return part?.total && part.used !== null && part.used !== undefined ? (100 * part.used) / part.total : undefined;
}

export function fullest(latest: Snapshot | null | undefined): { mount: string; share: number; disk: Schemas['Disk'] } | undefined {
    let most: { mount: string; share: number; disk: Schemas['Disk'] } | undefined;
    for (const disk of latest?.disks ?? []) {
        const used = share(disk);
        if (used !== undefined && (!most || used > most.share)) most = { mount: disk.mount ?? '', share: used, disk };
    }
    return most;
}

/** Bytes per second over all interfaces but the one to itself. */
export function network(latest: Snapshot | null | undefined): { received: number; sent: number } | undefined {
    const all = latest?.networks?.filter(({ name }) => name !== 'lo');
    if (!all?.length) return undefined;
    const sum = (key: 'received' | 'sent'): number => all.reduce((total, one) => total + (one[key] ?? 0), 0);
    return { received: sum('received'), sent: sum('sent') };
}

/** Since when a server has been silent; undefined unless it is. */
export const silentSince = ({ status, last_seen_at: at }: Server): number | undefined => (status === 'down' && at ? at : undefined);
