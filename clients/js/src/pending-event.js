/** @typedef {import("./types.js").CallOptions} CallOptions */
/** @typedef {import("./types.js").EventAnswer} EventAnswer */
/** @typedef {import("./types.js").EventPayload} EventPayload */
/** @typedef {import("./types.js").Target} Target */
/** @typedef {{track(payload: EventPayload, options?: CallOptions): Promise<EventAnswer>}} Tracker */
/** @typedef {{id: string | number, name?: string | null, type?: string | null}} Actor */
/** @typedef {{type?: string | null, id?: string | number | null, name?: string | null}} Resource */

/** An event in the making. `track()` sends it. */
export class PendingEvent {
  #tracker;
  #actor;
  /** @type {Record<string, unknown>} */
  #fields = {};
  /** @type {Target[]} */
  #targets = [];

  /**
   * @param {Tracker} tracker a client
   * @param {Actor} actor who acts
   */
  constructor(tracker, actor) {
    const type = typeof actor?.id;
    if (type !== "string" && type !== "number" && type !== "bigint") {
      throw new TypeError("an actor has an id, which is a text or a number");
    }
    this.#tracker = tracker;
    this.#actor = actor;
  }

  /**
   * The session in which it happens.
   * @param {string | null | undefined} id
   */
  session(id) {
    return this.#set("session_id", id);
  }

  /**
   * The version of the event's form, a whole number.
   * @param {number | null | undefined} number
   */
  version(number) {
    return this.#set("version", number);
  }

  /**
   * Makes repetitions harmless: the log records one event for each key and tenant.
   * @param {string | null | undefined} key
   */
  idempotencyKey(key) {
    return this.#set("idempotency_key", key);
  }

  /**
   * A group of actions.
   * @param {string | null | undefined} category
   */
  actionCategory(category) {
    return this.#set("action_category", category);
  }

  /**
   * The tenant whose event it is. A key that is bound to a tenant needs none.
   * @param {string | null | undefined} id
   */
  tenant(id) {
    return this.#set("tenant_id", id);
  }

  /**
   * When it happened, if that is not now.
   * @param {string | Date | null | undefined} time
   */
  occurredAt(time) {
    return this.#set("occurred_at", time);
  }

  /**
   * Adds another resource that the event concerns.
   * @param {string} type
   * @param {string | null} [id]
   * @param {string | null} [name]
   * @param {Record<string, unknown> | null} [metadata]
   */
  target(type, id, name, metadata) {
    this.#targets.push({
      type,
      ...(id != null && { id: String(id) }),
      ...(name != null && { name }),
      ...(metadata != null && { metadata }),
    });
    return this;
  }

  /**
   * All other resources that the event concerns, in the place of those that were given before.
   * @param {Target[]} list
   */
  targets(list) {
    this.#targets = [...list];
    return this;
  }

  /**
   * Sends the event. `targets` among the metadata are the event's targets.
   *
   * @param {string} action
   * @param {string | Resource | null} [resource] its type, or its type, id and name
   * @param {Record<string, unknown> | null} [metadata]
   * @param {CallOptions} [options]
   */
  async track(action, resource, metadata, options) {
    const { lifted, rest } = lift(metadata ?? {});
    const targets = [...this.#targets, ...lifted];
    const { type, id, name } = typeof resource === "object" && resource !== null ? resource : { type: resource };
    /** @type {Record<string, unknown>} */
    const payload = { actor_id: String(this.#actor.id), action };
    const optional = {
      actor_name: this.#actor.name,
      actor_type: this.#actor.type,
      resource: type,
      resource_id: id != null ? String(id) : id,
      resource_name: name,
      ...this.#fields,
    };
    for (const [member, value] of Object.entries(optional)) {
      if (value !== undefined && value !== null && value !== "") payload[member] = value;
    }
    if (Object.keys(rest).length) payload.metadata = rest;
    if (targets.length) payload.targets = targets;
    return this.#tracker.track(/** @type {EventPayload} */ (payload), options);
  }

  /**
   * @param {string} member
   * @param {unknown} value
   */
  #set(member, value) {
    this.#fields[member] = value;
    return this;
  }
}

/**
 * Takes targets out of metadata, if they are targets.
 *
 * @param {Record<string, unknown>} metadata
 * @returns {{lifted: Target[], rest: Record<string, unknown>}}
 */
function lift(metadata) {
  const { targets, ...rest } = metadata;
  const like = Array.isArray(targets) && targets.every((t) => t !== null && typeof t === "object" && typeof t.type === "string");
  return like ? { lifted: targets, rest } : { lifted: [], rest: metadata };
}
