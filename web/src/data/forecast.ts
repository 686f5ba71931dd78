/** When a disk is full, if it goes on filling as it did. */
import type { Schemas } from './client';

export type Samples = Schemas['Samples']['samples'];
const DAY = 86_400_000;
/** From a shorter time nothing can be told. */
const LEAST = DAY / 2;
/** Later than this is not soon. */
export const SOON = 365 * DAY;

export interface Room {
    mount: string;
    total: number;
    used: number;
    /** Bytes a day; undefined where the time is too short to tell. */
    pace?: number;
    /** How long it lasts, in ms; undefined if it does not fill, or not within a year. */
    lasts?: number;
}

/** The slope of the line that lies nearest to these points, in bytes a day. */
function slope(points: [at: number, used: number][]): number {
    const mean = (of: 0 | 1): number => points.reduce((sum, point) => sum + point[of], 0) / points.length;
    const [at, used] = [mean(0), mean(1)];
    let [over, under] = [0, 0];
    for (const [x, y] of points) {
        over += (x - at) * (y - used);
        under += (x - at) ** 2;
    }
    return under === 0 ? 0 : (over / under) * DAY;
}

/** Each disk of the newest sample that has some, the one that is full first coming first. */
export function rooms(samples: Samples): Room[] {
    const newest = samples.findLast(({ disks }) => disks.length);
    const all = (newest?.disks ?? []).flatMap(({ mount, total, used }): Room[] => {
        if (!mount || !total || typeof used !== 'number') return [];
        const points = samples.flatMap(({ sampled_at: at, disks }): [number, number][] => {
            const disk = disks.find((one) => one.mount === mount);
            // One that has another size by now is another disk.
            return typeof disk?.used === 'number' && disk.total === total ? [[at, disk.used]] : [];
        });
        const [first, last] = [points[0], points.at(-1)];
        if (!first || !last || last[0] - first[0] < LEAST) return [{ mount, total, used }];
        const pace = slope(points);
        const lasts = pace > 0 ? (Math.max(0, total - used) / pace) * DAY : Infinity;
        return [{ mount, total, used, pace, ...(lasts <= SOON ? { lasts } : {}) }];
    });
    const share = ({ used, total }: Room): number => used / total;
    return all.sort((one, other) => (one.lasts ?? Infinity) - (other.lasts ?? Infinity) || share(other) - share(one));
}
