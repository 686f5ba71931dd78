/** The words of the page. Each language is a part of its own, loaded when it is spoken. */
import { store, stored } from '../data/preferences.svelte';
import type { Words } from './en';

export type { Words };

/** The languages there are, each by its own name. To add one: a file like en.ts, and a line in both. */
export const languages = { en: 'English', vi: 'Tiếng Việt', zh: '中文', sq: 'Shqip' } as const;
export type Language = keyof typeof languages;

const parts: Record<Language, () => Promise<{ words: Words }>> = {
    en: () => import('./en'),
    vi: () => import('./vi'),
    zh: () => import('./zh'),
    sq: () => import('./sq'),
};

let words = $state.raw<Words>();
export const spoken = $state<{ language: Language }>({ language: 'en' });

/** The words of the language that is spoken. */
export const t = (): Words => {
    if (!words) throw new Error('no language is spoken yet');
    return words;
};

const isLanguage = (text: string): text is Language => Object.hasOwn(languages, text);

/** What was chosen here, or the first language of the browser that we speak. */
export function preferred(): Language {
    const wanted = [stored('language') ?? '', ...navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase())];
    return wanted.find(isLanguage) ?? 'en';
}

export async function speak(language: Language): Promise<void> {
    words = (await parts[language]()).words;
    spoken.language = language;
    document.documentElement.lang = language;
}

export async function choose(language: Language): Promise<void> {
    store('language', language);
    await speak(language);
}
