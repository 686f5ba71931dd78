/** The state of the fleet as the whole frame needs it: title, icon, banner, and what pages begin with. */
import type { Schemas } from './client';

export const fleet = $state<{ status: Schemas['FleetStatus'] | undefined }>({ status: undefined });

/** Draws the icon of the tab: a disc, with the number of those that are down. */
export function icon(down: number, reached: boolean): string {
    const fill = !reached ? '#7b8794' : down > 0 ? '#d92d20' : '#177245';
    const text = down > 99 ? '99' : String(down);
    const size = text.length > 1 ? 8 : 10;
    const mark =
        down > 0
            ? `<text x="8" y="${8 + size * 0.36}" font-family="sans-serif" font-weight="700" font-size="${size}" text-anchor="middle" fill="#fff">${text}</text>`
            : '<path d="M4.5 8.2l2.5 2.5 4.5-5" fill="none" stroke="#fff" stroke-width="2"/>';
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="8" fill="${fill}"/>${mark}</svg>`;
    return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
