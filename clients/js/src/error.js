/**
 * A call failed. What the server said is in `message`, `code` and `errors`; the whole answer is in
 * `responseBody`.
 */
export class ImmutableError extends Error {
  /**
   * @param {string} message
   * @param {{status?: number, code?: string, errors?: Record<string, string[]>, responseBody?: unknown, cause?: unknown}} [details]
   */
  constructor(message, { status = 0, code = "unknown", errors = {}, responseBody = null, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "ImmutableError";
    /** The HTTP status; 0 if there was no answer. */
    this.status = status;
    /**
     * What kind of failure it is: the server's code, such as `validation_failed`; or `network`, `timeout`,
     * `redirect` or `not_json`, which this client finds itself.
     */
    this.code = code;
    /** The fields of the request that are wrong, each with sentences that say why. */
    this.errors = errors;
    /** The answer as JSON, or its text if it is none. */
    this.responseBody = responseBody;
  }

  /** The status, under the name that the hosted service's client has for it. */
  get statusCode() {
    return this.status;
  }
}

/**
 * What an answer that is not a success means.
 *
 * @param {number} status
 * @param {unknown} body
 */
export function errorOf(status, body) {
  const { error, message, errors } = /** @type {Record<string, any>} */ (body ?? {});
  const code = typeof error === "string" ? error : "unknown";
  const sentence = typeof message === "string" && message ? message : typeof error === "string" && error;
  return new ImmutableError(sentence || `HTTP ${status}`, {
    status,
    code,
    errors: errors !== null && typeof errors === "object" ? errors : {},
    responseBody: body,
  });
}
