/** Where the page is: behind the `#` of the URL stands all that chooses what is shown. */

export type Query = Record<string, string>;

interface Route {
    /** Such as `['servers', ID]`; none of the first page. */
    path: string[];
    query: Query;
}

function read(): Route {
    const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?', 2);
    return { path: path.split('/').filter(Boolean).map(decoded), query: Object.fromEntries(new URLSearchParams(query)) };
}

function decoded(part: string): string {
    try {
        return decodeURIComponent(part);
    } catch {
        return part;
    }
}

export const route: Route = $state(read());

function follow(): void {
    Object.assign(route, read());
}
addEventListener('hashchange', follow);

/** What is empty or undefined is left out of the URL. */
export function href(path: string, query: Record<string, string | number | undefined> = {}): string {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '');
    const text = new URLSearchParams(given.map(([key, value]) => [key, String(value)])).toString();
    return `#/${path}${text ? `?${text}` : ''}`;
}

/** The same page with something else chosen. */
export function hereWith(changes: Record<string, string | number | undefined>): string {
    return href(route.path.map(encodeURIComponent).join('/'), { ...route.query, ...changes });
}

export function go(to: string): void {
    location.hash = to;
}

/** Chooses something else on this page; going back leaves the page, not each choice. */
export function choose(changes: Record<string, string | number | undefined>): void {
    history.replaceState(null, '', hereWith(changes));
    follow();
}
