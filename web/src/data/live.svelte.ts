/** What is on the screen is asked for again and again, as long as somebody can see it. */
import { Problem } from './problem';

const EVERY = 5_000;
/** The codes of problems of the suite as a whole. */
const AWAY = ['unreachable', 'unavailable', 'not_ready', 'unexpected'];

/** When something was last heard of the suite (Unix ms by this browser's clock), and what it says if it fails. */
export const pulse = $state<{ at: number; problem: Problem | null }>({ at: 0, problem: null });

export interface Live<T> {
    readonly value: T | undefined;
    readonly problem: Problem | undefined;
    /** Asks now, as after a change of one's own. */
    again(): void;
}

/**
 * Loads at once, every 5 s while the page is visible, and anew when something changes that `load` reads before it first waits.
 * Call it while a component is made.
 */
export function live<T>(load: (signal: AbortSignal) => Promise<T>, every = EVERY): Live<T> {
    let value = $state.raw<T | undefined>(undefined);
    let problem = $state.raw<Problem | undefined>(undefined);
    let asked = $state(0);

    $effect(() => {
        void asked;
        const stop = new AbortController();
        let timer: ReturnType<typeof setTimeout> | undefined;
        let running = false;
        const run = async (): Promise<void> => {
            if (running || stop.signal.aborted) return;
            running = true;
            clearTimeout(timer);
            try {
                const loaded = await load(stop.signal);
                if (stop.signal.aborted) return;
                value = loaded;
                problem = undefined;
                Object.assign(pulse, { at: Date.now(), problem: null });
            } catch (error) {
                if (stop.signal.aborted) return;
                problem = error instanceof Problem ? error : new Problem('unexpected', String(error));
                if (!(error instanceof Problem)) console.error(error);
                // What is refused was answered all the same: monitoring itself is not late for it.
                if (AWAY.includes(problem.code)) pulse.problem = problem;
            } finally {
                running = false;
            }
            if (!document.hidden) timer = setTimeout(() => void run(), every);
        };
        const seen = (): void => {
            if (!document.hidden) void run();
        };
        document.addEventListener('visibilitychange', seen);
        void run();
        return () => {
            stop.abort();
            clearTimeout(timer);
            document.removeEventListener('visibilitychange', seen);
        };
    });

    return {
        get value() {
            return value;
        },
        get problem() {
            return problem;
        },
        again: () => void asked++,
    };
}

/** The time by this browser's clock, which moves while somebody looks at it. */
export const clock = $state({ now: Date.now() });
setInterval(() => {
    if (!document.hidden) clock.now = Date.now();
}, 1_000);
