// The columns of the table: what each one shows of an event.

import { h, text } from './dom.js';
import { jsonText } from './evidence/index.js';

/** @typedef {import('./app.js').App} App */
/** @typedef {import('./types.js').EventFields} EventFields */
/** @typedef {{label: keyof import('./types.js').Words, width: number, render: (event: EventFields, app: App) => Node|null}} Column */

/**
 * A value that filters when it is clicked.
 * @param {App} app
 * @param {string} shown
 * @param {import('./types.js').Filters} filters what the click asks for
 * @param {string} [className]
 */
export function filterValue(app, shown, filters, className = '') {
  const [name, value] = Object.entries(filters).at(-1) ?? ['', ''];
  const label = app.say('filterBy', { name: app.say(/** @type {any} */ (name)), value: String(value) });
  return h('button', { type: 'button', class: `value ${className}`, title: label, 'data-stop': true, tabindex: -1, onclick: () => app.filterBy(filters) }, text(shown));
}

/**
 * Two lines: what a person calls it, and beneath it what the log calls it.
 * @param {Node|null} first
 * @param {Node|string|null|undefined} second
 */
function lines(first, second) {
  if (!first && !second) return null;
  return h('div', { class: 'box' }, first && h('span', { class: 'first' }, first), second ? h('span', { class: 'second' }, typeof second === 'string' ? text(second) : second) : null);
}

/**
 * @param {string} name
 */
function initials(name) {
  const words = name.split(/[\s._@-]+/u).filter((word) => /^[\p{L}\p{N}]/u.test(word));
  const letters = (words.length > 1 ? [words[0], words.at(-1)] : words).map((word) => [...(word ?? '')][0] ?? '');
  return letters.join('').toLocaleUpperCase() || '·';
}

/**
 * A resource or a target: its name, or else what identifies it.
 * @param {import('./types.js').Target} thing
 */
export function nameOf(thing) {
  return thing.name || thing.id || thing.type || '';
}

/**
 * What stands for a value that was erased.
 * @param {App} app
 */
export function erased(app) {
  return h('span', { class: 'erased', title: app.say('erasedHint') }, app.say('erased'));
}

/** @param {string|null|undefined} value */
const plain = (value) => (value ? h('span', { class: 'first' }, text(value)) : null);

/** @param {string|null|undefined} value */
const mono = (value) => (value ? h('span', { class: 'first mono', title: value }, text(value)) : null);

/**
 * @param {string|null|undefined} iso
 * @param {App} app
 */
export function timeLines(iso, app) {
  if (!iso || Number.isNaN(Date.parse(iso))) return text(iso ?? '–');
  const date = new Date(iso);
  return h('time', { datetime: iso, title: app.format.exact(iso) },
    h('span', { class: 'first' }, app.format.short(date)), h('span', { class: 'second', 'data-ago': iso }, app.format.relative(date)));
}

/** @type {Record<string, Column>} */
export const COLUMNS = {
  time: { label: 'time', width: 13.5, render: (event, app) => timeLines(event.created_at, app) },
  actor: {
    label: 'actor', width: 15,
    render: (event, app) => {
      const { id, name, type } = event.actor ?? {};
      const gone = event.erased?.columns ?? [];
      if (!id && !name && !gone.includes('actor_id')) return null;
      const shown = id ? filterValue(app, name || id, { actor_id: id }) : name ? text(name) : erased(app);
      const second = name ? id : gone.includes('actor_name') && id ? erased(app) : type;
      return h('div', { class: 'person' }, h('span', { class: 'face', 'aria-hidden': 'true' }, initials(name || id || '')), lines(shown, second));
    },
  },
  action: { label: 'action', width: 13, render: (event, app) => lines(event.action ? filterValue(app, event.action, { action: event.action }, 'act') : null, event.action_category) },
  resource: {
    label: 'resourceColumn', width: 15,
    render: (event, app) => {
      const { type, id, name } = event.resource ?? {};
      const gone = event.erased?.columns ?? [];
      if (!id && !name && (gone.includes('resource_id') || gone.includes('resource_name'))) return lines(erased(app), type);
      if (!type && !id && !name) return null;
      const filters = { ...(type ? { resource: type } : {}), ...(id ? { resource_id: id } : {}) };
      return lines(filterValue(app, name || id || type || '', filters), name || id ? type : null);
    },
  },
  targets: {
    label: 'targets', width: 13,
    render: (event, app) => {
      const [first, ...rest] = event.targets ?? [];
      if (!first) return null;
      const filters = { ...(first.type ? { target_type: first.type } : {}), ...(first.id ? { target_id: first.id } : {}) };
      const more = rest.length ? ` ${app.say('moreTargets', { count: app.format.count(rest.length) })}` : '';
      return lines(filterValue(app, nameOf(first), filters), `${first.type ?? ''}${more}`);
    },
  },
  category: { label: 'category', width: 9, render: (event) => plain(event.action_category) },
  session: { label: 'session', width: 11, render: (event, app) => (event.session_id ? filterValue(app, event.session_id, { session_id: event.session_id }, 'mono') : null) },
  tenant: { label: 'tenant', width: 10, render: (event) => plain(event.tenant_id) },
  ip: { label: 'ip', width: 10, render: (event) => mono(event.ip_address) },
  location: { label: 'location', width: 10, render: (event) => plain([event.ip_city, event.ip_country].filter(Boolean).join(', ')) },
  agent: { label: 'agent', width: 13, render: (event) => plain(event.user_agent) },
  occurred: { label: 'occurred', width: 13.5, render: (event, app) => (event.occurred_at ? timeLines(event.occurred_at, app) : null) },
  id: { label: 'id', width: 13, render: (event) => mono(event.id) },
  hash: { label: 'hash', width: 11, render: (event) => mono(event.integrity?.event_hash) },
  metadata: { label: 'metadata', width: 15, render: (event) => (event.metadata && Object.keys(event.metadata).length ? mono(jsonText(event.metadata).slice(0, 300)) : null) },
  version: { label: 'version', width: 6, render: (event) => plain(event.version === null || event.version === undefined ? null : String(event.version)) },
  key: { label: 'key', width: 11, render: (event) => mono(event.idempotency_key) },
};

export const DEFAULT_COLUMNS = ['time', 'actor', 'action', 'resource', 'targets'];

/**
 * The columns that a list names, in its order; the usual ones if it names none.
 * @param {string|null|undefined} list
 */
export function parseColumns(list) {
  const named = (list ?? '').split(/[\s,]+/).filter((name) => Object.hasOwn(COLUMNS, name));
  return named.length ? [...new Set(named)] : DEFAULT_COLUMNS;
}
