import { filters, members, segment } from "./names.js";
import { PendingEvent } from "./pending-event.js";
import { Transport } from "./transport.js";

/** @typedef {import("./types.js").CallOptions} CallOptions */

const EVENT = [
  "actor_id", "action", "actor_name", "actor_type", "action_category", "resource", "resource_type", "resource_id",
  "resource_name", "targets", "metadata", "tenant_id", "session_id", "idempotency_key", "version", "occurred_at",
  "ip_address", "ip_country", "ip_city", "user_agent",
];
const EVENT_FILTERS = [
  "actor_id", "action", "resource", "resource_id", "tenant_id", "session_id", "target_type", "target_id", "search",
  "from", "to", "cursor", "limit", "order",
];
const EXPORT_FILTERS = ["actor_id", "action", "resource", "tenant_id", "session_id", "search", "from", "to"];

/** A client of the audit log's HTTP server. */
export class ImmutableClient {
  #transport;

  /**
   * @param {object} options
   * @param {string} options.apiKey an API key; in a browser, a viewer token
   * @param {string} options.baseUrl where the server is, without `/api`
   * @param {number} [options.timeout] milliseconds that a call may take, with its repetitions; Infinity for no limit
   * @param {typeof globalThis.fetch} [options.fetch] what sends requests, in the place of the global fetch()
   */
  constructor({ apiKey, baseUrl, timeout = 5000, fetch }) {
    if (typeof apiKey !== "string" || !/^[\x21-\x7e]+$/.test(apiKey)) {
      throw new TypeError("apiKey is not a key");
    }
    if (typeof baseUrl !== "string" || !/^https?:\/\/[^?#]+$/i.test(baseUrl)) {
      throw new TypeError("baseUrl is not an address such as https://audit.example.com");
    }
    if (!(timeout > 0)) {
      throw new TypeError("timeout is not a number of milliseconds");
    }
    this.#transport = new Transport(baseUrl, apiKey, timeout, fetch);
  }

  /**
   * Begins an event of this actor.
   *
   * @param {string | number} id
   * @param {{name?: string | null, type?: string | null}} [details]
   */
  actor(id, { name, type } = {}) {
    return new PendingEvent(this, { id, name, type });
  }

  /**
   * Records an event. It is sent once, unless it has an idempotency key.
   *
   * @param {import("./types.js").EventPayload} payload
   * @param {CallOptions} [options]
   * @returns {Promise<import("./types.js").EventAnswer>}
   */
  async track(payload, options) {
    const event = members(payload, EVENT, false);
    return this.#post("events", event, !!event.idempotency_key, options);
  }

  /**
   * Records up to 100 events, each by itself: look at the `status` of each answer. They are sent once, unless all have an
   * idempotency key.
   *
   * @param {import("./types.js").EventPayload[]} payloads
   * @param {CallOptions} [options]
   * @returns {Promise<import("./types.js").BatchAnswer>}
   */
  async trackBatch(payloads, options) {
    const events = payloads.map((payload) => members(payload, EVENT, false));
    return this.#post("events/batch", { events }, events.every((event) => !!event.idempotency_key), options);
  }

  /**
   * A page of events, the newest first. `cursor` alone goes on where a page ended, with the filters of that page.
   *
   * @param {import("./types.js").EventFilters} [given]
   * @param {CallOptions} [options]
   * @returns {Promise<import("./types.js").EventPage>}
   */
  async getEvents(given = {}, options) {
    const page = await this.#get("events", filters(given, EVENT_FILTERS), options);
    return { ...page, data: page.data.map(flat) };
  }

  /**
   * One event: as `data`, as the server answers it, and with its members beside that.
   *
   * @param {string} id
   * @param {CallOptions} [options]
   * @returns {Promise<import("./types.js").AuditEvent & {data: import("./types.js").AuditEvent}>}
   */
  async getEvent(id, options) {
    const answer = await this.#get(`events/${segment("id", id)}`, {}, options);
    return beside({ ...answer, data: flat(answer.data) });
  }

  /**
   * Verifies the chains. The bounds and the limit may also be given one after the other: `verify(from, to, limit)`.
   *
   * @overload
   * @param {import("./types.js").VerifyRange} [range]
   * @param {CallOptions} [options]
   * @returns {Promise<import("./types.js").Verdict>}
   */
  /**
   * @overload
   * @param {string | Date | undefined} from
   * @param {string | Date} [to]
   * @param {number} [limit]
   * @param {CallOptions} [options]
   * @returns {Promise<import("./types.js").Verdict>}
   */
  /** @param {any[]} given */
  async verify(...given) {
    const [range, options] = isBag(given[0]) ? given : [{ from: given[0], to: given[1], limit: given[2] }, given[3]];
    return this.#get("verify", filters(range, ["from", "to", "limit"]), options);
  }

  /**
   * A token with which a browser reads the events of one tenant, or of one actor. A restriction that is there and has no
   * value is refused, as the token would open more than was meant.
   *
   * @param {{tenantId?: string, actorId?: string | number, ttl?: number, tenant_id?: string, actor_id?: string | number}} [scope] `ttl` is in seconds
   * @param {CallOptions} [options]
   * @returns {Promise<import("./types.js").ViewerToken>}
   */
  async createViewerToken(scope = {}, options) {
    for (const [name, value] of Object.entries(scope)) {
      if (name !== "ttl" && (value === undefined || value === null || value === "")) {
        throw new TypeError(`${name} has no value; leave it out if the token is to have no such restriction`);
      }
    }
    const { ttl, ...restrictions } = members(scope, ["tenant_id", "actor_id", "ttl"], true);
    const body = { ...filters(restrictions, ["tenant_id", "actor_id"]), ...(ttl !== undefined && { ttl }) };
    const answer = await this.#post("viewer-token", body, false, options);
    const token = answer.token ?? answer.viewer_token;
    return { ...answer, token, viewer_token: token };
  }

  /**
   * A page of alerts, the newest first.
   *
   * @param {import("./types.js").AlertFilters} [given]
   * @param {CallOptions} [options]
   * @returns {Promise<import("./types.js").AlertPage>}
   */
  async getAlerts(given = {}, options) {
    return this.#get("alerts", filters(given, ["rule_type", "from", "to", "limit", "cursor"]), options);
  }

  /**
   * Fixes the events that pass the filters, for a download as CSV.
   *
   * @param {import("./types.js").ExportFilters} [given]
   * @param {CallOptions} [options]
   * @returns {Promise<import("./types.js").ExportAnswer>}
   */
  async createExport(given = {}, options) {
    return this.#post("exports", filters(given, EXPORT_FILTERS), false, options);
  }

  /**
   * How far an export is, and where it can be downloaded: as `data`, and with its members beside that.
   *
   * @param {string} id
   * @param {CallOptions} [options]
   * @returns {Promise<import("./types.js").ExportState & {data: import("./types.js").ExportState}>}
   */
  async getExport(id, options) {
    return beside(await this.#get(`exports/${segment("id", id)}`, {}, options));
  }

  /**
   * The checkpoints of the log, the newest first.
   *
   * @param {{limit?: number} | number} [given] how many
   * @param {CallOptions} [options]
   * @returns {Promise<{data: import("./types.js").Anchor[]}>}
   */
  async getAnchors(given = {}, options) {
    return this.#get("anchors", filters(typeof given === "number" ? { limit: given } : given, ["limit"]), options);
  }

  /**
   * @param {string} id
   * @param {CallOptions} [options]
   * @returns {Promise<{data: import("./types.js").AnchorDetails}>}
   */
  async getAnchor(id, options) {
    return this.#get(`anchors/${segment("id", id)}`, {}, options);
  }

  /**
   * Computes an anchor's root anew, from the events.
   *
   * @param {string} id
   * @param {CallOptions} [options]
   * @returns {Promise<{data: import("./types.js").AnchorVerdict}>}
   */
  async verifyAnchor(id, options) {
    return this.#get(`anchors/${segment("id", id)}/verify`, {}, options);
  }

  /**
   * @param {string} path
   * @param {Record<string, string>} query
   * @param {CallOptions | undefined} options
   */
  #get(path, query, options) {
    return this.#transport.request({ method: "GET", path, query, repeatable: true }, options);
  }

  /**
   * @param {string} path
   * @param {unknown} body
   * @param {boolean} repeatable
   * @param {CallOptions | undefined} options
   */
  #post(path, body, repeatable, options) {
    return this.#transport.request({ method: "POST", path, body, repeatable }, options);
  }
}

/**
 * An answer with the members of its data beside it, where the service's older pages read them.
 *
 * @param {any} answer
 * @returns {any}
 */
function beside(answer) {
  return { ...answer.data, ...answer };
}

/**
 * Whether an argument is an object with named members.
 *
 * @param {unknown} value
 */
function isBag(value) {
  return typeof value === "object" && value !== null && !(value instanceof Date);
}

/**
 * An event with the members of its actor and its resource beside the others.
 *
 * @param {any} event
 * @returns {import("./types.js").AuditEvent}
 */
function flat(event) {
  const { actor, resource } = event;
  return {
    actor_id: actor?.id ?? null,
    actor_name: actor?.name ?? null,
    actor_type: actor?.type ?? null,
    resource_type: resource?.type ?? null,
    resource_id: resource?.id ?? null,
    resource_name: resource?.name ?? null,
    ...event,
  };
}
