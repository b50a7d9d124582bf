// Asks the server for events, and how long they are kept.

const TIMEOUT = 20_000;

/** An answer that is no page of events. Status 0: there was no answer. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   */
  constructor(status, code, message) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
  }
}

/**
 * A page of events, with what proves them.
 * @param {{endpoint: string, token: string, parameters: Record<string, string>, signal?: AbortSignal}} request
 * @returns {Promise<import('./types.js').Page>}
 */
export async function getPage({ endpoint, token, parameters, signal }) {
  const { status, body } = await ask(`${endpoint}/api/v1/events?${new URLSearchParams({ ...parameters, evidence: 'true' })}`, token, signal);
  if (!Array.isArray(body?.data) || typeof body.pagination !== 'object' || body.pagination === null) {
    throw new ApiError(status, 'unreadable', 'The answer is no page of events.');
  }
  // More than was asked for would keep the browser busy for as long as the server likes.
  if (body.data.length > Number(parameters.limit)) throw new ApiError(status, 'unreadable', 'The answer has more events than were asked for.');
  return body;
}

/**
 * How long events are kept, and what was removed last. A server that does not say it is no error.
 * @param {{endpoint: string, token: string, signal?: AbortSignal}} request
 * @returns {Promise<import('./types.js').Retention|null>}
 */
export async function getRetention({ endpoint, token, signal }) {
  const answer = await ask(`${endpoint}/api/v1/retention`, token, signal).catch(() => null);
  const data = answer?.body?.data;
  return data && typeof data === 'object' ? data : null;
}

/**
 * @param {string} url
 * @param {string} token
 * @param {AbortSignal} [signal]
 * @returns {Promise<{status: number, body: any}>}
 */
async function ask(url, token, signal) {
  const timeout = AbortSignal.timeout(TIMEOUT);
  /** @type {Response} */
  let response;
  /** @type {any} */
  let body;
  try {
    response = await fetch(url, {
      headers: { Authorization: `Bearer ${token}`, Accept: 'application/json' },
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      credentials: 'omit', cache: 'no-store', referrerPolicy: 'no-referrer',
    });
    body = await response.json().catch((error) => {
      if (error instanceof SyntaxError) return null;
      throw error;
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, 'unreachable', String(error instanceof Error ? error.message : error));
  }
  if (!response.ok) throw new ApiError(response.status, text(body?.error, 'error'), text(body?.message, `HTTP ${response.status}`));
  return { status: response.status, body };
}

/**
 * A new token from the embedding application: {"token": …} or {"viewer_token": …}.
 * @param {string} url
 * @returns {Promise<string>}
 */
export async function getToken(url) {
  const response = await fetch(url, { headers: { Accept: 'application/json' }, credentials: 'same-origin', cache: 'no-store' });
  const body = await response.json().catch(() => null);
  const token = body?.token ?? body?.viewer_token;
  if (!response.ok || typeof token !== 'string' || !token) throw new ApiError(response.status, 'no_token', 'The token endpoint gave no token.');
  return token;
}

/**
 * @param {unknown} value
 * @param {string} otherwise
 */
function text(value, otherwise) {
  return typeof value === 'string' && value ? value : otherwise;
}
