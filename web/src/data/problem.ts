/** An answer that is not a success: `code` is stable, `detail` is for people. */
export class Problem extends Error {
    constructor(
        readonly code: string,
        readonly detail?: string,
        readonly retryAfter?: number,
        /** The whole answer, for whoever knows more of it. */
        readonly body: Record<string, unknown> = {},
    ) {
        super(detail ?? code);
    }

    static async of(answer: Response): Promise<Problem> {
        const body = (await answer.json().catch(() => ({}))) as Record<string, unknown>;
        const wait = Number(answer.headers.get('retry-after')) || undefined;
        const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
        return new Problem(text(body['code']) ?? (answer.status === 401 ? 'unauthorized' : 'unexpected'), text(body['detail']), wait, body);
    }
}
