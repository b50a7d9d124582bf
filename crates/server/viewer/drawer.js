// The drawer: everything that an event says, with buttons that copy it.

import { erased, filterValue, nameOf, timeLines } from './columns.js';
import { append, h, icon, text } from './dom.js';
import { reasonOf } from './badge.js';
import { jsonText } from './evidence/index.js';

/** @typedef {import('./types.js').EventFields} EventFields */

export class Drawer {
  /** @param {import('./app.js').App} app */
  constructor(app) {
    this.app = app;
    /** @type {import('./types.js').Row|null} */
    this.row = null;
    const tool = (/** @type {string} */ name, /** @type {any} */ word, /** @type {() => void} */ does) =>
      h('button', { type: 'button', class: 'button plain square', title: app.say(word), 'aria-label': app.say(word), onclick: does }, icon(name));
    this.newer = tool('up', 'previousEvent', () => app.step(-1));
    this.older = tool('down', 'nextEvent', () => app.step(1));
    this.body = h('div', { class: 'body', tabindex: 0, role: 'region', 'aria-label': app.say('details') });
    this.element = h('div', { class: 'drawer', role: 'dialog', 'aria-label': app.say('details'), tabindex: -1, hidden: true },
      h('div', { class: 'head' }, app.heading(1, {}, app.say('details')), this.newer, this.older, tool('cross', 'close', () => app.close())), this.body);
  }

  /**
   * @param {import('./types.js').Row} row
   * @param {{first: boolean, last: boolean}} place
   */
  show(row, place) {
    const { app } = this;
    this.row = row;
    this.newer.disabled = place.first;
    this.older.disabled = place.last;
    const shown = row.status !== 'failed' && row.fields ? this.#event(row.fields) : [];
    const lead = shown.length ? [] : [h('p', { class: 'lead' }, app.say(row.status === 'failed' ? 'rowFailed' : 'rowUnchecked'))];
    const rest = shown.length ? [] : [this.#section('integrity', this.#pairs([['id', row.id]]))];
    const [first, ...others] = shown;
    this.body.replaceChildren();
    append(this.body, ...lead, first, this.#verdict(row), ...others, ...rest);
    this.body.scrollTop = 0;
    this.element.hidden = false;
  }

  hide() {
    this.row = null;
    this.element.hidden = true;
    this.body.replaceChildren();
  }

  /** @param {import('./types.js').Row} row */
  #verdict(row) {
    const { app } = this;
    const words = {
      verified: app.say('rowVerified'), consistent: `${app.say('rowConsistent')}. ${row.reason ? app.speech.reason(row.reason) : ''}`,
      failed: `${reasonOf(row, app)} ${row.reason ? app.say('rowFailedText') : ''}`,
      unchecked: row.fields ? `${app.say('rowUnchecked')}${row.reason ? ` – ${app.speech.reason(row.reason)}` : ''}` : app.say('rowNothing'),
    };
    const icons = { verified: 'shield', consistent: 'shield', failed: 'shieldAlert', unchecked: 'shieldPlain' };
    return h('p', { class: 'verdict', 'data-status': row.status }, icon(icons[row.status]), text(words[row.status]));
  }

  /**
   * @param {EventFields} event
   * @returns {Node[]}
   */
  #event(event) {
    const { app } = this;
    const resource = event.resource ?? {};
    const gone = event.erased ?? { columns: [], metadata: 0, targets: [] };
    const lost = (/** @type {string} */ name) => (gone.columns.includes(name) ? erased(app) : null);
    const lead = h('div', {}, h('p', { class: 'lead' }, text(event.action ?? '')), h('p', {}, ...apart([event.actor?.name || event.actor?.id, nameOf(resource)])));
    const actor = event.actor?.id;
    const location = [event.ip_city, event.ip_country].filter(Boolean).join(', ');
    const { integrity } = event;
    return /** @type {Node[]} */ ([
      lead,
      this.#section('what', this.#pairs([
        ['time', event.created_at ? timeLines(event.created_at, app) : null, event.created_at],
        ['occurred', event.occurred_at && event.occurred_at !== event.created_at ? timeLines(event.occurred_at, app) : null, event.occurred_at],
        ['action', event.action && filterValue(app, event.action, { action: event.action }), event.action], ['category', event.action_category],
        ['resource', resource.type && filterValue(app, resource.type, { resource: resource.type }), resource.type],
        ['resourceColumn', resource.name || lost('resource_name')], ['resource_id', (resource.id || lost('resource_id')) && (!resource.id ? lost('resource_id') : filterValue(app, resource.id, { ...(resource.type ? { resource: resource.type } : {}), resource_id: resource.id })), resource.id],
      ])),
      this.#section('who', this.#pairs([
        ['name', event.actor?.name || lost('actor_name')], ['actor_id', actor ? filterValue(app, actor, { actor_id: actor }) : lost('actor_id'), actor], ['type', event.actor?.type], ['tenant', event.tenant_id],
        ['session', event.session_id ? filterValue(app, event.session_id, { session_id: event.session_id }) : lost('session_id'), event.session_id],
      ])),
      this.#section('where', this.#pairs([['ip', event.ip_address || lost('ip_address')], ['location', location || lost('ip_city') || lost('ip_country')], ['agent', event.user_agent || lost('user_agent')]])),
      this.#section('targets', this.#targets(event.targets ?? [], gone.targets)),
      this.#section('metadata', this.#metadata(event.metadata, gone.metadata), event.metadata && Object.keys(event.metadata).length ? jsonText(event.metadata, '  ') : null),
      this.#section('more', this.#pairs([['key', event.idempotency_key], ['version', event.version === null || event.version === undefined ? null : String(event.version)]])),
      this.#section('integrity', this.#pairs([
        ['id', event.id], ['hash', integrity?.event_hash], ['previousHash', integrity?.previous_event_hash],
        ['place', typeof integrity?.lane === 'number' ? app.say('laneSeq', { lane: String(integrity.lane), seq: String(integrity.seq) }) : null],
      ]), jsonText(event, '  ')),
    ].filter(Boolean));
  }

  /**
   * @param {any} title
   * @param {Node|null} content
   * @param {string|null} [copied] the text that a button of the whole section copies
   */
  #section(title, content, copied) {
    if (!content) return null;
    const heading = this.app.heading(2, {}, this.app.say(title));
    const head = copied ? h('div', { class: 'titled' }, heading, this.#copy(copied, this.app.say('copyJson'))) : heading;
    return h('section', {}, head, content);
  }

  /** @param {[any, Node|string|null|undefined, (string|null)?][]} pairs label, what is shown, what is copied if that differs */
  #pairs(pairs) {
    const list = h('dl', { class: 'pairs' });
    for (const [label, shown, copied] of pairs) {
      if (!shown) continue;
      const value = copied ?? (typeof shown === 'string' ? shown : '');
      const mono = ['hash', 'previousHash', 'id', 'key', 'ip'].includes(label);
      const it = h('div', { class: `it${mono ? ' mono' : ''}` }, typeof shown === 'string' ? text(shown) : shown);
      it.querySelectorAll('.value').forEach((button) => button.setAttribute('tabindex', '0'));
      const name = this.app.say(label);
      list.append(h('div', {}, h('dt', {}, name), h('dd', {}, it, value ? this.#copy(value, `${this.app.say('copy')}: ${name}`) : null)));
    }
    return list.childElementCount ? list : null;
  }

  /**
   * @param {import('./types.js').Target[]} targets
   * @param {number[]} gone which of them were erased
   */
  #targets(targets, gone) {
    if (!targets.length) return null;
    const { app } = this;
    return h('ul', { class: 'targets' }, ...targets.map((target, at) => {
      if (gone.includes(at)) return h('li', {}, h('div', { class: 'first' }, erased(app)), h('span', { class: 'second' }, text(target.type ?? '')));
      const filters = { ...(target.type ? { target_type: target.type } : {}), ...(target.id ? { target_id: target.id } : {}) };
      const button = filterValue(app, nameOf(target), filters);
      button.setAttribute('tabindex', '0');
      const second = apart([target.type, target.name ? target.id : null]);
      const metadata = target.metadata && Object.keys(target.metadata).length ? this.#json(target.metadata) : null;
      return h('li', {}, h('div', { class: 'first' }, button), h('span', { class: 'second' }, ...second), metadata);
    }));
  }

  /**
   * @param {Record<string, unknown>|null|undefined} metadata
   * @param {number} gone how many of its members were erased
   */
  #metadata(metadata, gone) {
    const shown = this.#json(metadata);
    if (!gone) return shown;
    const note = h('p', { class: 'erased', title: this.app.say('erasedHint') }, this.app.say('erasedMembers', { count: this.app.format.count(gone) }, gone));
    return h('div', {}, shown, note);
  }

  /** @param {Record<string, unknown>|null|undefined} value */
  #json(value) {
    if (!value || !Object.keys(value).length) return null;
    return h('pre', { tabindex: 0, dir: 'ltr', role: 'group', 'aria-label': this.app.say('metadata') }, jsonText(value, '  '));
  }

  /**
   * @param {string} value
   * @param {string} label
   */
  #copy(value, label) {
    const button = h('button', { type: 'button', class: 'tool', title: label, 'aria-label': label }, icon('copy'));
    button.addEventListener('click', async () => {
      const copied = await copyText(value, button);
      this.app.announce(this.app.say(copied ? 'copied' : 'copyFailed'));
      button.replaceChildren(icon(copied ? 'check' : 'cross'));
      button.classList.toggle('done', copied);
      setTimeout(() => {
        button.replaceChildren(icon('copy'));
        button.classList.remove('done');
      }, 1600);
    });
    return button;
  }
}

/**
 * Values beside each other, each with a writing direction of its own: one cannot turn the other around.
 * @param {unknown[]} values
 */
function apart(values) {
  return values.filter(Boolean).flatMap((value, at) => (at ? [' · ', text(value)] : [text(value)]));
}

/**
 * Copies a text. Pages that are not https, and frames without permission, have the older way only.
 * @param {string} value
 * @param {HTMLElement} beside
 */
async function copyText(value, beside) {
  try {
    await navigator.clipboard.writeText(value);
    return true;
  } catch {
    const area = h('textarea', { 'aria-hidden': 'true', class: 'quiet' });
    area.value = value;
    beside.after(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    beside.focus();
    return done;
  }
}
