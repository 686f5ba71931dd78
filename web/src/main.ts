import { mount } from 'svelte';
import App from './App.svelte';
import { applyTheme } from './data/preferences.svelte';
import { resume } from './data/session.svelte';
import { speak, preferred } from './words/index.svelte';
import './tokens.css';

// After an upgrade the parts of the page before are gone: the new page has others. Once, so that a part that is missing for
// another reason does not reload for ever.
addEventListener('vite:preloadError', (event) => {
    const last = Number(sessionStorage.getItem('rollcall.reloaded') ?? 0);
    if (Date.now() - last < 60_000) return;
    event.preventDefault();
    sessionStorage.setItem('rollcall.reloaded', String(Date.now()));
    location.reload();
});

applyTheme();
await Promise.all([speak(preferred()), resume()]);
mount(App, { target: document.body });
