/** Calls of the API, by its document: `docs/openapi.json` is where the types come from. */
import createClient from 'openapi-fetch';
import type { components, paths } from './api';
import { Problem } from './problem';
import { bearer } from './session.svelte';

export type Schemas = components['schemas'];
export type Server = Schemas['Server'];
export type Snapshot = Schemas['Snapshot'];

const BASE = '/server-management/v1';
const PATIENCE = 20_000;
/** Lists that are remembered, so that what did not change is not sent again. */
const REMEMBERED = 40;

const lists = new Map<string, { tag: string; text: string }>();

/** By how much the suite's clock is ahead of this one, in ms: every time of the API is by the suite's. */
let ahead = 0;
export const now = (): number => Date.now() + ahead;

function noteClock(answer: Response): void {
    const date = Date.parse(answer.headers.get('date') ?? '');
    // It counts in whole seconds; a difference below two of them is none.
    if (Number.isFinite(date)) ahead = Math.abs(date - Date.now()) < 2_000 ? 0 : date - Date.now();
}

async function once(request: Request, token: string | undefined): Promise<Response> {
    const headers = new Headers(request.headers);
    if (token) headers.set('authorization', `Bearer ${token}`);
    const known = request.method === 'GET' ? lists.get(request.url) : undefined;
    if (known) headers.set('if-none-match', known.tag);
    const signal = AbortSignal.any([request.signal, AbortSignal.timeout(PATIENCE)]);
    let answer: Response;
    try {
        answer = await fetch(new Request(request, { headers, signal }));
    } catch (error) {
        if (request.signal.aborted) throw error;
        throw new Problem('unreachable');
    }
    noteClock(answer);
    if (answer.status === 304 && known) return new Response(known.text, { headers: { 'content-type': 'application/json' } });
    const tag = answer.headers.get('etag');
    if (answer.ok && request.method === 'GET' && tag?.startsWith('W/')) {
        const text = await answer.text();
        lists.delete(request.url);
        lists.set(request.url, { tag, text });
        if (lists.size > REMEMBERED) lists.delete(lists.keys().next().value ?? '');
        return new Response(text, { headers: answer.headers });
    }
    return answer;
}

/** With the session's token, and once more with the next one if it is refused. */
async function send(request: Request): Promise<Response> {
    const spare = request.clone();
    const token = await bearer();
    const answer = await once(request, token);
    if (answer.status !== 401 || !token) return answer;
    const next = await bearer(token);
    return next ? once(spare, next) : answer;
}

export const api = createClient<paths>({ baseUrl: BASE, fetch: send });

interface Answered<T> {
    data?: T;
    error?: unknown;
    response: Response;
}

function failed(error: unknown, response: Response): Problem {
    const body = (typeof error === 'object' && error !== null ? error : {}) as Record<string, unknown>;
    const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
    const code = text(body['code']) ?? (response.status === 401 ? 'unauthorized' : 'unexpected');
    return new Problem(code, text(body['detail']), Number(response.headers.get('retry-after')) || undefined, body);
}

/** What was answered, or the [`Problem`]. */
export async function must<T>(asked: Promise<Answered<T>>): Promise<T> {
    const { data, error, response } = await asked;
    if (error !== undefined || !response.ok) throw failed(error, response);
    return data as T;
}

/** The same, with the version that a change has to name. */
export async function versioned<T>(asked: Promise<Answered<T>>): Promise<{ value: T; version: string }> {
    const { data, error, response } = await asked;
    if (error !== undefined || !response.ok) throw failed(error, response);
    return { value: data as T, version: response.headers.get('etag') ?? '*' };
}

/** Gives the browser a file to save. */
export async function download(path: string, query: Record<string, string> | URLSearchParams, name: string): Promise<void> {
    const request = new Request(`${BASE}${path}?${new URLSearchParams(query)}`);
    const answer = await send(request);
    if (!answer.ok) throw await Problem.of(answer);
    const url = URL.createObjectURL(await answer.blob());
    const link = Object.assign(document.createElement('a'), { href: url, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Sends a file as a form does. */
export async function upload<T>(path: string, file: File): Promise<T> {
    const body = new FormData();
    body.append('file', file);
    const answer = await send(new Request(BASE + path, { method: 'POST', body }));
    if (!answer.ok) throw await Problem.of(answer);
    return (await answer.json()) as T;
}
