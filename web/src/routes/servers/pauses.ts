import { now } from '../../data/client';

/** For how long a server can be paused, in seconds; `''` is until somebody resumes it. */
export const PAUSES = ['1800', '3600', '14400', '86400', '604800', ''] as const;

/** The part of a pause that says when it ends. */
export const later = (seconds: string): { until?: number } => (seconds ? { until: now() + Number(seconds) * 1000 } : {});
