/** What a person chose for this browser; where storage is refused it lasts as long as the page. */

export type Theme = 'auto' | 'light' | 'dark';

export function stored(key: string): string | null {
    try {
        return localStorage.getItem(`rollcall.${key}`);
    } catch {
        return null;
    }
}

export function store(key: string, value: string | null): void {
    try {
        if (value === null) localStorage.removeItem(`rollcall.${key}`);
        else localStorage.setItem(`rollcall.${key}`, value);
    } catch {
        // The choice is not kept.
    }
}

const isTheme = (text: string | null): text is Theme => text === 'auto' || text === 'light' || text === 'dark';
const kept = stored('theme');
export const preferences = $state({ theme: isTheme(kept) ? kept : ('auto' as Theme), dark: false });

const system = matchMedia('(prefers-color-scheme: dark)');
system.addEventListener('change', applyTheme);

/** Puts the theme on the page. `preferences.dark` is what is seen, for those who draw. */
export function applyTheme(): void {
    const { theme } = preferences;
    preferences.dark = theme === 'auto' ? system.matches : theme === 'dark';
    document.documentElement.dataset['theme'] = preferences.dark ? 'dark' : 'light';
}

export function setTheme(theme: Theme): void {
    preferences.theme = theme;
    store('theme', theme === 'auto' ? null : theme);
    applyTheme();
}
