/** The pages: where each is, who may see it, and its part of the program. A page that is added stands here and in `words`. */
import type { Component } from 'svelte';
import type { Words } from '../words/en';

export interface Page {
    load: () => Promise<{ default: Component }>;
    /** Its name in the rail; without one it is reached from elsewhere. */
    name?: keyof Words['pages'];
    /** The paths of an icon on a grid of 24. */
    icon?: string;
    /** A scope that its user needs. */
    scope?: string;
}

export const pages: Record<string, Page> = {
    '': {
        name: 'overview',
        icon: 'M12 3l7.8 4.5v9L12 21l-7.8-4.5v-9zM12 8l3.5 2v4L12 16l-3.5-2v-4z',
        scope: 'server:read',
        load: () => import('./overview/Overview.svelte'),
    },
    servers: {
        name: 'servers',
        icon: 'M4 5h16v6H4zM4 13h16v6H4zM8 8h.01M8 16h.01',
        scope: 'server:read',
        load: () => import('./servers/Servers.svelte'),
    },
    server: { scope: 'server:read', load: () => import('./server/Server.svelte') },
    add: { scope: 'agent:enroll', load: () => import('./add/Add.svelte') },
    import: { scope: 'server:write', load: () => import('./servers/Import.svelte') },
    incidents: {
        name: 'incidents',
        icon: 'M12 4l9 15.500H3zM12 10v4.500M12 17h.01',
        scope: 'alert:read',
        load: () => import('./incidents/Incidents.svelte'),
    },
    uptime: {
        name: 'uptime',
        icon: 'M4 6h16v14H4zM4 10h16M8 3v4M16 3v4M8 14h.01M12 14h.01M16 14h.01M8 17h.01M12 17h.01',
        scope: 'server:read',
        load: () => import('./uptime/Uptime.svelte'),
    },
    incident: { scope: 'alert:read', load: () => import('./incidents/Incident.svelte') },
    reports: {
        name: 'reports',
        icon: 'M6 3h9l4 4v14H6zM9 12h7M9 16h7M9 8h3',
        scope: 'report:read',
        load: () => import('./reports/Reports.svelte'),
    },
    alerts: {
        name: 'alerts',
        icon: 'M6 16V11a6 6 0 0112 0v5l2 2H4zM10 21h4',
        scope: 'alert:read',
        load: () => import('./alerts/Alerts.svelte'),
    },
    admin: {
        name: 'admin',
        icon: 'M12 3l7 2.600V11c0 4.500-2.800 7.800-7 9.700C7.800 18.800 5 15.500 5 11V5.600zM9 11.800l2.200 2.200 4-4.300',
        load: () => import('./admin/Admin.svelte'),
    },
};

/** The pages of one of many, by the page of all of them: `servers/ID` is a page of its own. */
const ONE: Record<string, string> = { servers: 'server', incidents: 'incident' };

/** The page of a path. */
export function pageOf(path: string[]): string {
    const [first = '', second] = path;
    return second === undefined ? first : (ONE[first] ?? first);
}

/** The page of the rail that a page belongs to. */
export const placeOf = (name: string): string => Object.keys(ONE).find((all) => ONE[all] === name) ?? name;
