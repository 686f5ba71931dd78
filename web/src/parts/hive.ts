/** Where the cells of a honeycomb stand: pure, so that drawing and pointing agree. */

export interface Spot {
    x: number;
    y: number;
    /** Which server. */
    index: number;
}

export interface Comb {
    /** From the middle of a cell to its corners. */
    radius: number;
    height: number;
    spots: Spot[];
    titles: { text: string; x: number; y: number }[];
}

const ROOT3 = Math.sqrt(3);
const LEAST = 3;
/** Few cells are large enough for their names. */
const mostOf = (count: number): number => (count <= 12 ? 58 : 40);
const TITLE = 22;
const GAP = 14;

/**
 * Lays groups beside each other, wrapping, each a block under its title. `groups` are the servers of each group; `height` is
 * about what there is room for, and less is taken where there are few.
 */
export function comb(width: number, height: number, groups: { title: string; members: number[] }[]): Comb {
    const count = groups.reduce((sum, { members }) => sum + members.length, 0);
    const titled = groups.length > 1;
    const room = Math.max(width * height * 0.86 - (titled ? groups.length * 900 : 0), width * height * 0.3);
    const radius = Math.min(mostOf(count), Math.max(LEAST, Math.sqrt(room / (Math.max(1, count) * 1.5 * ROOT3))));
    const wide = ROOT3 * radius;
    const most = Math.max(1, Math.floor((width - wide / 2) / wide));
    // Blocks of the greatest group stand as many beside each other as fill the width.
    const greatest = Math.max(1, ...groups.map(({ members }) => members.length));
    const beside = Math.max(1, Math.round(width / (Math.ceil(Math.sqrt(greatest * 1.7)) * wide + wide / 2 + GAP)));
    const slot = Math.max(1, Math.floor(((width - (beside - 1) * GAP) / beside - wide / 2) / wide));
    const spots: Spot[] = [];
    const titles: Comb['titles'] = [];
    let [left, top, tallest] = [0, 0, 0];
    for (const { title, members } of groups) {
        const square = Math.ceil(Math.sqrt(members.length * 1.7));
        const columns = titled ? Math.min(most, Math.max(Math.min(slot, square), Math.ceil(Math.min(110, title.length * 7) / wide))) : most;
        const block = columns * wide + wide / 2;
        if (left > 0 && left + block > width) [left, top, tallest] = [0, top + tallest + GAP, 0];
        const head = titled ? TITLE : 0;
        if (titled) titles.push({ text: title, x: left, y: top + 12 });
        members.forEach((index, place) => {
            const row = Math.floor(place / columns);
            const x = left + wide / 2 + (place % columns) * wide + (row % 2 ? wide / 2 : 0);
            spots.push({ x, y: top + head + radius + row * 1.5 * radius, index });
        });
        const rows = Math.ceil(members.length / columns);
        tallest = Math.max(tallest, head + 2 * radius + Math.max(0, rows - 1) * 1.5 * radius);
        left += block + GAP;
    }
    return { radius, height: Math.ceil(top + tallest), spots, titles };
}

/** The cell at a place. */
export function at({ spots, radius }: Comb, x: number, y: number): Spot | undefined {
    let [best, least] = [undefined as Spot | undefined, radius * radius];
    for (const spot of spots) {
        const distance = (spot.x - x) ** 2 + (spot.y - y) ** 2;
        if (distance < least) [best, least] = [spot, distance];
    }
    return best;
}
