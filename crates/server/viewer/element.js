// <audit-log-viewer>: the viewer as an element. docs/viewer.md describes its attributes, properties and events.

import { App } from './app.js';
import { styleSheet } from './style.js';

const TRUST = ['log-origin', 'log-keys', 'witness-keys', 'tenant-id'];

export class AuditLogViewer extends HTMLElement {
  static observedAttributes = ['token', 'endpoint', 'lang', 'columns', 'time-zone', 'page-size', 'filter', 'heading', ...TRUST];

  /** @type {App|null} */
  #app = null;
  #token = '';
  /** @type {import('./types.js').Trust|null} */
  #trust = null;

  constructor() {
    super();
    this.shadow = this.attachShadow({ mode: 'open', delegatesFocus: false });
    this.shadow.adoptedStyleSheets = [styleSheet()];
  }

  connectedCallback() {
    this.#app ??= new App(this);
  }

  disconnectedCallback() {
    this.#app?.stop();
    this.#app = null;
    this.shadow.replaceChildren();
  }

  /**
   * @param {string} name
   * @param {string|null} before
   * @param {string|null} value
   */
  attributeChangedCallback(name, before, value) {
    if (before === value) return;
    if (name === 'token') {
      this.token = value ?? '';
    } else if (this.#app) {
      // Everything else is rare, so the viewer begins anew with what was asked of it.
      if (name === 'lang' || name === 'heading') this.#app.build();
      else this.#restart();
    }
  }

  #restart() {
    this.#app?.stop();
    this.#app = new App(this);
  }

  /** The viewer token. */
  get token() {
    return this.#token;
  }

  /** @param {string} token */
  set token(token) {
    const before = this.#token;
    this.keepToken(token);
    if (token !== before) this.#app?.tokenChanged(sameScope(before, token));
  }

  /**
   * Takes a token without loading anything.
   * @param {string} token
   */
  keepToken(token) {
    this.#token = String(token ?? '').trim();
  }

  /** What the page trusts: the origin of the log, keys of the log and of witnesses, the tenant. */
  get trust() {
    if (this.#trust) return this.#trust;
    const list = (/** @type {string} */ name) => this.getAttribute(name)?.split(/\s+/).filter(Boolean);
    const given = { origin: this.getAttribute('log-origin') ?? undefined, logKeys: list('log-keys'), witnessKeys: list('witness-keys'), tenantId: this.getAttribute('tenant-id') ?? undefined };
    return /** @type {import('./types.js').Trust} */ (Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)));
  }

  set trust(trust) {
    this.#trust = trust;
    if (this.#app) this.#restart();
  }

  /** Milliseconds between two looks for new events. */
  get interval() {
    return Math.max(250, Number(this.getAttribute('live-interval')) || 5000);
  }

  /** Loads the first page again. */
  reload() {
    return this.#app?.load() ?? Promise.resolve();
  }

  /**
   * Opens the details of an event that is shown; says whether it is.
   * @param {string} id
   */
  openEvent(id) {
    return this.#app?.open(id) ?? false;
  }

  closeEvent() {
    this.#app?.close();
  }
}

/**
 * Whether two tokens open the same events, as far as their claims say. The server decides what they open.
 * @param {string} a
 * @param {string} b
 */
function sameScope(a, b) {
  const [first, second] = [claims(a), claims(b)];
  return first !== null && first === second;
}

/** @param {string} token */
function claims(token) {
  try {
    const bytes = Uint8Array.from(atob((token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0));
    const { exp: _exp, iat: _iat, nbf: _nbf, jti: _jti, ...scope } = JSON.parse(new TextDecoder().decode(bytes));
    return JSON.stringify(Object.entries(scope).sort(([x], [y]) => (x < y ? -1 : 1)));
  } catch {
    return null;
  }
}

if (!customElements.get('audit-log-viewer')) customElements.define('audit-log-viewer', AuditLogViewer);
