// The panel that exports the filtered events as CSV: it reads page after page, checks each, and writes a file.

import { ApiError } from './api.js';
import { header, line } from './csv.js';
import { h, icon } from './dom.js';
import { toParameters } from './query.js';

export class Exporter {
  /** @param {import('./app.js').App} app */
  constructor(app) {
    this.app = app;
    /** @type {AbortController|null} */
    this.running = null;
    this.spreadsheet = h('input', { type: 'checkbox' });
    this.bar = h('progress', { hidden: true, 'aria-label': app.say('csvTitle') });
    this.said = h('p', { class: 'note', role: 'status' });
    this.start = h('button', { type: 'button', class: 'button primary', onclick: () => this.#export() }, icon('download'), app.say('csvStart'));
    this.stop = h('button', { type: 'button', class: 'button', hidden: true, onclick: () => this.running?.abort() }, app.say('cancel'));
    const panel = h('div', { class: 'panel end', role: 'dialog', 'aria-label': app.say('csvTitle') }, app.heading(1, {}, app.say('csvTitle')), h('p', {}, app.say('csvText')),
      h('label', { class: 'choice' }, this.spreadsheet, app.say('csvSpreadsheet')), h('p', { class: 'note' }, app.say('csvSpreadsheetHint')),
      this.bar, this.said, h('div', { class: 'foot' }, this.stop, this.start));
    const button = h('button', { type: 'button', class: 'button wordless', title: app.say('csvTitle') }, icon('download'), h('span', { class: 'label' }, app.say('csv')));
    this.element = app.popup(button, panel, () => {
      if (!this.running) this.said.textContent = '';
    });
  }

  async #export() {
    const { app } = this;
    this.running = new AbortController();
    app.exporting = this.running;
    this.#busy(true);
    try {
      const { parts, done, failed } = await this.#read(this.running.signal);
      save(new Blob(parts, { type: 'text/csv;charset=utf-8' }), `audit-log-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}.csv`);
      const sentences = [app.say('csvDone', { count: app.format.count(done) }, done)];
      if (failed) sentences.push(app.say('csvFailed', { count: app.format.count(failed) }, failed));
      this.said.textContent = `${sentences.join('. ')}`;
    } catch (error) {
      this.said.textContent = this.running.signal.aborted ? app.say('csvStopped') : app.say('csvError', { reason: app.explain(error) });
    }
    this.#busy(false);
    this.running = null;
    app.exporting = null;
  }

  /** @param {AbortSignal} signal */
  async #read(signal) {
    const { app } = this;
    const spreadsheet = this.spreadsheet.checked;
    const parts = [header(spreadsheet)];
    const parameters = { ...toParameters(app.query), limit: '100' };
    let [done, failed] = [0, 0];
    /** @type {string|null} */
    let cursor = null;
    /** @type {Set<string>} */
    const known = new Set();
    do {
      /** @type {Awaited<ReturnType<import('./app.js').App['read']>>} */
      const page = await app.read(cursor ? { ...parameters, cursor } : parameters, signal, known);
      const before = known.size;
      for (const { id } of page.rows) known.add(id);
      // It would never come to an end.
      if (page.rows.length && known.size === before) throw new ApiError(200, 'unreadable', 'The server sends the same events again.');
      for (const row of page.rows) parts.push(line(row, spreadsheet));
      done += page.rows.length;
      failed += page.rows.filter(({ status }) => status === 'failed').length;
      this.#progress(done, page.pagination.total);
      cursor = page.pagination.has_more ? page.pagination.next_cursor : null;
    } while (cursor);
    return { parts, done, failed };
  }

  /**
   * @param {number} done
   * @param {number|null|undefined} total
   */
  #progress(done, total) {
    const { app } = this;
    const known = typeof total === 'number' && total >= done;
    if (known) {
      this.bar.max = Math.max(total, 1);
      this.bar.value = done;
    } else {
      this.bar.removeAttribute('value');
    }
    this.said.textContent = app.say(known ? 'csvProgress' : 'csvProgressOpen', { done: app.format.count(done), total: app.format.count(total ?? 0) });
  }

  /** @param {boolean} busy */
  #busy(busy) {
    this.bar.hidden = !busy;
    this.stop.hidden = !busy;
    this.start.disabled = busy;
    if (busy) {
      this.bar.removeAttribute('value');
      this.said.textContent = '';
      this.stop.focus();
    } else if (this.stop.getRootNode() instanceof ShadowRoot) {
      this.start.focus();
    }
  }
}

/**
 * Hands a file to the browser.
 * @param {Blob} blob
 * @param {string} name
 */
function save(blob, name) {
  const url = URL.createObjectURL(blob);
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
