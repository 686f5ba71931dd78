import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig, type Plugin, type Rollup } from 'vite';

const kinds: Record<string, string> = { html: 'HTML', js: 'SCRIPT', css: 'STYLE' };
/** Most of what log-in and Overview load in one language, in bytes as they are sent. */
const MOST = 90 * 1024;

/** The table by which server-management embeds the build: an expression of Rust, for `include!`. */
function table(): Plugin {
    let folder = 'dist';
    return {
        name: 'table-of-files',
        apply: 'build',
        configResolved(config) {
            folder = join(config.root, config.build.outDir);
            if (config.build.outDir.startsWith('/')) folder = config.build.outDir;
        },
        closeBundle() {
            const assets = readdirSync(join(folder, 'assets')).sort().map((name) => [`/assets/${name}`, `assets/${name}`]);
            const rows = [['/', 'index.html'], ...assets].map(([path = '', file = '']) => {
                const kind = kinds[file.split('.').pop() ?? ''];
                if (!kind) throw new Error(`${file} is of no kind that is served`);
                return `    ("${path}", ${kind}, include_str!("${file}")),\n`;
            });
            writeFileSync(join(folder, 'files.rs'), `// Made by \`make web\`.\n[\n${rows.join('')}]\n`);
            // The policy lets no style stand in markup either.
            if (/\sstyle=/.test(readFileSync(join(folder, 'index.html'), 'utf8'))) this.error('index.html has a style attribute');
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
    };
}

/** The first load has a bound, and a build beyond it fails. */
function weight(): Plugin {
    return {
        name: 'weight-of-the-first-load',
        apply: 'build',
        generateBundle(_, bundle) {
            const chunks = Object.values(bundle).filter((file): file is Rollup.OutputChunk => file.type === 'chunk');
            const loaded = new Set<string>(['index.html']);
            const load = (name: string): void => {
                const file = bundle[name];
                if (!file || loaded.has(name)) return;
                loaded.add(name);
                if (file.type !== 'chunk') return;
                file.imports.forEach(load);
                file.viteMetadata?.importedCss.forEach(load);
            };
            const begins = ['/src/main.ts', '/index.html', '/routes/overview/Overview.svelte', '/words/en.ts'];
            for (const chunk of chunks) if (begins.some((end) => chunk.facadeModuleId?.endsWith(end))) load(chunk.fileName);
            const bytes = [...loaded].reduce((sum, name) => {
                const file = bundle[name];
                return sum + (file ? gzipSync(file.type === 'chunk' ? file.code : file.source).length : 0);
            }, 0);
            if (process.env['WEIGH']) console.log(`log-in and Overview: ${bytes} bytes in ${loaded.size} files`);
            if (loaded.size < 5) this.error('what the first load is was not found');
            if (bytes > MOST) this.error(`log-in and Overview are ${bytes} bytes compressed, more than ${MOST}`);
        },
    };
}

export default defineConfig({
    base: '/',
    plugins: [noStyleInMarkup(), svelte(), table(), weight()],
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
