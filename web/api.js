// The REST interface and the session of this tab.

const base = '/server-management/v1';
const stored = 'rollcall.session';
const patienceMs = 20_000;

/** The last list of each path, by its weak ETag: what did not change is not sent again. */
const lists = new Map();

let session = JSON.parse(sessionStorage.getItem(stored));
let refreshing;
let skew = 0;

/** An answer that is not a success; `code` is stable, `detail` is for people. */
export class Problem extends Error {
    constructor(code, detail, retryAfter) {
        super(detail ?? code);
        Object.assign(this, { code, detail, retryAfter });
    }
}

/** Unix ms by the server's clock, to which every time of the interface belongs; a browser's may be wrong. */
export const now = () => Date.now() + skew;

export const loggedIn = () => session !== null;
export const get = (path, query, signal) => call('GET', path, { query, signal });
export const post = (path, body) => call('POST', path, { body });
export const remove = path => call('DELETE', path, {});
/** Its body, and the version of it that `change` needs. */
export const getTagged = path => call('GET', path, { as: async answer => ({ etag: answer.headers.get('ETag'), body: await answer.json() }) });
/** Unless it was changed since that version. */
export const change = (path, etag, body) => call('PATCH', path, { body, etag });
/** A file, which may take its time. */
export const download = (path, query) => call('GET', path, { query, as: answer => answer.blob(), patience: 600_000 });

export async function logIn(username, password) {
    keep(await read(await send('POST', '/sessions', { body: { username, password } })));
}

/** Forgets the session here even if the server cannot be told. */
export const logOut = () => call('DELETE', '/sessions').finally(() => keep(null));

async function call(method, path, options) {
    const used = session?.access_token;
    let answer = await send(method, path, options);
    if (answer.status === 401 && session) {
        if (session.access_token === used) await (refreshing ??= refresh().finally(() => { refreshing = undefined; }));
        answer = await send(method, path, options);
    }
    if (answer.status === 401) keep(null);
    return read(answer, options?.as, path);
}

/** One at a time: a refresh token that is used twice ends the session. */
async function refresh() {
    const answer = await send('POST', '/sessions/refresh', { body: { refresh_token: session.refresh_token } });
    // A server that is busy or away has not refused the token: keep it for the next try.
    if ([400, 401, 403, 422].includes(answer.status)) keep(null);
    keep(await read(answer));
}

function keep(tokens) {
    session = tokens;
    if (!tokens) lists.clear();
    sessionStorage.setItem(stored, JSON.stringify(tokens));
}

async function send(method, path, { query, body, signal, etag, patience = patienceMs } = {}) {
    const asked = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== '');
    const headers = { Accept: 'application/json' };
    if (session) headers.Authorization = `Bearer ${session.access_token}`;
    if (body) headers['Content-Type'] = 'application/json';
    if (etag) headers['If-Match'] = etag;
    const limit = AbortSignal.any([AbortSignal.timeout(patience), ...(signal ? [signal] : [])]);
    const url = base + path + (asked.length ? `?${new URLSearchParams(asked)}` : '');
    const had = method === 'GET' && lists.get(path);
    if (had?.url === url) headers['If-None-Match'] = had.tag;
    try {
        const answer = await fetch(url, { method, headers, cache: 'no-store', body: body && JSON.stringify(body), signal: limit });
        const date = Date.parse(answer.headers.get('Date'));
        if (date) skew = date - Date.now();
        return Object.assign(answer, { asked: url, had });
    } catch (error) {
        if (error.name === 'AbortError') throw error;
        throw new Problem('unreachable');
    }
}

async function read(answer, as, path) {
    if (answer.status === 304) return answer.had.body;
    if (answer.ok && as) return as(answer);
    const body = await answer.json().catch(error => { if (error.name === 'AbortError') throw error; });
    const tag = answer.headers.get('ETag');
    if (answer.ok && tag?.startsWith('W/')) lists.set(path, { url: answer.asked, tag, body });
    if (answer.ok) return body;
    throw new Problem(body?.code ?? `HTTP ${answer.status}`, body?.detail, answer.headers.get('Retry-After'));
}
