import { spoken, t } from '../../words/index.svelte';

/** The usual cron expressions in plain words; the others as they are. */
export function inWords(cron: string): string {
    const [minute, hour, day, month, weekday] = cron.trim().split(/\s+/);
    const number = (text: string | undefined): text is string => /^\d+$/.test(text ?? '');
    if (!number(minute) || !number(hour) || month !== '*') return cron;
    const at = `${hour.padStart(2, '0')}:${minute.padStart(2, '0')}`;
    if (day === '*' && weekday === '*') return t().reports.daily(at);
    if (day === '*' && number(weekday)) {
        // The first of January 2023 was a Sunday.
        const name = new Date(2023, 0, 1 + (Number(weekday) % 7)).toLocaleDateString(spoken.language, { weekday: 'long' });
        return t().reports.weekly(name, at);
    }
    if (number(day) && weekday === '*') return t().reports.monthly(day, at);
    return cron;
}
