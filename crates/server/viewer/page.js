// The page /viewer: takes the token out of its address, shows the viewer, and talks with the page that frames it.

import './element.js';

const ATTRIBUTES = { lang: 'lang', theme: 'theme', columns: 'columns', zone: 'time-zone', rows: 'page-size', filter: 'filter', heading: 'heading', live: 'live' };

const query = new URLSearchParams(location.search);
const hash = new URLSearchParams(location.hash.slice(1));
// A reload finds the token in the state of this entry of the tab's history, which no address and no request shows.
const kept = typeof history.state?.token === 'string' ? history.state.token : '';
const token = hash.get('token') ?? query.get('token') ?? kept;
for (const each of [query, hash]) each.delete('token');
const [asked, part] = [query.toString(), hash.toString()];
history.replaceState({ token }, '', `${location.pathname}${asked ? `?${asked}` : ''}${part ? `#${part}` : ''}`);

const viewer = /** @type {import('./element.js').AuditLogViewer} */ (document.createElement('audit-log-viewer'));
viewer.setAttribute('url-hash', '');
viewer.setAttribute('framed', '');
for (const [name, attribute] of Object.entries(ATTRIBUTES)) {
  const value = query.get(name);
  if (value !== null) viewer.setAttribute(attribute, value);
}
if (token) viewer.token = token;

// A page around that gives the frame a new address with another token behind # loads nothing anew.
addEventListener('hashchange', () => {
  const given = new URLSearchParams(location.hash.slice(1));
  const next = given.get('token');
  given.delete('token');
  const kept = next === null ? location.hash.slice(1) : given.toString();
  history.replaceState({ token: next ?? viewer.token }, '', `${location.pathname}${location.search}${kept ? `#${kept}` : ''}`);
  if (next !== null) viewer.token = next;
});

// Whom the page talks with: the frame around it, and nobody else. Its origin is what the browser says, or what the address says.
const framed = window.parent !== window;
const parentOrigin = framed ? origin(query.get('parent')) ?? origin(location.ancestorOrigins?.[0]) ?? origin(document.referrer) : null;

/** @param {string|null|undefined} url */
function origin(url) {
  try {
    const found = url ? new URL(url).origin : 'null';
    return found === 'null' ? null : found;
  } catch {
    return null;
  }
}

/**
 * @param {string} type
 * @param {object} [detail]
 */
function post(type, detail = {}) {
  if (framed && parentOrigin) window.parent.postMessage({ source: 'audit-log-viewer', type, ...detail }, parentOrigin);
}

for (const type of ['token-expired', 'audit-log-error', 'verified']) viewer.addEventListener(type, (event) => post(type, /** @type {CustomEvent} */ (event).detail));
// The frame around learns which event was opened. What the event says stays inside.
viewer.addEventListener('event-open', (event) => post('event-open', { id: /** @type {CustomEvent} */ (event).detail.id }));

addEventListener('message', (event) => {
  if (!framed || event.source !== window.parent || event.origin !== parentOrigin) return;
  const { type, token: next, theme, lang } = event.data ?? {};
  if (type === 'token' && typeof next === 'string') {
    viewer.token = next;
    history.replaceState({ token: next }, '');
  }
  if (type === 'settings' && typeof theme === 'string') viewer.setAttribute('theme', theme);
  if (type === 'settings' && typeof lang === 'string') viewer.setAttribute('lang', lang);
});

const language = query.get('lang');
if (language) document.documentElement.lang = language;
const theme = query.get('theme');
if (theme === 'light' || theme === 'dark') document.documentElement.style.colorScheme = theme;
const main = document.createElement('main');
main.append(viewer);
document.body.append(main);
post('ready');
