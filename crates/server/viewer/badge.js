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

/** @param {import('./types.js').Checkpoint[]} checkpoints */
function witnessesOf(...checkpoints) {
  return [...new Set(checkpoints.flatMap(({ cosignedBy }) => cosignedBy.map(({ name }) => name)))].join(', ');
}

/**
 * The checkpoints of the rows that are verified, the one that was cosigned last at the end. What a witness says of
 * one page says nothing of the rows of another: the last one is true of all that a witness has seen.
 * @param {import('./types.js').Row[]} rows
 */
export function checkpointsOf(rows) {
  const found = new Set(rows.map(({ status, checkpoint }) => (status === 'verified' && checkpoint) || null));
  const at = (/** @type {import('./types.js').Checkpoint} */ { time }) => dateOf(time)?.getTime() ?? -Infinity;
  return [...found].filter((each) => each !== null).sort((a, b) => (at(a) < at(b) ? -1 : 1));
}

/**
 * The sentence of the badge.
 * @param {import('./app.js').App} app
 * @param {Level} level
 * @param {import('./types.js').Row[]} rows
 */
function sentence(app, level, rows) {
  const count = rows.length;
  const verified = rows.filter(({ status }) => status === 'verified');
  const proven = verified.filter(({ checkpoint }) => dateOf(checkpoint?.time)).length;
  const seen = checkpointsOf(rows).filter(({ time }) => dateOf(time));
  const date = dateOf(seen.at(-1)?.time);
  const values = {
    count: app.format.count(count), proven: app.format.count(proven), host: app.codeHost,
    time: date ? app.format.moment(date) : '–', witness: witnessesOf(...seen),
  };
  if (level === 'failed') {
    const failed = rows.filter(({ status }) => status === 'failed').length;
    return app.say('badgeFailed', { count: app.format.count(failed) }, failed);
  }
  if (level === 'unavailable') return app.say(globalThis.isSecureContext && globalThis.crypto?.subtle ? 'badgeUnavailable' : 'badgeInsecure');
  if (proven > 0 && date) return proven < count ? app.say('badgeProvenPart', values) : app.say('badgeProven', values, count);
  if (level === 'signed' && verified.length === count) return app.say('badgeSigned', values, count);
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
    const shown = sentence(app, level, rows);
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
