// The bar above the table: search, filters, period, live, export, view; and beneath it the filters that are set.

import { COLUMNS } from './columns.js';
import { Exporter } from './exporter.js';
import { append, h, icon, text } from './dom.js';
import { FILTERS, isEmpty } from './query.js';

/** @typedef {import('./types.js').FilterName} FilterName */

const DEBOUNCE = 300;

/** @type {('all'|'24h'|'7d'|'30d')[]} */
const PRESETS = ['24h', '7d', '30d', 'all'];

export class Toolbar {
  /** @param {import('./app.js').App} app */
  constructor(app) {
    this.app = app;
    /** @type {Record<string, HTMLInputElement>} */
    this.fields = {};
    this.input = h('input', { type: 'search' });
    this.count = h('span', { class: 'count', hidden: true });
    this.periodLabel = h('span', { class: 'label' });
    this.chips = h('ul', { class: 'chips', 'aria-label': app.say('filters'), hidden: true });
    this.live = h('button', { type: 'button', class: 'button wordless', 'aria-pressed': 'false', onclick: () => app.toggleLive() }, icon('live'), h('span', { class: 'label' }, app.say('live')));
    this.pause = h('button', { type: 'button', class: 'button square', hidden: true, onclick: () => app.pauseLive() });
    const tools = h('div', { class: 'tools' }, this.#filter(), this.#period(), h('span', { class: 'spread' }), this.live, this.pause, new Exporter(app).element, this.#view());
    this.element = h('div', { class: 'bar' }, this.#search(), tools);
    this.show();
  }

  /** Shows the query as it is now. */
  show() {
    const { app } = this;
    const { filters, search, range } = app.query;
    const set = FILTERS.filter((name) => filters[name]);
    this.count.textContent = app.format.count(set.length);
    this.count.hidden = set.length === 0;
    if (this.input.value.trim() !== search) this.input.value = search;
    this.periodLabel.textContent = app.say(range.preset === 'custom' ? 'custom' : range.preset);
    const chips = set.map((name) => this.#chip(app.say(name), filters[name] ?? '', () => app.setFilters({ ...app.query.filters, [name]: '' })));
    if (search) chips.push(this.#chip(app.say('search'), search, () => app.setQuery({ ...app.query, search: '' })));
    if (range.preset !== 'all') chips.push(this.#chip(app.say('period'), this.#rangeText(), () => app.setQuery({ ...app.query, range: { preset: 'all' } })));
    const clear = chips.length > 1 && h('li', {}, h('button', { type: 'button', class: 'link', onclick: () => app.clear() }, app.say('clear')));
    this.chips.replaceChildren();
    append(this.chips, ...chips, clear);
    this.chips.hidden = isEmpty(app.query);
  }

  /** @param {'off'|'on'|'paused'} state */
  showLive(state) {
    const { app } = this;
    const never = app.query.range.preset === 'custom' && Boolean(app.query.range.to);
    this.live.disabled = never;
    this.live.title = app.say(never ? 'liveNever' : state === 'off' ? 'liveOff' : state === 'on' ? 'liveOn' : 'livePaused');
    this.live.setAttribute('aria-pressed', String(state !== 'off'));
    this.live.classList.toggle('on', state === 'on');
    this.live.classList.toggle('held', state === 'paused');
    this.pause.hidden = state === 'off';
    const word = app.say(state === 'paused' ? 'liveResume' : 'livePause');
    this.pause.title = word;
    this.pause.setAttribute('aria-label', word);
    this.pause.replaceChildren(icon(state === 'paused' ? 'play' : 'pause'));
  }

  #rangeText() {
    const { app } = this;
    const { preset, from, to } = app.query.range;
    if (preset !== 'custom') return app.say(preset);
    const [first, last] = [from && app.format.bound(new Date(from)), to && app.format.bound(new Date(to))];
    if (first && last) return app.say('between', { from: first, to: last });
    return first ? app.say('since', { value: first }) : app.say('until', { value: last ?? '' });
  }

  /**
   * @param {string} name
   * @param {string} value
   * @param {() => void} remove
   */
  #chip(name, value, remove) {
    const label = this.app.say('removeFilter', { name, value });
    const button = h('button', { type: 'button', title: label, 'aria-label': label, onclick: () => {
      remove();
      this.input.focus();
    } }, icon('cross'));
    return h('li', { class: 'chip' }, h('span', { title: value }, h('span', { class: 'of' }, `${name}: `), text(value)), button);
  }

  #search() {
    const { app } = this;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    let timer;
    const now = () => {
      clearTimeout(timer);
      const search = this.input.value.trim();
      if (search !== app.query.search) app.setQuery({ ...app.query, search });
    };
    const input = h('input', {
      type: 'search', placeholder: app.say('search'), 'aria-label': app.say('searchHint'), title: app.say('searchHint'), autocomplete: 'off', spellcheck: 'false', enterkeyhint: 'search',
      oninput: () => {
        clearTimeout(timer);
        timer = setTimeout(now, DEBOUNCE);
      },
      onkeydown: (event) => event.key === 'Enter' && now(),
    });
    this.input = input;
    return h('div', { class: 'search' }, icon('search'), input);
  }

  #filter() {
    const { app } = this;
    const rows = FILTERS.flatMap((name) => {
      const id = `alv-${name}`;
      const input = h('input', { class: 'field', id, type: 'text', autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off', placeholder: name === 'action' ? 'document.*' : null });
      this.fields[name] = input;
      return [h('label', { for: id }, app.say(name)), input];
    });
    const clear = h('button', { type: 'button', class: 'button plain', onclick: () => {
      app.setFilters({});
      app.closePopups();
    } }, app.say('clear'));
    const form = h('form', { novalidate: true, onsubmit: (event) => {
      event.preventDefault();
      app.setFilters(Object.fromEntries(FILTERS.map((name) => [name, this.fields[name]?.value.trim() ?? ''])));
      app.closePopups();
    } }, app.heading(1, {}, app.say('filters')), h('div', { class: 'form' }, ...rows, h('p', { class: 'wide note' }, app.say('filterHint'))),
    h('div', { class: 'foot' }, clear, h('button', { type: 'submit', class: 'button primary' }, app.say('apply'))));
    const button = h('button', { type: 'button', class: 'button wordless', title: app.say('filters') }, icon('filter'), h('span', { class: 'label' }, app.say('filter')), this.count);
    return app.popup(button, h('div', { class: 'panel', role: 'dialog', 'aria-label': app.say('filters') }, form), () => {
      for (const name of FILTERS) /** @type {HTMLInputElement} */ (this.fields[name]).value = app.query.filters[name] ?? '';
    });
  }

  #period() {
    const { app } = this;
    const from = h('input', { class: 'field', id: 'alv-from', type: 'datetime-local' });
    const to = h('input', { class: 'field', id: 'alv-to', type: 'datetime-local' });
    const bad = h('p', { class: 'bad', role: 'alert' });
    const presets = PRESETS.map((preset) => h('button', { type: 'button', class: 'button', 'data-preset': preset, onclick: () => {
      app.setQuery({ ...app.query, range: { preset } });
      app.closePopups();
    } }, app.say(preset)));
    const form = h('form', { novalidate: true, onsubmit: (event) => {
      event.preventDefault();
      const range = { from: app.format.fromField(from.value, false), to: app.format.fromField(to.value, true) };
      bad.textContent = range.from && range.to && range.from > range.to ? app.say('badPeriod') : '';
      if (bad.textContent) return;
      app.setQuery({ ...app.query, range: range.from || range.to ? { preset: 'custom', ...range } : { preset: 'all' } });
      app.closePopups();
    } }, h('div', { class: 'form' }, h('label', { for: 'alv-from' }, app.say('from')), from, h('label', { for: 'alv-to' }, app.say('to')), to), bad,
    h('div', { class: 'foot' }, h('button', { type: 'submit', class: 'button primary' }, app.say('apply'))));
    const grid = h('div', { class: 'choices two presets' }, ...presets);
    const panel = h('div', { class: 'panel', role: 'dialog', 'aria-label': app.say('period') }, app.heading(1, {}, app.say('period')), grid, app.heading(2, {}, app.say('custom')), form);
    const button = h('button', { type: 'button', class: 'button', 'aria-label': null }, icon('calendar'), this.periodLabel);
    const popup = app.popup(button, panel, () => {
      const { range } = app.query;
      from.value = app.format.toField(range.from);
      to.value = app.format.toField(range.to);
      bad.textContent = '';
      for (const each of presets) each.setAttribute('aria-pressed', String(each.dataset.preset === range.preset));
    });
    popup.classList.add('period');
    return popup;
  }

  #view() {
    const { app } = this;
    const boxes = Object.entries(COLUMNS).map(([name, column]) => {
      const box = h('input', { type: 'checkbox', value: name, onchange: () => {
        const chosen = [...app.columns.filter((each) => each !== name), ...(box.checked ? [name] : [])];
        if (chosen.length) app.setColumns(Object.keys(COLUMNS).filter((each) => chosen.includes(each)));
        else box.checked = true;
      } });
      return h('label', { class: 'choice' }, box, app.say(column.label));
    });
    const segments = (/** @type {any} */ title, /** @type {any[]} */ words, /** @type {() => string} */ now, /** @type {(value: any) => void} */ set) =>
      h('div', { class: 'segments', role: 'radiogroup', 'aria-label': app.say(title) }, ...words.map((word) =>
        h('label', {}, h('input', { type: 'radio', name: `alv-${title}`, value: word, checked: now() === word, onchange: () => set(word) }), app.say(word))));
    const panel = h('div', { class: 'panel end', role: 'dialog', 'aria-label': app.say('view') },
      app.heading(1, {}, app.say('timeZone')), segments('timeZone', ['local', 'utc'], () => app.zone, (zone) => app.setZone(zone)),
      app.heading(1, {}, app.say('theme')), segments('theme', ['auto', 'light', 'dark'], () => app.theme, (theme) => app.setTheme(theme)),
      app.heading(1, { id: 'alv-columns' }, app.say('columns')), h('div', { class: 'choices two', role: 'group', 'aria-labelledby': 'alv-columns' }, ...boxes));
    const button = h('button', { type: 'button', class: 'button wordless', title: app.say('view') }, icon('sliders'), h('span', { class: 'label' }, app.say('view')));
    return app.popup(button, panel, () => {
      for (const box of panel.querySelectorAll('input')) {
        if (box.type === 'checkbox') box.checked = app.columns.includes(box.value);
        else box.checked = box.value === (box.name === 'alv-theme' ? app.theme : app.zone);
      }
    });
  }
}
