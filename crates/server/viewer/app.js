// The viewer: what it knows, what it asks the server, and which part shows what.

import { ApiError, getPage, getRetention, getToken } from './api.js';
import { Badge, checkpointsOf, weaker } from './badge.js';
import { parseColumns } from './columns.js';
import { h, icon } from './dom.js';
import { Drawer } from './drawer.js';
import { verifyPage } from './evidence/index.js';
import { Format } from './format.js';
import { FILTERS, emptyQuery, fromHash, isEmpty, toHash, toParameters } from './query.js';
import { EventTable } from './table.js';
import { Toolbar } from './toolbar.js';
import { Speech, chooseLanguage } from './words.js';

/** @typedef {import('./types.js').Query} Query */
/** @typedef {import('./types.js').Row} Row */
/** @typedef {{rows: Row[], pagination: import('./types.js').Page['pagination'], level: import('./types.js').Level, checkpoint: import('./types.js').Checkpoint|null}} Read */
/** @typedef {'loading'|'ready'|'expired'|'no-token'|'error'|'offline'} State */

const SIZES = [25, 50, 100];
/** A page of the list that grows while one scrolls. */
const SCROLL_SIZE = 100;
/** New events on top beyond this number make the list begin again. */
const MOST_LIVE = 500;

export class App {
  /** @param {import('./element.js').AuditLogViewer} host */
  constructor(host) {
    this.host = host;
    /** @type {Query} */
    this.query = emptyQuery();
    this.columns = parseColumns(host.getAttribute('columns'));
    /** @type {'local'|'utc'} */
    this.zone = host.getAttribute('time-zone')?.toLowerCase() === 'utc' ? 'utc' : 'local';
    const size = host.getAttribute('page-size');
    /** @type {number|'scroll'} */
    this.size = size === 'scroll' ? 'scroll' : SIZES.find((each) => String(each) === size) ?? 25;
    /** @type {State} */
    this.state = 'loading';
    /** @type {(string|null)[]} Cursors of the pages up to this one. */
    this.cursors = [null];
    /** @type {Read|null} */
    this.page = null;
    /** @type {Row[]} New events that wait to be shown. */
    this.pending = [];
    /** @type {'off'|'on'|'paused'} */
    this.live = 'off';
    /** @type {AbortController|null} */
    this.loading = null;
    /** @type {Record<string, string>} What the first page was asked with: cursors go on with the same bounds. */
    this.asked = {};
    /** @type {AbortController|null} */
    this.exporting = null;
    this.stopped = new AbortController();
    /** @type {import('./types.js').Retention|null} */
    this.retention = null;
    /** @type {string|undefined} The token with which the server was asked for it. */
    this.askedRemoved = undefined;
    /** @type {{button: HTMLElement, panel: HTMLElement}[]} */
    this.popups = [];
    this.codeHost = new URL(import.meta.url).host;
    this.speech = new Speech(chooseLanguage(host.getAttribute('lang')));
    this.format = new Format(this.speech.lang, this.zone);
    this.readHash(host.getAttribute('filter') ?? '');
    if (host.hasAttribute('url-hash') && location.hash.length > 1) this.readHash(location.hash);
    this.build();
    this.#listen();
    if (host.hasAttribute('live')) this.toggleLive();
    void this.load();
  }

  /** Whether a host that is not the page's own gave the code: then its word is all that the badge has. */
  get foreignCode() {
    return this.host.hasAttribute('framed') || new URL(import.meta.url).origin !== location.origin;
  }

  get theme() {
    return this.host.getAttribute('theme') ?? 'auto';
  }

  get hasMore() {
    return Boolean(this.page?.pagination.has_more);
  }

  get limit() {
    return this.size === 'scroll' ? SCROLL_SIZE : this.size;
  }

  /** The address of the server, without a slash at its end. */
  get endpoint() {
    const given = this.host.getAttribute('endpoint');
    const url = given ? new URL(given, document.baseURI) : new URL('..', import.meta.url);
    return url.href.replace(/\/+$/, '');
  }

  /**
   * @param {Parameters<Speech['say']>[0]} name
   * @param {Record<string, string>} [values]
   * @param {number} [count]
   */
  say(name, values, count) {
    return this.speech.say(name, values, count);
  }

  /**
   * A heading. Depth 0 is the title, whose level depends on the page around: the viewer's own page has no other.
   * @param {0|1|2} depth
   * @param {Record<string, string>} attributes
   * @param {...import('./dom.js').Child} children
   */
  heading(depth, attributes, ...children) {
    const level = /** @type {'h1'} */ (`h${(this.host.hasAttribute('framed') ? 1 : 2) + depth}`);
    return h(level, { ...attributes, class: `t${depth}` }, ...children);
  }

  /** Builds everything in the language of now; what is loaded stays. */
  build() {
    const rows = this.table?.rows ?? [];
    this.speech = new Speech(chooseLanguage(this.host.getAttribute('lang')));
    this.format = new Format(this.speech.lang, this.zone);
    this.popups = [];
    this.exporting?.abort();
    this.status = h('div', { class: 'quiet', role: 'status', 'aria-live': 'polite' });
    this.scroll = h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': this.say('title') });
    this.fresh = h('div', { class: 'fresh', hidden: true });
    this.panel = h('div', { hidden: true });
    this.more = h('div', { class: 'more', hidden: true }, this.say('loadingMore'));
    this.strip = h('div', { class: 'strip', hidden: true, role: 'alert' });
    this.table = new EventTable(this);
    this.scroll.append(this.fresh, this.table.table, this.panel, this.more);
    this.badge = new Badge(this);
    this.toolbar = new Toolbar(this);
    this.drawer = new Drawer(this);
    this.footer = h('footer', {});
    this.removed = h('p', { class: 'removed', hidden: true });
    this.main = h('div', { class: 'main' }, h('header', {}, this.heading(0, {}, this.host.getAttribute('heading') ?? this.say('title')), this.badge.element),
      h('div', { role: 'search' }, this.toolbar.element, this.toolbar.chips), this.strip, this.scroll, this.removed, this.footer);
    this.root = h('div', { class: 'root', lang: this.speech.lang }, this.main, this.drawer.element, this.status);
    this.root.addEventListener('keydown', (event) => this.#key(event));
    this.host.shadow.replaceChildren(this.root);
    this.ended?.disconnect();
    this.ended = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && void this.loadMore(), { root: this.scroll, rootMargin: '800px' });
    this.ended.observe(this.more);
    this.toolbar.showLive(this.live);
    if (rows.length) this.table.setRows(rows);
    this.#showRemoved();
    if (this.state !== 'loading') this.#show();
  }

  stop() {
    this.stopped.abort();
    this.loading?.abort();
    this.exporting?.abort();
    clearTimeout(this.timer);
    clearInterval(this.ticker);
    this.ended?.disconnect();
  }

  #listen() {
    const { signal } = this.stopped;
    this.ticker = setInterval(() => document.hidden || this.table?.tick(), 30_000);
    addEventListener('online', () => this.state === 'offline' && void this.load(), { signal });
    addEventListener('offline', () => this.#show(), { signal });
    document.addEventListener('pointerdown', (event) => event.composedPath().includes(this.host) || this.closePopups(false), { signal });
    this.host.shadow.addEventListener('pointerdown', (event) => {
      const inside = this.popups.some(({ button, panel }) => event.composedPath().includes(button) || event.composedPath().includes(panel));
      if (!inside) this.closePopups(false);
    }, { signal });
    addEventListener('hashchange', () => {
      if (!this.host.hasAttribute('url-hash') || location.hash.slice(1) === this.hash()) return;
      this.query = emptyQuery();
      this.readHash(location.hash);
      this.build();
      void this.load();
    }, { signal });
  }

  // --- what is asked ---------------------------------------------------------------------------

  hash() {
    const view = new URLSearchParams(toHash(this.query));
    const columns = this.columns.join(',');
    if (columns !== parseColumns(this.host.getAttribute('columns')).join(',')) view.set('columns', columns);
    if (this.zone === 'utc') view.set('zone', 'utc');
    if (this.size !== 25) view.set('rows', String(this.size));
    return view.toString();
  }

  /** @param {string} hash */
  readHash(hash) {
    if (!hash) return;
    this.query = fromHash(hash);
    const view = new URLSearchParams(hash.replace(/^[#?]/, ''));
    if (view.has('columns')) this.columns = parseColumns(view.get('columns'));
    if (view.get('zone') === 'utc') this.zone = 'utc';
    const rows = view.get('rows');
    if (rows === 'scroll') this.size = 'scroll';
    else if (SIZES.includes(Number(rows))) this.size = Number(rows);
  }

  #writeHash() {
    if (!this.host.hasAttribute('url-hash')) return;
    const hash = this.hash();
    history.replaceState(history.state, '', hash ? `#${hash}` : location.pathname + location.search);
  }

  /** @param {Query} query */
  setQuery(query) {
    this.query = query;
    this.#writeHash();
    this.toolbar?.show();
    if (query.range.preset === 'custom' && query.range.to && this.live !== 'off') this.toggleLive();
    this.toolbar?.showLive(this.live);
    this.close(false);
    void this.load();
  }

  /** @param {Partial<Record<string, string>>} filters */
  setFilters(filters) {
    const given = FILTERS.filter((name) => filters[name]).map((name) => [name, filters[name]]);
    this.setQuery({ ...this.query, filters: Object.fromEntries(given) });
  }

  /**
   * Adds filters to those that are set.
   * @param {import('./types.js').Filters} filters
   */
  filterBy(filters) {
    this.setFilters({ ...this.query.filters, ...filters });
    this.toolbar?.input?.focus();
  }

  clear() {
    this.setQuery(emptyQuery());
  }

  /** @param {string[]} columns */
  setColumns(columns) {
    this.columns = columns;
    this.#writeHash();
    this.table?.setColumns(columns);
  }

  /** @param {'local'|'utc'} zone */
  setZone(zone) {
    this.zone = zone;
    this.format = new Format(this.speech.lang, zone);
    this.#writeHash();
    this.table?.setColumns(this.columns);
    this.toolbar?.show();
    if (this.drawer?.row) this.open(this.drawer.row.id, false);
    this.#showBadge();
    this.#showRemoved();
  }

  /** @param {string} theme */
  setTheme(theme) {
    this.host.setAttribute('theme', theme);
  }

  /** @param {number|'scroll'} size */
  setSize(size) {
    this.size = size;
    this.#writeHash();
    void this.load();
  }

  // --- what is loaded --------------------------------------------------------------------------

  /**
   * Reads and checks a page. A token that has expired is replaced once, if there is where to get another.
   * @param {Record<string, string>} parameters
   * @param {AbortSignal} [signal]
   * @param {Set<string>} [known] the events that were on the pages before
   * @returns {Promise<Read>}
   */
  async read(parameters, signal, known = new Set()) {
    const { host, endpoint } = this;
    const from = host.getAttribute('token-endpoint');
    if (!host.token && from) host.keepToken(await getToken(from));
    /** @type {import('./types.js').Page} */
    let page;
    try {
      page = await getPage({ endpoint, token: host.token, parameters, signal });
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 401 && from)) throw error;
      host.keepToken(await getToken(from));
      page = await getPage({ endpoint, token: host.token, parameters, signal });
    }
    const verification = await this.#verify(page, parameters);
    const { checkpoint } = verification;
    const rows = page.data.map((/** @type {{id?: unknown}|null} */ event, at) => {
      const id = typeof event?.id === 'string' ? event.id : `row ${at + 1}`;
      /** @type {Row} */
      const row = { ...(verification.rows.get(id) ?? { status: 'unchecked' }), id };
      if (known.has(id)) return { ...row, status: /** @type {const} */ ('failed'), reason: 'the page shows the event twice' };
      return row.status === 'verified' ? { ...row, checkpoint } : row;
    });
    const level = rows.some(({ status }) => status === 'failed') ? 'failed' : verification.level;
    return { rows, pagination: page.pagination, level, checkpoint };
  }

  /**
   * @param {import('./types.js').Page} page
   * @param {Record<string, string>} filters what the events must be, because it was asked for
   * @returns {Promise<import('./types.js').Verification>}
   */
  async #verify(page, filters) {
    try {
      const verdict = await verifyPage({ events: page.data, evidence: page.evidence ?? null, trust: this.host.trust, filters });
      return /** @type {import('./types.js').Verification} */ (/** @type {unknown} */ (verdict));
    } catch (error) {
      this.#tell('audit-log-error', { status: 0, code: 'unverifiable', message: String(error) });
      return { level: 'unavailable', rows: new Map(), checkpoint: null };
    }
  }

  /** Loads the page that the last of the cursors names; the first one unless told. */
  async load(cursors = /** @type {(string|null)[]} */ ([null])) {
    this.loading?.abort();
    const loading = new AbortController();
    this.loading = loading;
    this.cursors = cursors;
    this.#setPending([]);
    if (!this.host.token && !this.host.hasAttribute('token-endpoint')) return this.#enter('no-token');
    this.#enter('loading');
    try {
      const cursor = cursors.at(-1);
      if (!cursor) this.asked = toParameters(this.query);
      const page = await this.read({ ...this.asked, limit: String(this.limit), ...(cursor ? { cursor } : {}) }, loading.signal);
      if (loading.signal.aborted) return;
      this.page = page;
      this.table?.setRows(page.rows);
      if (this.scroll) this.scroll.scrollTop = 0;
      this.#enter('ready');
      this.announce(page.rows.length ? this.say('loaded', { count: this.format.count(page.rows.length) }, page.rows.length) : this.say('noneLoaded'));
      this.#tellVerified();
      if (!cursor) void this.#askRemoved(loading.signal);
    } catch (error) {
      if (!loading.signal.aborted) this.#fail(error);
    }
    this.#schedule();
  }

  /**
   * Asks once for each token whether retention has removed events.
   * @param {AbortSignal} signal
   */
  async #askRemoved(signal) {
    const { endpoint, host } = this;
    if (this.askedRemoved === host.token) return;
    this.askedRemoved = host.token;
    this.retention = await getRetention({ endpoint, token: host.token, signal });
    if (signal.aborted) this.askedRemoved = undefined;
    else this.#showRemoved();
  }

  /** Adds the next page to a list that grows. */
  async loadMore() {
    if (this.size !== 'scroll' || this.state !== 'ready' || !this.page?.pagination.has_more || this.growing) return;
    this.growing = true;
    const { loading } = this;
    try {
      const known = new Set(this.table?.rows.map(({ id }) => id));
      const page = await this.read({ ...this.asked, limit: String(SCROLL_SIZE), cursor: this.page.pagination.next_cursor ?? '' }, loading?.signal, known);
      if (loading !== this.loading) return;
      this.#merge(page);
      // A server that sends the same events again would be asked without end.
      const isNew = page.rows.length === 0 || page.rows.some(({ id }) => !known.has(id));
      this.page.pagination = { ...page.pagination, has_more: page.pagination.has_more && isNew, total: page.pagination.total ?? this.page.pagination.total };
      this.table?.append(page.rows);
      this.#show();
      this.#tellVerified();
    } catch (error) {
      if (!loading?.signal.aborted) this.#fail(error);
    } finally {
      this.growing = false;
    }
    // The end may still be in sight, and then nothing crosses it that the observer would tell.
    if (this.more && this.ended) {
      this.ended.unobserve(this.more);
      this.ended.observe(this.more);
    }
  }

  /** @param {Read} page */
  #merge(page) {
    if (!this.page || !page.rows.length) return;
    this.page.level = this.table?.rows.length ? weaker(this.page.level, page.level) : page.level;
    this.page.checkpoint = checkpointsOf([...(this.table?.rows ?? []), ...page.rows]).at(-1) ?? page.checkpoint ?? this.page.checkpoint;
  }

  /** @param {unknown} error */
  #fail(error) {
    const api = error instanceof ApiError ? error : new ApiError(0, 'unexpected', String(error));
    this.problem = api;
    if (api.status === 401 || api.code === 'no_token') {
      this.#enter('expired');
      this.#tell('token-expired', { message: api.message });
    } else {
      this.#enter(api.status === 0 && !navigator.onLine ? 'offline' : 'error');
      this.#tell('audit-log-error', { status: api.status, code: api.code, message: api.message });
    }
  }

  /**
   * What went wrong, for a person.
   * @param {unknown} error
   */
  explain(error) {
    const api = error instanceof ApiError ? error : new ApiError(-1, 'unexpected', String(error));
    const words = { 0: 'error0', 401: 'expiredTitle', 403: 'error403', 422: 'error422', 429: 'error429', 502: 'error503', 503: 'error503', 504: 'error503' };
    const word = /** @type {any} */ (words)[api.status] ?? 'errorOther';
    return this.say(word, { message: api.message });
  }

  /** A new token came. Events stay where they are if it opens the same ones. */
  tokenChanged(/** @type {boolean} */ sameScope) {
    if (this.state === 'ready' && sameScope) this.#schedule();
    else void this.load(sameScope ? this.cursors : [null]);
  }

  // --- live ------------------------------------------------------------------------------------

  toggleLive() {
    this.live = this.live === 'off' ? 'on' : 'off';
    this.toolbar?.showLive(this.live);
    this.announce(this.say(this.live === 'on' ? 'liveOn' : 'liveOff'));
    if (this.live === 'off') this.#setPending([]);
    this.#schedule(0);
  }

  pauseLive() {
    this.live = this.live === 'on' ? 'paused' : 'on';
    this.toolbar?.showLive(this.live);
    this.announce(this.say(this.live === 'on' ? 'liveOn' : 'livePaused'));
    if (this.live === 'on' && this.pending.length) void this.showPending();
    this.#schedule(0);
  }

  #schedule(after = this.host.interval) {
    clearTimeout(this.timer);
    if (this.live === 'off' || this.stopped.signal.aborted) return;
    this.timer = setTimeout(() => void this.#poll().finally(() => this.#schedule()), after);
  }

  async #poll() {
    if (document.hidden || this.state !== 'ready' || !this.table || this.cursors.length > 1) return;
    const { loading } = this;
    const shown = this.table.rows;
    const times = shown.map((row) => row.fields?.created_at ?? '').filter(Boolean);
    const [newest, oldest] = [times[0], times.at(-1)];
    /** @type {Record<string, string>} */
    const parameters = { ...toParameters(this.query), limit: '100' };
    // An event that was long in committing is a little older than the newest one, so the poll looks back.
    if (newest) parameters.from = later(new Date(Date.parse(newest) - 60_000).toISOString(), parameters.from);
    try {
      const page = await this.read(parameters, loading?.signal);
      if (loading !== this.loading || /** @type {string} */ (this.live) === 'off') return;
      const known = new Set(shown.map(({ id }) => id));
      const fresh = page.rows.filter((row) => !known.has(row.id) && !(oldest && (row.fields?.created_at ?? oldest) < oldest));
      if (fresh.length) this.#arrive(fresh, page);
    } catch (error) {
      if (error instanceof ApiError && (error.status === 401 || error.status === 403)) this.#fail(error);
    }
  }

  /**
   * @param {Row[]} rows
   * @param {Read} page
   */
  #arrive(rows, page) {
    this.arrived = page;
    const atTop = (this.scroll?.scrollTop ?? 0) < 40 && !this.drawer?.row && !this.popups.some(({ panel }) => !panel.hidden);
    this.#setPending(rows);
    if (this.live === 'on' && atTop) void this.showPending();
    else this.announce(this.fresh?.textContent ?? '');
  }

  /** @param {Row[]} rows */
  #setPending(rows) {
    this.pending = rows;
    if (!this.fresh) return;
    this.fresh.hidden = rows.length === 0;
    const count = rows.length >= 100 ? this.say('moreThan', { count: '100' }) : this.format.count(rows.length);
    this.fresh.replaceChildren(h('button', { type: 'button', class: 'button primary', onclick: () => void this.showPending(true) }, icon('up'), this.say('newEvents', { count }, rows.length)));
  }

  /** Shows the events that came. */
  async showPending(jump = false) {
    const { pending, page, arrived } = this;
    if (pending.length >= 100 || (this.table?.rows.length ?? 0) + pending.length > MOST_LIVE && this.size !== 'scroll') return this.load();
    this.#setPending([]);
    if (!page || !arrived) return;
    this.#merge({ ...arrived, rows: pending });
    if (typeof page.pagination.total === 'number') page.pagination.total += pending.length;
    this.table?.prepend(pending);
    if (jump && this.scroll) {
      this.scroll.scrollTop = 0;
      this.table?.focusRow(pending[0]?.id ?? '');
    }
    this.announce(this.say('newEvents', { count: String(pending.length) }, pending.length));
    this.#show();
    this.#tellVerified();
  }

  // --- what is shown ---------------------------------------------------------------------------

  /** @param {State} state */
  #enter(state) {
    this.state = state;
    this.#show();
  }

  #show() {
    const { table, scroll, panel, strip } = this;
    if (!table || !scroll || !panel || !strip) return;
    const { state } = this;
    const empty = table.rows.length === 0;
    scroll.setAttribute('aria-busy', String(state === 'loading'));
    if (state === 'loading' && empty) {
      table.skeleton();
      this.announce(this.say('loading'));
    } else if (empty) {
      table.setRows([]);
    }
    const content = state === 'loading' || !empty ? null : this.#panelOf(state);
    panel.hidden = !content;
    panel.replaceChildren(...(content ? [content] : []));
    table.table.hidden = Boolean(content);
    this.#showStrip(!empty && state !== 'ready' && state !== 'loading', state);
    if (this.more) this.more.hidden = !(this.size === 'scroll' && state === 'ready' && this.hasMore);
    this.#showBadge();
    this.#showFooter();
  }

  #showBadge() {
    const rows = this.table?.rows ?? [];
    this.badge?.show(this.page?.level ?? null, rows, this.page?.checkpoint ?? null);
  }

  /**
   * The words of a state: icon, title, text.
   * @param {State} state
   * @returns {[string, string, string]}
   */
  #words(state) {
    if (state === 'expired') return ['lock', this.say('expiredTitle'), this.say('expiredText')];
    if (state === 'no-token') return ['lock', this.say('noTokenTitle'), this.say('noTokenText')];
    if (state === 'offline') return ['offline', this.say('offlineTitle'), this.say('offlineText')];
    if (state === 'error') return ['alert', this.say('errorTitle'), this.explain(this.problem)];
    return isEmpty(this.query) ? ['inbox', this.say('emptyTitle'), this.say('emptyText')] : ['search', this.say('noMatchTitle'), this.say('noMatchText')];
  }

  /** @param {State} state */
  #panelOf(state) {
    const [name, title, text] = this.#words(state);
    /** @type {HTMLElement|null} */
    let button = null;
    if (state === 'error' || state === 'offline') button = this.#retry();
    else if (state === 'ready' && !isEmpty(this.query)) button = h('button', { type: 'button', class: 'button', onclick: () => this.clear() }, this.say('clear'));
    return h('div', { class: `state${state === 'error' ? ' bad' : ''}`, role: state === 'ready' ? null : 'alert' },
      h('span', { class: 'disc' }, icon(name)), this.heading(1, {}, title), h('p', {}, text), button);
  }

  #retry() {
    return h('button', { type: 'button', class: 'button', onclick: () => void this.load(this.cursors) }, icon('refresh'), this.say('retry'));
  }

  /**
   * Says above the events that are still there what keeps others from coming.
   * @param {boolean} shown
   * @param {State} state
   */
  #showStrip(shown, state) {
    if (!this.strip) return;
    this.strip.hidden = !shown;
    this.strip.classList.toggle('bad', state === 'error');
    if (!shown) return this.strip.replaceChildren();
    const [name, title, text] = this.#words(state);
    this.strip.replaceChildren(icon(name), h('span', {}, `${title}. ${text}`), ...(state === 'error' || state === 'offline' ? [this.#retry()] : []));
  }

  /** Says what retention has removed, and by which rule if the rule of now says so. */
  #showRemoved() {
    const { removed, retention } = this;
    if (!removed) return;
    const [before, at] = [retention?.pruned_before, retention?.pruned_at].map((time) => new Date(time ?? NaN));
    removed.hidden = !before || !at || Number.isNaN(before.getTime()) || Number.isNaN(at.getTime());
    if (removed.hidden || !before || !at) return;
    const values = { before: this.format.day.format(before), at: this.format.day.format(at), keep: this.format.duration(retention?.keep ?? '') };
    removed.textContent = this.say(values.keep && fits(retention?.keep ?? '', before, at) ? 'removedByRule' : 'removed', values);
  }

  #showFooter() {
    const { footer, page, table } = this;
    if (!footer || !table) return;
    const count = table.rows.length;
    const focused = /** @type {HTMLElement|null} */ (this.host.shadow.activeElement)?.dataset.page;
    footer.hidden = !page || (count === 0 && this.state !== 'loading');
    if (!page) return;
    const steps = (/** @type {string} */ name, /** @type {'previous'|'next'} */ word, /** @type {boolean} */ possible, /** @type {(string|null)[]} */ cursors) =>
      h('button', { type: 'button', class: 'button wordless', title: this.say(word), 'data-page': word, disabled: !possible, onclick: () => this.state !== 'loading' && void this.load(cursors) },
        word === 'previous' ? icon(name) : null, h('span', { class: 'label' }, this.say(word)), word === 'next' ? icon(name) : null);
    const select = h('select', { 'aria-label': this.say('pageSize'), onchange: () => this.setSize(select.value === 'scroll' ? 'scroll' : Number(select.value)) },
      ...[...SIZES, 'scroll'].map((size) => h('option', { value: size, selected: size === this.size }, size === 'scroll' ? this.say('scrolling') : String(size))));
    const next = page.pagination.next_cursor;
    const pages = h('nav', { 'aria-label': this.say('pages') }, steps('left', 'previous', this.cursors.length > 1, this.cursors.slice(0, -1)),
      steps('right', 'next', this.hasMore && Boolean(next), [...this.cursors, next]));
    footer.replaceChildren(h('span', { class: 'range' }, this.#rangeText(count)), h('label', {}, h('span', { 'aria-hidden': 'true' }, this.say('pageSize')), select));
    if (this.size !== 'scroll') footer.append(pages);
    if (focused) /** @type {HTMLElement|null} */ (footer.querySelector(`[data-page="${focused}"]:enabled`) ?? footer.querySelector('[data-page]:enabled'))?.focus();
  }

  /** @param {number} count */
  #rangeText(count) {
    if (!this.page || !count) return '';
    const first = (this.cursors.length - 1) * this.limit + 1;
    const { total, total_relation: relation } = this.page.pagination;
    const values = { from: this.format.count(first), to: this.format.count(first + count - 1) };
    if (typeof total !== 'number') return this.say('shownOpen', values);
    const shown = this.format.count(Math.max(total, first + count - 1));
    return this.say('shown', { ...values, total: relation === 'estimate' ? this.say('about', { count: shown }) : shown });
  }

  /** @param {string} words */
  announce(words) {
    if (this.status) this.status.textContent = words;
  }

  // --- drawer and panels -----------------------------------------------------------------------

  /**
   * Opens the details of an event that is in the table.
   * @param {string} id
   */
  open(id, focus = true) {
    const rows = this.table?.rows ?? [];
    const at = rows.findIndex((row) => row.id === id);
    const row = rows[at];
    if (!row) return false;
    this.drawer?.show(row, { first: at === 0, last: at === rows.length - 1 });
    this.table?.setOpened(id);
    // A drawer that covers everything leaves nothing behind it to walk into.
    if (this.main) this.main.inert = this.host.clientWidth < 736;
    if (focus) this.drawer?.element.focus();
    this.#tell('event-open', { id, status: row.status, event: row.status === 'failed' ? null : row.fields ?? null });
    return true;
  }

  /** @param {number} by */
  step(by) {
    const rows = this.table?.rows ?? [];
    const at = rows.findIndex((row) => row.id === this.drawer?.row?.id);
    const next = rows[at + by];
    if (!next) return;
    const focused = /** @type {HTMLElement|null} */ (this.host.shadow.activeElement);
    this.open(next.id, false);
    if (focused?.matches(':disabled')) this.drawer?.element.focus();
  }

  close(focus = true) {
    const id = this.drawer?.row?.id;
    if (!id) return;
    this.drawer?.hide();
    if (this.main) this.main.inert = false;
    this.table?.setOpened(null);
    if (focus) this.table?.focusRow(id);
  }

  /**
   * A button with a panel that it opens.
   * @param {HTMLElement} button
   * @param {HTMLElement} panel
   * @param {() => void} [opening]
   */
  popup(button, panel, opening) {
    panel.hidden = true;
    button.setAttribute('aria-expanded', 'false');
    button.setAttribute('aria-haspopup', 'dialog');
    this.popups.push({ button, panel });
    button.addEventListener('click', () => {
      const open = panel.hidden;
      this.closePopups(!open);
      if (!open) return;
      opening?.();
      panel.hidden = false;
      button.setAttribute('aria-expanded', 'true');
      const first = /** @type {HTMLElement|null} */ (panel.querySelector('input:not([type=radio]), button:enabled, input:checked'));
      if (first) first.focus();
      else {
        panel.tabIndex = -1;
        panel.focus();
      }
    });
    panel.addEventListener('focusout', (event) => {
      const to = /** @type {Node|null} */ (event.relatedTarget);
      if (to && !panel.contains(to) && to !== button) this.closePopups(false);
    });
    return h('div', { class: 'pop' }, button, panel);
  }

  closePopups(focus = true) {
    let closed = false;
    for (const { button, panel } of this.popups) {
      if (panel.hidden) continue;
      const inside = panel.contains(this.host.shadow.activeElement);
      panel.hidden = true;
      button.setAttribute('aria-expanded', 'false');
      if (focus && inside) button.focus();
      closed = true;
    }
    return closed;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === 'Escape' && !event.isComposing) {
      if (this.closePopups() || this.drawer?.row) event.stopPropagation();
      else return;
      event.preventDefault();
      if (!this.popupClosed(event)) this.close();
    }
  }

  /**
   * Whether Escape was for a panel: it closes one thing at a time.
   * @param {KeyboardEvent} event
   */
  popupClosed(event) {
    return this.popups.some(({ panel }) => event.composedPath().includes(panel));
  }

  // --- what the page around is told --------------------------------------------------------------

  /**
   * @param {string} name
   * @param {object} detail
   */
  #tell(name, detail) {
    this.host.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }

  #tellVerified() {
    const rows = this.table?.rows ?? [];
    const failed = rows.filter(({ status }) => status === 'failed').map(({ id }) => id);
    this.#tell('verified', { level: this.page?.level ?? null, events: rows.length, failed, checkpoint: this.page?.checkpoint ?? null });
  }
}

/**
 * Whether a rule explains what was removed: it may have been another one then. Rules count back to the last midnight.
 * @param {string} keep
 * @param {Date} before
 * @param {Date} at
 */
function fits(keep, before, at) {
  const [years, months, days, seconds] = ['Y', 'M', 'D', 'S'].map((unit) => Number(new RegExp(`(\\d+)(?:\\.\\d+)?${unit}`).exec(keep)?.[1] ?? 0));
  const end = new Date(before);
  end.setUTCMonth(end.getUTCMonth() + 12 * (years ?? 0) + (months ?? 0));
  const between = (at.getTime() - end.getTime()) / 1000 - (days ?? 0) * 86_400 - (seconds ?? 0);
  return between > -4 * 86_400 && between < 4 * 86_400;
}

/**
 * @param {string} a
 * @param {string|undefined} b
 */
function later(a, b) {
  return b && b > a ? b : a;
}
