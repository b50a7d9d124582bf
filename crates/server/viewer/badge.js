// Says what was checked, and never more than that.

import { append, h, icon, text } from './dom.js';

/** @typedef {import('./types.js').Level} Level */

/** @type {Level[]} From what says least to what says most. */
const LEVELS = ['failed', 'unavailable', 'consistent', 'signed', 'proven'];

const ICONS = { proven: 'shield', signed: 'shield', consistent: 'shield', failed: 'shieldAlert', unavailable: 'shieldPlain' };

/**
 * What holds for several pages: what holds for the weakest.
 * @param {Level} a
 * @param {Level} b
 */
export function weaker(a, b) {
  return LEVELS.indexOf(a) < LEVELS.indexOf(b) ? a : b;
}

/**
 * Why an event is not shown.
 * @param {import('./types.js').Row} row
 * @param {import('./app.js').App} app
 */
export function reasonOf(row, app) {
  return row.reason ? app.speech.reason(row.reason) : app.say('rowFailedText');
}

/** @param {string|null|undefined} time */
function dateOf(time) {
  return time && !Number.isNaN(Date.parse(time)) ? new Date(time) : null;
}

/** @param {import('./types.js').Checkpoint|null} checkpoint */
function witnessesOf(checkpoint) {
  return checkpoint?.cosignedBy.map(({ name }) => name).join(', ') ?? '';
}

/**
 * The sentence of the badge.
 * @param {import('./app.js').App} app
 * @param {Level} level
 * @param {import('./types.js').Row[]} rows
 * @param {import('./types.js').Checkpoint|null} checkpoint
 */
function sentence(app, level, rows, checkpoint) {
  const count = rows.length;
  const proven = rows.filter(({ status }) => status === 'verified').length;
  const date = dateOf(checkpoint?.time);
  const values = {
    count: app.format.count(count), proven: app.format.count(proven), host: app.codeHost,
    time: date ? app.format.moment(date) : '–', witness: witnessesOf(checkpoint),
  };
  if (level === 'failed') {
    const failed = rows.filter(({ status }) => status === 'failed').length;
    return app.say('badgeFailed', { count: app.format.count(failed) }, failed);
  }
  if (level === 'unavailable') return app.say(globalThis.isSecureContext && globalThis.crypto?.subtle ? 'badgeUnavailable' : 'badgeInsecure');
  if (proven > 0 && date) return proven < count ? app.say('badgeProvenPart', values) : app.say('badgeProven', values, count);
  if (level === 'signed' && proven === count) return app.say('badgeSigned', values, count);
  return app.foreignCode ? app.say('badgeConsistentBy', values) : app.say('badgeConsistent');
}

/**
 * What the badge means, in sentences.
 * @param {import('./app.js').App} app
 * @param {Level} level
 */
function meaning(app, level) {
  if (level === 'failed') return [app.say('aboutFailed')];
  if (level === 'unavailable') return globalThis.isSecureContext ? [] : [app.say('aboutInsecure')];
  const means = { proven: 'aboutProven', signed: 'aboutSigned', consistent: 'aboutConsistent' };
  return [app.say('aboutHashes'), app.say(/** @type {any} */ (means[level]))];
}

export class Badge {
  /** @param {import('./app.js').App} app */
  constructor(app) {
    this.app = app;
    this.button = h('button', { type: 'button', class: 'badge' });
    this.panel = h('div', { class: 'panel broad end', role: 'dialog', 'aria-label': app.say('aboutCheck') });
    this.element = app.popup(this.button, this.panel);
    this.element.hidden = true;
  }

  /**
   * @param {Level|null} level
   * @param {import('./types.js').Row[]} rows
   * @param {import('./types.js').Checkpoint|null} checkpoint
   */
  show(level, rows, checkpoint) {
    this.element.hidden = level === null || rows.length === 0;
    if (level === null || rows.length === 0) return;
    const { app } = this;
    const shown = sentence(app, level, rows, checkpoint);
    this.button.dataset.level = level;
    this.button.replaceChildren(icon(ICONS[level]), h('span', {}, text(shown)));
    const paragraphs = [...meaning(app, level), app.say('aboutCode', { host: app.codeHost }), app.say('aboutLimits')];
    this.panel.replaceChildren(app.heading(1, {}, app.say('aboutCheck')), ...paragraphs.map((words) => h('p', {}, words)));
    if (checkpoint) this.panel.append(this.#checkpoint(checkpoint));
  }

  /** @param {import('./types.js').Checkpoint} checkpoint */
  #checkpoint(checkpoint) {
    const { app } = this;
    const list = h('dl', {});
    const date = dateOf(checkpoint.time);
    const pair = (/** @type {string} */ name, /** @type {string} */ value) => append(list, h('dt', {}, name), h('dd', {}, text(value)));
    pair(app.say('origin'), checkpoint.origin);
    pair(app.say('checkpointSize'), typeof checkpoint.size === 'number' ? app.format.count(checkpoint.size) : checkpoint.size);
    if (date) pair(app.say('checkpointTime'), app.format.short(date));
    if (checkpoint.cosignedBy.length) pair(app.say('witnesses'), witnessesOf(checkpoint));
    return list;
  }
}
