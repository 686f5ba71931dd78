import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig, type Plugin } from 'vite';

const kinds: Record<string, string> = { html: 'HTML', js: 'SCRIPT', css: 'STYLE' };

/** The table by which server-management embeds the build: an expression of Rust, for `include!`. */
function table(): Plugin {
    return {
        name: 'table-of-files',
        apply: 'build',
        closeBundle() {
            const assets = readdirSync('dist/assets').sort().map((name) => [`/assets/${name}`, `assets/${name}`]);
            const rows = [['/', 'index.html'], ...assets].map(([path = '', file = '']) => {
                const kind = kinds[file.split('.').pop() ?? ''];
                if (!kind) throw new Error(`${file} is of no kind that is served`);
                return `    ("${path}", ${kind}, include_str!("${file}")),\n`;
            });
            writeFileSync('dist/files.rs', `// Made by \`make web\`.\n[\n${rows.join('')}]\n`);
        },
    };
}

/** The policy of the page lets no style stand in markup: whatever made it there would be lost. */
function noStyleInMarkup(): Plugin {
    return {
        name: 'no-style-in-markup',
        enforce: 'pre',
        transform(code, id) {
            const markup = id.endsWith('.svelte') ? code.replace(/<(script|style)[\s\S]*?<\/\1>/g, '') : '';
            const found = /\sstyle(=|:[\w-]+)/.exec(markup);
            if (found) this.error(`${id}: ${found[0].trim()} in markup; use use:vars`);
        },
        closeBundle() {
            if (/\sstyle=/.test(readFileSync('dist/index.html', 'utf8'))) this.error('dist/index.html has a style attribute');
        },
    };
}

export default defineConfig({
    base: '/',
    plugins: [noStyleInMarkup(), svelte(), table()],
    build: {
        target: 'es2023',
        // Every browser that runs the page preloads modules by itself.
        modulePreload: { polyfill: false },
        // What is inlined as data: would be refused by the policy, but for pictures.
        assetsInlineLimit: 0,
        reportCompressedSize: false,
        // No hash has a character that also parts it from the name.
        rolldownOptions: { output: { hashCharacters: 'hex' } },
    },
    server: { proxy: { '/server-management': process.env.ROLLCALL ?? 'http://127.0.0.1:8080' } },
});
