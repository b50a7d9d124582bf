// The table of events. Chunks of rows that are far from sight give their elements back, so that 10,000 events scroll.

import { COLUMNS } from './columns.js';
import { h, icon, text } from './dom.js';
import { reasonOf } from './badge.js';

/** @typedef {import('./types.js').Row} Row */
/** @typedef {{body: HTMLTableSectionElement, rows: Row[], height: number, drawn: boolean}} Chunk */

const CHUNK = 50;

const MARKS = { verified: 'check', consistent: 'check', failed: 'cross', unchecked: 'dash' };

export class EventTable {
  /** @param {import('./app.js').App} app */
  constructor(app) {
    this.app = app;
    /** @type {string[]} */
    this.columns = app.columns;
    /** @type {Chunk[]} */
    this.chunks = [];
    /** @type {string|null} */
    this.opened = null;
    this.head = h('thead', { role: 'rowgroup' });
    this.table = h('table', { role: 'table' }, h('caption', {}, app.say('caption')), this.head);
    this.table.addEventListener('keydown', (event) => this.#key(event));
    this.table.addEventListener('focusin', (event) => this.#rove(/** @type {HTMLElement} */ (event.target)));
    this.table.addEventListener('focusout', (event) => /** @type {HTMLElement} */ (event.target).closest('tr')?.classList.remove('at'));
    this.table.addEventListener('click', (event) => this.#click(event));
    this.observer = new IntersectionObserver((entries) => this.#seen(entries), { root: app.scroll, rootMargin: '1500px 0px' });
    this.#drawHead();
  }

  /** All rows, newest first. */
  get rows() {
    return this.chunks.flatMap((chunk) => chunk.rows);
  }

  /** @param {string[]} columns */
  setColumns(columns) {
    this.columns = columns;
    this.#drawHead();
    this.redraw();
  }

  /** @param {Row[]} rows */
  setRows(rows) {
    this.observer.disconnect();
    for (const chunk of this.chunks) chunk.body.remove();
    this.chunks = [];
    this.append(rows);
  }

  /** @param {Row[]} rows */
  append(rows) {
    for (let at = 0; at < rows.length; at += CHUNK) this.#add(rows.slice(at, at + CHUNK), this.chunks.length, false);
    this.#number();
  }

  /**
   * Puts new events on top.
   * @param {Row[]} rows
   */
  prepend(rows) {
    this.#add(rows, 0, true);
    this.#number();
  }

  /** Draws all rows again, in other words or columns. */
  redraw() {
    for (const chunk of this.chunks) if (chunk.drawn) this.#draw(chunk, false);
    this.#number();
  }

  /** Bars in the place of rows that are loading. */
  skeleton() {
    this.setRows([]);
    const line = (/** @type {number} */ n) => h('tr', { class: 'space' }, ...['check', ...this.columns].map((name, at) =>
      h('td', { class: `c-${name}`, style: null }, at ? h('span', { class: `bone w${(n + at) % 4}` }) : null)));
    const body = h('tbody', { 'aria-hidden': 'true', class: 'skeleton' }, ...Array.from({ length: 8 }, (_, n) => line(n)));
    for (const cell of body.querySelectorAll('td')) cell.style.padding = '14px 12px';
    this.chunks.push({ body, rows: [], height: 0, drawn: false });
    this.table.append(body);
  }

  /** Says again how long ago things happened. */
  tick() {
    for (const element of this.table.querySelectorAll('[data-ago]')) {
      element.textContent = this.app.format.relative(new Date(/** @type {HTMLElement} */ (element).dataset.ago ?? ''));
    }
  }

  /** @param {string|null} id */
  setOpened(id) {
    this.opened = id;
    for (const row of this.table.querySelectorAll('tbody tr')) row.classList.toggle('is-open', /** @type {HTMLElement} */ (row).dataset.id === id);
  }

  /** @param {string} id */
  focusRow(id) {
    const at = this.rows.findIndex((row) => row.id === id);
    this.#focus(at, 0);
    return at >= 0;
  }

  #drawHead() {
    const { app } = this;
    const titles = this.columns.map((name) => {
      const column = /** @type {import('./columns.js').Column} */ (COLUMNS[name]);
      const cell = h('th', { scope: 'col', role: 'columnheader', class: `c-${name}` }, app.say(column.label), app.zone === 'utc' && ['time', 'occurred'].includes(name) && ' (UTC)');
      cell.style.width = `${column.width}rem`;
      return cell;
    });
    const check = h('th', { scope: 'col', role: 'columnheader', class: 'c-check' }, h('span', { class: 'quiet' }, app.say('check')));
    this.head.replaceChildren(h('tr', { role: 'row' }, check, ...titles));
    const width = this.columns.reduce((sum, name) => sum + (COLUMNS[name]?.width ?? 0), 3);
    this.table.style.setProperty('--least', `${width * 0.78}rem`);
  }

  /**
   * @param {Row[]} rows
   * @param {number} at
   * @param {boolean} fresh
   */
  #add(rows, at, fresh) {
    const chunk = { body: h('tbody', { role: 'rowgroup' }), rows, height: 0, drawn: false };
    this.table.insertBefore(chunk.body, this.chunks[at]?.body ?? null);
    this.chunks.splice(at, 0, chunk);
    this.#draw(chunk, fresh);
    this.observer.observe(chunk.body);
  }

  /**
   * @param {Chunk} chunk
   * @param {boolean} fresh
   */
  #draw(chunk, fresh) {
    chunk.drawn = true;
    chunk.body.replaceChildren(...chunk.rows.map((row) => this.#row(row, fresh)));
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #seen(entries) {
    let changed = false;
    for (const entry of entries) {
      const chunk = this.chunks.find(({ body }) => body === entry.target);
      if (!chunk || !entry.rootBounds) continue;
      if (entry.isIntersecting && !chunk.drawn) this.#draw(chunk, false);
      else if (!entry.isIntersecting && chunk.drawn && !chunk.body.matches(':focus-within')) this.#fold(chunk);
      else continue;
      changed = true;
    }
    if (changed) this.#number();
  }

  /** @param {Chunk} chunk */
  #fold(chunk) {
    chunk.height = chunk.body.offsetHeight;
    if (!chunk.height) return;
    const cell = h('td', { colspan: this.columns.length + 1 });
    cell.style.height = `${chunk.height}px`;
    chunk.body.replaceChildren(h('tr', { class: 'space', 'aria-hidden': 'true' }, cell));
    chunk.drawn = false;
  }

  /** Tells each row its number, and one element that Tab reaches it. */
  #number() {
    let number = 2;
    for (const { rows, body, drawn } of this.chunks) {
      if (drawn) [...body.rows].forEach((row, at) => row.setAttribute('aria-rowindex', String(number + at)));
      number += rows.length;
    }
    this.table.setAttribute('aria-rowcount', String(this.app.hasMore ? -1 : number - 1));
    if (!this.table.querySelector('tbody [tabindex="0"]')) this.table.querySelector('tbody [data-stop]')?.setAttribute('tabindex', '0');
  }

  /**
   * @param {Row} row
   * @param {boolean} fresh
   */
  #row(row, fresh) {
    const { app } = this;
    const status = row.fields || row.status === 'failed' ? row.status : 'unchecked';
    const line = h('tr', { role: 'row', 'data-id': row.id, class: `${status}${fresh ? ' fresh-row' : ''}${this.opened === row.id ? ' is-open' : ''}` });
    const words = { verified: 'rowVerified', consistent: 'rowConsistent', failed: 'rowFailed', unchecked: 'rowUnchecked' };
    const label = app.say(/** @type {any} */ (words[status]));
    const mark = h('span', { class: 'mark', 'data-status': status, title: label }, icon(MARKS[status]), h('span', { class: 'quiet' }, label));
    line.append(h('td', { role: 'cell', class: 'c-check' }, mark));
    if (status === 'failed' || !row.fields) {
      line.append(this.#why(row, status));
      return line;
    }
    const { fields } = row;
    for (const name of this.columns) {
      const column = /** @type {import('./columns.js').Column} */ (COLUMNS[name]);
      const content = column.render(fields, app);
      const cell = h('td', { role: 'cell', class: `c-${name}${content ? '' : ' void'}`, 'data-label': app.say(column.label) }, content);
      line.append(cell);
    }
    this.#opener(line, row);
    return line;
  }

  /**
   * The first cell opens the details: a button around its content, or before it where that has buttons itself.
   * @param {HTMLTableRowElement} line
   * @param {Row} row
   */
  #opener(line, row) {
    const { app } = this;
    const open = h('button', { type: 'button', class: 'open', 'data-stop': true, tabindex: -1, 'aria-haspopup': 'dialog', onclick: () => app.open(row.id) });
    const hint = h('span', { class: 'quiet' }, `${app.say('openDetails')} `);
    const time = line.querySelector('.c-time');
    if (time) {
      open.append(hint, ...time.childNodes);
      time.append(open);
    } else {
      const cell = /** @type {HTMLElement} */ (line.firstElementChild);
      open.append(hint, ...cell.childNodes);
      cell.append(open);
    }
  }

  /**
   * What stands in the place of an event whose values must not be shown.
   * @param {Row} row
   * @param {string} status
   */
  #why(row, status) {
    const { app } = this;
    const open = h('button', { type: 'button', class: 'open', 'data-stop': true, tabindex: -1, 'aria-haspopup': 'dialog', onclick: () => app.open(row.id) },
      h('span', { class: 'first' }, app.say(status === 'failed' ? 'rowFailed' : 'rowUnchecked')),
      h('span', { class: 'second' }, status === 'failed' ? text(reasonOf(row, app)) : app.say('rowNothing')));
    return h('td', { role: 'cell', class: 'c-why', colspan: this.columns.length }, open);
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const target = /** @type {Element} */ (event.target);
    const row = /** @type {HTMLElement|null} */ (target.closest('tbody tr[data-id]'));
    if (!row?.dataset.id || target.closest('button')) return;
    if (String(document.getSelection() ?? '')) return;
    this.app.open(row.dataset.id);
  }

  /** @param {HTMLElement} target */
  #rove(target) {
    if (!target.matches('[data-stop]')) return;
    // A class does what :has(:focus-visible) would, which browsers compute anew for every row that comes.
    if (target.matches(':focus-visible')) target.closest('tr')?.classList.add('at');
    for (const element of this.table.querySelectorAll('[data-stop][tabindex="0"]')) element.setAttribute('tabindex', '-1');
    target.setAttribute('tabindex', '0');
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const row = /** @type {HTMLElement|null} */ (target.closest('tr[data-id]'));
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const { rows } = this;
    const at = rows.findIndex(({ id }) => id === row.dataset.id);
    const stops = [...row.querySelectorAll('[data-stop]')];
    const stop = stops.indexOf(target);
    const rtl = getComputedStyle(this.table).direction === 'rtl' ? -1 : 1;
    /** @type {Record<string, [number, number]>} */
    const moves = {
      ArrowDown: [at + 1, stop], ArrowUp: [at - 1, stop], PageDown: [at + 10, stop], PageUp: [at - 10, stop],
      Home: [0, stop], End: [rows.length - 1, stop], ArrowRight: [at, stop + rtl], ArrowLeft: [at, stop - rtl],
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    this.#focus(Math.max(0, Math.min(rows.length - 1, move[0])), move[1]);
  }

  /**
   * Focuses a stop of a row, which is drawn first if it is far away.
   * @param {number} at
   * @param {number} stop
   */
  #focus(at, stop) {
    let before = 0;
    for (const chunk of this.chunks) {
      if (at >= before && at < before + chunk.rows.length) {
        if (!chunk.drawn) this.#draw(chunk, false);
        const stops = /** @type {NodeListOf<HTMLElement>|undefined} */ (chunk.body.rows[at - before]?.querySelectorAll('[data-stop]'));
        const element = stops?.[Math.max(0, Math.min(stops.length - 1, stop))];
        element?.focus({ preventScroll: true });
        element?.closest('tr')?.scrollIntoView({ block: 'nearest' });
        return;
      }
      before += chunk.rows.length;
    }
  }
}
