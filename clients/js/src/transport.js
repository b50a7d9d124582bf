/**
 * Requests and answers: the time they may take, and when one is sent again.
 *
 * @module
 */

import { errorOf, ImmutableError } from "./error.js";
import { json } from "./names.js";

/**
 * @typedef {object} Request
 * @property {"GET" | "POST"} method
 * @property {string} path
 * @property {Record<string, string>} [query]
 * @property {unknown} [body]
 * @property {boolean} repeatable whether it may be sent twice, because the second time has no effect of its own
 */

// Answers that say "not now": too many requests, and a server or a proxy whose database is away.
const LATER = [429, 502, 503, 504];
const ATTEMPTS = 3;
const FIRST_PAUSE = 100;

export class Transport {
  #base;
  #headers;
  #timeout;
  #fetch;

  /**
   * @param {string} base
   * @param {string} key
   * @param {number} timeout
   * @param {typeof globalThis.fetch | undefined} fetcher
   */
  constructor(base, key, timeout, fetcher) {
    this.#base = `${base.replace(/\/+$/, "")}/api/v1/`;
    this.#headers = { Accept: "application/json", Authorization: `Bearer ${key}` };
    this.#timeout = timeout;
    this.#fetch = fetcher;
  }

  /**
   * The server's answer, which is a JSON object.
   *
   * @param {Request} request
   * @param {import("./types.js").CallOptions} [options]
   * @returns {Promise<any>}
   */
  async request(request, { signal, timeout = this.#timeout } = {}) {
    signal?.throwIfAborted();
    const body = request.body === undefined ? undefined : json(request.body);
    const limit = new Limit(timeout, signal);
    try {
      for (let attempt = 1; ; attempt++) {
        try {
          return await this.#once(request, body, limit.signal);
        } catch (error) {
          if (limit.signal.aborted) throw limit.reason();
          const pause = request.repeatable && attempt < ATTEMPTS ? pauseAfter(error, attempt) : null;
          if (pause === null || pause >= limit.left()) throw error;
          await limit.pause(pause);
        }
      }
    } finally {
      limit.end();
    }
  }

  /**
   * @param {Request} request
   * @param {string | undefined} body
   * @param {AbortSignal} signal
   */
  async #once({ method, path, query }, body, signal) {
    const search = query && Object.keys(query).length ? `?${new URLSearchParams(query)}` : "";
    const headers = body === undefined ? this.#headers : { ...this.#headers, "Content-Type": "application/json" };
    const fetcher = this.#fetch ?? globalThis.fetch;
    let response, text;
    try {
      // A redirect is an error, as it is for the other clients: a write must not become a GET at another address.
      response = await fetcher(this.#base + path + search, { method, headers, body, signal, redirect: "manual" });
      text = await response.text();
    } catch (cause) {
      throw new ImmutableError("The server cannot be reached.", { code: "network", cause });
    }
    if (response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400)) {
      throw new ImmutableError("The server answers with a redirect; give the address it leads to as baseUrl.", {
        status: response.status,
        code: "redirect",
        responseBody: text,
      });
    }
    return read(response, text);
  }
}

/**
 * @param {Response} response
 * @param {string} text
 */
function read(response, text) {
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    body = null;
  }
  if (body === null || typeof body !== "object" || Array.isArray(body)) {
    const error = new ImmutableError(`The answer, with status ${response.status}, is not a JSON object.`, {
      status: response.status,
      code: "not_json",
      responseBody: text,
    });
    throw withPause(error, response);
  }
  if (!response.ok) throw withPause(errorOf(response.status, body), response);
  return body;
}

/** @type {WeakMap<object, number>} How many milliseconds the server asks to wait after an error. */
const asked = new WeakMap();

/**
 * @param {ImmutableError} error
 * @param {Response} response
 */
function withPause(error, response) {
  const seconds = Number(response.headers.get("Retry-After") ?? NaN);
  if (seconds >= 0) asked.set(error, seconds * 1000);
  return error;
}

/**
 * Milliseconds until a request may be sent again; null if it must not.
 *
 * @param {unknown} error
 * @param {number} attempt
 */
function pauseAfter(error, attempt) {
  if (!(error instanceof ImmutableError)) return null;
  if (error.code !== "network" && !LATER.includes(error.status)) return null;
  // Clients that failed together do not come back together.
  const usual = FIRST_PAUSE * 2 ** (attempt - 1) * (0.5 + Math.random());
  return Math.max(usual, asked.get(error) ?? 0);
}

/** The time that a call has, all of its attempts included, and the caller's wish to end it. */
class Limit {
  #controller = new AbortController();
  #deadline;
  #timer;
  #theirs;
  #follow = () => this.#controller.abort();

  /**
   * @param {number} timeout
   * @param {AbortSignal | undefined} theirs
   */
  constructor(timeout, theirs) {
    this.#deadline = Date.now() + timeout;
    this.#timer = timeout < 2 ** 31 ? setTimeout(this.#follow, timeout) : undefined;
    this.#theirs = theirs;
    theirs?.addEventListener("abort", this.#follow);
  }

  get signal() {
    return this.#controller.signal;
  }

  left() {
    return this.#deadline - Date.now();
  }

  /** Why the call ended. */
  reason() {
    return this.#theirs?.aborted ? this.#theirs.reason : new ImmutableError("Request timed out", { code: "timeout" });
  }

  /** @param {number} milliseconds */
  async pause(milliseconds) {
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.signal.addEventListener("abort", () => {
        clearTimeout(timer);
        resolve(undefined);
      });
    });
    if (this.signal.aborted) throw this.reason();
  }

  end() {
    clearTimeout(this.#timer);
    this.#theirs?.removeEventListener("abort", this.#follow);
  }
}
