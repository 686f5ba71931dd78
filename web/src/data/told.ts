import { t } from '../words/index.svelte';
import type { Problem } from './problem';

/** A problem in words of the language that is spoken; the suite's own English where we have none. */
export function told(problem: Problem): string {
    const known = t().problems as Record<string, string>;
    const text = known[problem.code] ?? problem.detail ?? problem.code;
    return problem.code === 'rate_limited' && problem.retryAfter ? `${text} ${t().retryAfter(problem.retryAfter)}` : text;
}
