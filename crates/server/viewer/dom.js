// Builds elements. Values reach the page as text nodes and attributes only, never as markup.

/** @typedef {Node|string|null|undefined|false} Child */

/**
 * An element with attributes, listeners (`onclick` and so on) and children.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string|number|boolean|null|undefined|((event: any) => void)>} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : String(value));
  }
  append(element, ...children);
  return element;
}

/**
 * @param {Node} parent
 * @param {...Child} children
 */
export function append(parent, ...children) {
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) parent.appendChild(typeof child === 'string' ? document.createTextNode(child) : child);
  }
}

/**
 * A value from an event. <bdi> keeps its writing direction to itself.
 * @param {unknown} value
 * @param {string} [className]
 */
export function text(value, className) {
  return h('bdi', { class: className }, String(value));
}

// Paths of icons on a grid of 24, drawn with strokes.
/** @type {Record<string, string>} */
const PATHS = {
  shield: 'M12 3l7 3v5.5c0 4.4-2.9 8-7 9.5-4.1-1.500-7-5.100-7-9.500V6z M8.800 12l2.300 2.300 4.300-4.600',
  shieldPlain: 'M12 3l7 3v5.5c0 4.4-2.9 8-7 9.5-4.1-1.500-7-5.100-7-9.500V6z',
  shieldAlert: 'M12 3l7 3v5.5c0 4.4-2.9 8-7 9.5-4.1-1.500-7-5.100-7-9.500V6z M12 8.500v4 M12 15.600v.1',
  check: 'M5 12.500l4.500 4.500L19 7.500',
  dash: 'M7 12h10',
  cross: 'M6 6l12 12 M18 6L6 18',
  alert: 'M12 4L2.800 20h18.400z M12 10v4.500 M12 17.200v.1',
  search: 'M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14z M16.200 16.200L20.500 20.500',
  filter: 'M4 6h16 M7 12h10 M10 18h4',
  calendar: 'M4.500 6h15v14h-15z M4.500 10.500h15 M8.500 3.500v4 M15.500 3.500v4',
  download: 'M12 4v11 M7.500 11L12 15.500 16.500 11 M4.500 19.500h15',
  live: 'M12 10.200a1.800 1.800 0 1 0 0 3.600 1.800 1.800 0 0 0 0-3.600z M8 8a5.600 5.600 0 0 0 0 8 M16 8a5.600 5.600 0 0 1 0 8 M5.200 5.200a9.600 9.600 0 0 0 0 13.600 M18.800 5.200a9.600 9.600 0 0 1 0 13.600',
  pause: 'M9 6v12 M15 6v12',
  play: 'M8 5.500v13l10.500-6.500z',
  sliders: 'M4 7h9 M17 7h3 M4 17h3 M11 17h9 M15 5v4 M9 15v4',
  copy: 'M9 9h10.500v10.500H9z M15 5.500V4.500H4.500V15h1',
  left: 'M14.500 6L8.500 12l6 6',
  right: 'M9.500 6l6 6-6 6',
  up: 'M6 14.500L12 8.500l6 6',
  down: 'M6 9.500L12 15.500l6-6',
  clock: 'M12 3.500a8.500 8.500 0 1 0 0 17 8.500 8.500 0 0 0 0-17z M12 7.500V12l3 2',
  lock: 'M6 10.500h12v9.500H6z M8.500 10.500V8a3.500 3.500 0 0 1 7 0v2.500',
  inbox: 'M4 13l3-8h10l3 8v6H4z M4 13h5l1.500 2.500h3L15 13h5',
  offline: 'M4 4l16 16 M8.500 15.500a5 5 0 0 1 7 0 M5.500 12a9.500 9.500 0 0 1 4-2.300 M14.500 9.700a9.500 9.500 0 0 1 4 2.300 M12 19v.1',
  refresh: 'M19.500 12a7.500 7.500 0 1 1-2.300-5.400 M19.500 3.500v4h-4',
};

/**
 * An icon, which is decoration: what it means stands beside it or in a label.
 * @param {string} name
 */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('class', 'icon');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', PATHS[name] ?? '');
  svg.appendChild(path);
  return svg;
}
