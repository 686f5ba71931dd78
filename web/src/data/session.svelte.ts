/**
 * Who is logged in. The refresh token is in a cookie that no script can read and all tabs share; the access token is here, in
 * memory, and gone with the tab.
 */
import { Problem } from './problem';
import { store, stored } from './preferences.svelte';

const SESSIONS = '/server-management/v1/sessions';
/** A token that is about to expire is exchanged before it is refused. */
const EARLY = 30_000;

export interface User {
    user_id: string;
    username: string;
    scopes: string[];
}

export const session = $state<{ user: User | null; over: boolean }>({ user: null, over: false });

let access: { token: string; until: number } | null = null;
let refreshing: Promise<boolean> | undefined;

const tabs = new BroadcastChannel('rollcall');
tabs.onmessage = ({ data }) => {
    if (data === 'logged out') forget();
    if (data === 'logged in' && !session.user) void resume();
};

/** Whether the user may do what needs this scope. */
export const can = (scope: string): boolean => session.user?.scopes.includes(scope) ?? false;

async function ask(method: string, path: string, body?: unknown): Promise<Response> {
    const headers: Record<string, string> = { 'content-type': 'application/json' };
    if (access) headers['authorization'] = `Bearer ${access.token}`;
    const asked = { method, headers, signal: AbortSignal.timeout(20_000), ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
    return fetch(SESSIONS + path, asked).catch(() => {
        throw new Problem('unreachable');
    });
}

async function keep(answer: Response): Promise<void> {
    const { access_token: token, expires_in: seconds } = (await answer.json()) as { access_token: string; expires_in: number };
    access = { token, until: Date.now() + seconds * 1000 };
}

async function meet(): Promise<void> {
    const answer = await ask('GET', '');
    if (!answer.ok) throw await Problem.of(answer);
    session.user = (await answer.json()) as User;
    session.over = false;
    store('session', 'yes');
}

export async function logIn(username: string, password: string): Promise<void> {
    access = null;
    const answer = await ask('POST', '', { username, password, cookie: true });
    if (!answer.ok) throw await Problem.of(answer);
    await keep(answer);
    await meet();
    tabs.postMessage('logged in');
}

/** Forgets the session here even if the suite cannot be told. */
export async function logOut(): Promise<void> {
    await ask('DELETE', '').catch(() => undefined);
    forget();
    tabs.postMessage('logged out');
}

function forget(): void {
    access = null;
    session.user = null;
    store('session', null);
}

/** At the start of a tab: goes on with the session of the cookie, if there may be one. */
export async function resume(): Promise<void> {
    if (stored('session') === null) return;
    try {
        if (await refresh()) await meet();
    } catch {
        // The log-in page says what there is to say.
    }
}

/** The next access token. False: the session has ended. Another tab may be doing the same: then this one waits a little. */
async function exchange(): Promise<boolean> {
    for (let tries = 0; ; tries++) {
        const answer = await ask('POST', '/refresh', {});
        if (answer.ok) {
            await keep(answer);
            return true;
        }
        const problem = await Problem.of(answer);
        if (problem.code === 'unauthorized') {
            session.over = session.user !== null;
            forget();
            return false;
        }
        if (problem.code !== 'rotated' || tries === 8) throw problem;
        await new Promise((resolve) => setTimeout(resolve, 100 + Math.random() * 300));
    }
}

const refresh = (): Promise<boolean> => (refreshing ??= exchange().finally(() => (refreshing = undefined)));

/** A token that serves; `refused` is one that did not. */
export async function bearer(refused?: string): Promise<string | undefined> {
    if (access && access.token !== refused && Date.now() < access.until - EARLY) return access.token;
    if (!session.user || !(await refresh())) return undefined;
    return access?.token;
}
