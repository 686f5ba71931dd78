// The page that shows openapi.json. Whatever it shows goes in as text, never as markup.

const methods = ['get', 'post', 'put', 'patch', 'delete'];

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Descriptions are Markdown, of which only the back-ticks are used.
const plain = (text) => (text ?? '').replaceAll('`', '');

function table(heads, rows) {
  const line = (cell, cells) => make('tr', {}, ...cells.map((content) => make(cell, {}, content ?? '')));
  const body = rows.map((cells) => line('td', cells));
  return make('div', { class: 'wide' }, make('table', {}, line('th', heads), ...body));
}

function show(api) {
  const resolve = (schema) => {
    const name = schema?.$ref?.split('/').pop();
    return name ? api.components.schemas[name] ?? {} : schema ?? {};
  };

  // The kind of value in a few words: `integer (int64), 1 to 500`, `array of Server`.
  const kind = (schema) => {
    if (!schema) return '';
    if (schema.$ref) return schema.$ref.split('/').pop();
    const any = schema.oneOf ?? schema.anyOf;
    if (any) return any.map(kind).join(' or ');
    const words = [].concat(schema.type ?? 'anything').map((type) => (type === 'array' ? `array of ${kind(schema.items)}` : type));
    const bounds = [schema.minimum ?? schema.minLength ?? schema.minItems, schema.maximum ?? schema.maxLength ?? schema.maxItems];
    return [
      words.join(' or ') + (schema.format ? ` (${schema.format})` : ''),
      bounds.some((bound) => bound !== undefined) ? `${bounds[0] ?? 0} to ${bounds[1] ?? 'any'}` : null,
      schema.enum ? schema.enum.join(' | ') : null,
      schema.default !== undefined ? `by default ${JSON.stringify(schema.default)}` : null,
    ].filter(Boolean).join(', ');
  };

  // Every field with its path, those of what it is made of below it; none twice on one way down, so that it ends.
  const fields = (schema, before = '', seen = []) => {
    const whole = resolve(schema);
    if (seen.includes(whole) || seen.length > 4) return [];
    const within = [...seen, whole];
    const parts = [whole, ...(whole.allOf ?? []).map(resolve)];
    return parts.flatMap((part) => Object.entries(part.properties ?? {}).flatMap(([name, field]) => {
      const path = before + name;
      const required = part.required?.includes(name) ? '' : ' ?';
      const options = field.oneOf ?? field.anyOf ?? [field];
      const row = [make('code', {}, path + required), kind(field), plain(field.description ?? resolve(field).description)];
      const deeper = options.flatMap((option) => (option.type === 'array'
        ? fields(option.items, `${path}[].`, within)
        : fields(option, `${path}.`, within)));
      return [row, ...deeper];
    }));
  };

  const body = (content) => Object.entries(content ?? {}).flatMap(([type, { schema }]) => {
    const rows = fields(schema);
    return [
      make('p', {}, make('code', {}, type), ' ', make('span', { class: 'quiet' }, kind(schema))),
      rows.length ? table(['Field', 'Kind', 'Meaning'], rows) : null,
    ];
  });

  const operation = (path, method, told) => {
    const { token: scopes, credential } = told.security?.[0] ?? {};
    const needs = credential ? 'credential' : scopes === undefined ? 'public' : scopes.join(', ') || 'log-in';
    const parameters = (told.parameters ?? []).map((parameter) => [
      make('code', {}, parameter.name + (parameter.required ? '' : ' ?')),
      `${parameter.in}: ${kind(parameter.schema)}`,
      plain(parameter.description),
    ]);
    const answers = Object.entries(told.responses).flatMap(([status, answer]) => {
      const problem = answer.content?.['application/problem+json'];
      return [
        make('p', {}, make('strong', {}, status), ' ', plain(answer.description)),
        ...(problem ? [] : body(answer.content)),
      ];
    });
    const details = make('details', { id: told.operationId },
      make('summary', {},
        make('span', { class: `method ${method}` }, method.toUpperCase()),
        make('span', { class: 'path' }, path),
        told.servers ? make('span', { class: 'quiet' }, 'at the root') : null,
        make('span', { class: 'scope' }, needs),
        make('span', { class: 'quiet' }, plain(told.summary))),
      told.description ? make('p', { class: 'text' }, plain(told.description)) : null,
      parameters.length ? make('h3', {}, 'Parameters') : null,
      parameters.length ? table(['Name', 'Kind', 'Meaning'], parameters) : null,
      told.requestBody ? make('h3', {}, 'Body') : null,
      ...(told.requestBody ? body(told.requestBody.content) : []),
      make('h3', {}, 'Answers'),
      ...answers);
    details.dataset.words = [path, method, needs, told.summary, told.description, told.tags].join(' ').toLowerCase();
    return details;
  };

  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of methods.filter((method) => item[method])) {
      const tag = item[method].tags?.[0] ?? 'other';
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(path, method, item[method]));
    }
  }
  const place = document.getElementById('operations');
  for (const tag of [...groups.keys()].sort()) {
    place.append(make('section', {}, make('h2', {}, tag.replaceAll('-', ' ')), ...groups.get(tag)));
  }

  const rows = (api.components.schemas.Problem.description ?? '').split('\n')
    .filter((line) => line.startsWith('| `')).map((line) => line.split('|').slice(1, -1).map((cell) => plain(cell.trim())));
  document.getElementById('problems').append(make('h2', {}, 'Problems'), table(['Code', 'Status', 'Meaning'], rows));
  document.getElementById('title').textContent = api.info.title;
  document.getElementById('about').textContent = `${plain(api.info.description)} Paths begin with ${api.servers[0].url}.`;
}

function find(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of document.querySelectorAll('#operations section')) {
    let any = false;
    for (const details of section.querySelectorAll('details')) {
      details.hidden = !words.every((word) => details.dataset.words.includes(word));
      any ||= !details.hidden;
    }
    section.querySelector('h2').hidden = !any;
  }
}

document.getElementById('find').addEventListener('input', (event) => find(event.target.value));
try {
  const answer = await fetch('/server-management/v1/openapi.json');
  if (!answer.ok) throw new Error(`it answered ${answer.status}`);
  show(await answer.json());
  document.getElementById(location.hash.slice(1))?.setAttribute('open', '');
} catch (error) {
  document.getElementById('about').textContent = `openapi.json cannot be shown: ${error.message}`;
}
