/** Incidents and rules in figures and words. */
import { t } from '../words/index.svelte';
import { bytes, celsius, percent, plain, rate, span, whole } from './format';

type Maybe = number | null | undefined;

/** What rules of the kind `value` look at. */
export const METRICS = [
    'cpu.total', 'cpu.user', 'cpu.system', 'cpu.iowait', 'cpu.steal', 'load.1', 'load.5', 'load.15', 'load.per_core', 'memory.used_percent', 'memory.available',
    'swap.used_percent', 'disk.used_percent', 'disk.free', 'disk.read', 'disk.written', 'network.received', 'network.sent', 'temperature', 'agent.skew_ms', 'agent.spooled',
] as const;

/** Those that a server has several of: mounts, interfaces, sensors. */
export const hasInstances = (metric: string): boolean => /^(disk|network|temperature)/.test(metric);

/** A value of a metric, with its unit. */
export function valueOf(metric: string | null | undefined, value: Maybe): string {
    const name = metric ?? '';
    if (/^cpu\.|percent$/.test(name)) return percent(value);
    if (name === 'memory.available' || name === 'disk.free') return bytes(value);
    if (/^(disk|network)\./.test(name)) return rate(value);
    if (name === 'temperature') return celsius(value);
    if (name === 'agent.skew_ms') return span(value);
    if (name === 'agent.spooled') return whole(value);
    return plain(value);
}

/** What a metric is called; its own name where we have none. */
export function metricName(metric: string | null | undefined): string {
    const names = t().alerts.metrics as Record<string, string>;
    return metric ? (names[metric] ?? metric) : '';
}
