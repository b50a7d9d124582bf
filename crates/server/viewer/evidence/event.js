// One event as the line of an export: the document, its hash, and each disclosed value against its
// commitment (docs/hash-format.md). What is returned was made of the hashed bytes alone.

import { hex, refuse, sha256, utf8 } from "./bytes.js";
import { isObject, JsonNumber, Reader } from "./json.js";

/** @typedef {import("./json.js").JsonValue} JsonValue */

const NESTING = 64;
const [DOCUMENT, AFTER] = ['{"document":', ',"event_hash":'];
const HEX = /^[0-9a-f]{64}$/;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const TIME = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$/;

/**
 * The values of a document that this module uses.
 * @typedef {object} Document
 * @property {string} id
 * @property {string} tenant_id
 * @property {number} lane
 * @property {bigint} seq
 * @property {string} action
 * @property {string} created_at
 * @property {string} occurred_at
 * @property {string|null} previous_event_hash
 * @property {string|null} log_id
 * @property {string} recorded_by
 * @property {string|null} action_category
 * @property {string|null} actor_type
 * @property {string|null} resource_type
 * @property {number|null} version
 * @property {string[]} target_types
 * @property {Map<string, string>} columns
 * @property {string[]} metadata
 * @property {string[]} targets
 */

/**
 * @typedef {{text: string, path: string, value: JsonValue}} Disclosure
 * @typedef {{document: Document, bytes: Uint8Array<ArrayBuffer>, stated: string|null, disclosures: Disclosure[]}} Line
 * @typedef {{columns: string[], metadata: number, targets: number[]}} Hidden what is erased, or was not disclosed
 * @typedef {{document: Document, eventHash: string, fields: Fields, hidden: Hidden}} Event
 */

/** @typedef {ReturnType<typeof fieldsOf>} Fields an event as the API shows it, nested and flat */

/**
 * Takes the line of an event apart. Nothing is verified yet.
 * @param {unknown} line
 * @returns {Line}
 */
export function readLine(line) {
  const text = typeof line === "string" && line.startsWith(DOCUMENT) ? line : refuse("not the line of an event");
  // No document has a member of this name, and inside a string a quote is escaped.
  const end = text.indexOf(AFTER);
  if (end < 0) refuse("the line has no event_hash");
  const document = text.slice(DOCUMENT.length, end);
  const reader = new Reader(text, end + AFTER.length, NESTING + 1);
  const stated = reader.skip("null") ? null : reader.string();
  reader.expect(',"disclosures":');
  const disclosures = /** @type {Disclosure[]} */ ([]);
  reader.array(() => {
    const start = reader.at;
    const read = reader.value();
    const [salt, path, value] = Array.isArray(read) && read.length === 3 ? read : refuse("a disclosure has three parts");
    if (typeof salt !== "string" || !/^[0-9a-f]{32}$/.test(salt)) refuse("the salt of a disclosure is malformed");
    if (typeof path !== "string" || value === undefined) return refuse("the path of a disclosure is malformed");
    disclosures.push({ text: text.slice(start, reader.at), path, value });
  });
  reader.expect("}");
  if (!reader.isAtEnd()) refuse("something follows the end of the event");
  return { document: readDocument(document), bytes: utf8(document), stated, disclosures };
}

/**
 * @param {string} text
 * @returns {Document}
 */
function readDocument(text) {
  const reader = new Reader(text, 0, NESTING);
  const read = reader.value();
  if (!reader.isAtEnd()) refuse("something follows the end of the document");
  const members = isObject(read) ? read : refuse("the document is not an object");
  if (!(members.v instanceof JsonNumber && members.v.text === "1")) refuse("a document of another version than 1");
  const commitments = members.commitments;
  const { metadata, targets, ...columns } = isObject(commitments) ? commitments : refuse("actor_id is missing");
  const document = {
    id: shaped(members.id, "id", UUID),
    tenant_id: shaped(members.tenant_id, "tenant_id"),
    lane: Number(integer(members.lane, "lane", 0n, 32767n)),
    seq: integer(members.seq, "seq", 1n, 2n ** 63n - 1n),
    action: shaped(members.action, "action"),
    created_at: instant(members.created_at, "created_at"),
    occurred_at: instant(members.occurred_at, "occurred_at"),
    previous_event_hash: members.previous_event_hash === null ? null : shaped(members.previous_event_hash, "previous_event_hash", HEX),
    log_id: optional(members.log_id, "log_id", UUID),
    recorded_by: shaped(members.recorded_by, "recorded_by"),
    action_category: optional(members.action_category, "action_category"),
    actor_type: optional(members.actor_type, "actor_type"),
    resource_type: optional(members.resource_type, "resource_type"),
    version: members.version === undefined ? null : Number(integer(members.version, "version", -(2n ** 31n), 2n ** 31n - 1n)),
    target_types: texts(members.target_types, "target_types"),
    columns: new Map(Object.entries(columns).map(([name, value]) => [name, shaped(value, name, HEX)])),
    metadata: texts(metadata, "metadata", HEX),
    targets: texts(targets, "targets", HEX),
  };
  checkRules(document);
  return document;
}

/**
 * What every document of a writer keeps.
 * @param {Document} document
 */
function checkRules(document) {
  const isFirst = document.seq === 1n;
  if (isFirst !== (document.previous_event_hash === null) || isFirst !== (document.log_id !== null)) {
    refuse("the first event of a lane has a log_id, every other a previous_event_hash");
  }
  if (document.target_types.length !== document.targets.length) refuse("there are not as many target types as targets");
  if (document.metadata.some((hash, at) => at > 0 && hash <= (document.metadata[at - 1] ?? ""))) {
    refuse("the metadata commitments do not ascend");
  }
  if (!document.columns.has("actor_id")) refuse("actor_id is missing");
}

/**
 * @param {JsonValue|undefined} value
 * @param {string} name
 * @param {RegExp} [form]
 * @returns {string}
 */
function shaped(value, name, form) {
  const is = typeof value === "string" && (form === undefined || form.test(value));
  return is ? value : refuse(`${name} of the document is missing or malformed`);
}

/**
 * A time that there is: a month 13 has no date that a page could show.
 * @param {JsonValue|undefined} value
 * @param {string} name
 */
function instant(value, name) {
  const text = shaped(value, name, TIME);
  return Number.isNaN(Date.parse(text)) ? refuse(`${name} of the document is missing or malformed`) : text;
}

/**
 * @param {JsonValue|undefined} value
 * @param {string} name
 * @param {RegExp} [form]
 */
function optional(value, name, form) {
  return value === undefined ? null : shaped(value, name, form);
}

/**
 * @param {JsonValue|undefined} value
 * @param {string} name
 * @param {RegExp} [form]
 */
function texts(value, name, form) {
  if (value === undefined) return [];
  return Array.isArray(value) ? value.map((item) => shaped(item, name, form)) : refuse(`${name} of the document is malformed`);
}

/**
 * @param {JsonValue|undefined} value
 * @param {string} name
 * @param {bigint} least
 * @param {bigint} most
 */
function integer(value, name, least, most) {
  const text = value instanceof JsonNumber && /^(0|-?[1-9][0-9]{0,18})$/.test(value.text) ? value.text : "";
  const number = text === "" ? refuse(`${name} of the document is missing or malformed`) : BigInt(text);
  return number >= least && number <= most ? number : refuse(`${name} of the document is out of range`);
}

/**
 * Verifies the line of an event: the hash of the document, and each disclosure against its
 * commitment. What has a commitment and no disclosure is erased, or was withheld.
 * @param {Line} line
 * @returns {Promise<Event>}
 */
export async function verifyLine(line) {
  const [documentHash, ...hashes] = await Promise.all([sha256(line.bytes), ...line.disclosures.map((one) => sha256(utf8(one.text)))]);
  const eventHash = hex(documentHash ?? new Uint8Array());
  if (line.stated !== eventHash) refuse("the document does not have the hash of the event");
  const shown = new Shown(line.document);
  line.disclosures.forEach((one, at) => shown.take(one, hex(hashes[at] ?? new Uint8Array())));
  return eventOf(line.document, eventHash, shown);
}

/**
 * An event of which nothing is verified.
 * @param {Line} line
 * @returns {Event}
 */
export function unverified(line) {
  const shown = new Shown(line.document);
  for (const { path, value } of line.disclosures) shown.put(path, value);
  return eventOf(line.document, line.stated ?? "", shown);
}

/**
 * @param {Document} document
 * @param {string} eventHash
 * @param {Shown} shown
 * @returns {Event}
 */
function eventOf(document, eventHash, shown) {
  const hidden = shown.hidden();
  return { document, eventHash, hidden, fields: fieldsOf(document, eventHash, shown, hidden) };
}

const DIFFERS = "the value is not the one that was committed to";
const ORDER = "the disclosures are not in order, or one is there twice";

/** The values that are disclosed of an event. */
class Shown {
  /** @param {Document} document */
  constructor(document) {
    this.document = document;
    this.columns = /** @type {Map<string, string>} */ (new Map());
    this.metadata = /** @type {{[name: string]: JsonValue}} */ (Object.create(null));
    this.targets = /** @type {Map<number, JsonValue>} */ (new Map());
    this.keys = /** @type {Set<string>} */ (new Set());
    this.commitments = new Set(document.metadata);
    this.last = /** @type {[number, string|number]} */ ([-1, ""]);
  }

  /**
   * Takes a disclosure whose text has this hash.
   * @param {Disclosure} disclosure
   * @param {string} hash
   */
  take({ path, value }, hash) {
    const [section, place, expected] = this.#placeOf(path, hash);
    const [before, last] = this.last;
    if (section < before || (section === before && place <= last)) refuse(`${ORDER} (${path.slice(0, 100)})`);
    this.last = /** @type {[number, string|number]} */ ([section, place]);
    if (expected !== hash) refuse(`${DIFFERS} (${path.slice(0, 100)})`);
    this.put(path, value);
  }

  /**
   * The section of a path, its place there, and the commitment that its value must have.
   * @param {string} path
   * @param {string} hash
   * @returns {[number, string|number, string|undefined]}
   */
  #placeOf(path, hash) {
    const { columns, targets } = this.document;
    if (path.startsWith("metadata.")) return [1, path, this.commitments.has(hash) ? hash : undefined];
    if (!path.startsWith("targets.")) return [0, path, columns.get(path)];
    const at = /^(0|[1-9][0-9]{0,3})$/.test(path.slice(8)) ? Number(path.slice(8)) : targets.length;
    return [2, at, targets[at]];
  }

  /**
   * Puts a value in its place.
   * @param {string} path
   * @param {JsonValue} value
   */
  put(path, value) {
    if (path.startsWith("metadata.")) {
      this.metadata[path.slice(9)] = value;
      this.keys.add(path.slice(9));
    } else if (path.startsWith("targets.")) {
      const at = Number(path.slice(8));
      const type = isObject(value) ? value.type : undefined;
      if (type === undefined || type !== this.document.target_types[at]) {
        refuse("the target's type is not the one in the document");
      }
      checkTarget(value);
      this.targets.set(at, value);
    } else {
      this.columns.set(path, typeof value === "string" ? value : refuse("the value of a column is not a string"));
    }
  }

  /** @returns {Hidden} */
  hidden() {
    const { columns, metadata, targets, action } = this.document;
    const hidden = {
      columns: [...columns.keys()].filter((column) => !this.columns.has(column)),
      metadata: metadata.length - this.keys.size,
      targets: targets.map((_, at) => at).filter((at) => !this.targets.has(at)),
    };
    const count = hidden.columns.length + hidden.metadata + hidden.targets.length;
    const isReason = count === 1 && hidden.metadata === 1 && !this.keys.has("reason");
    if (count > 0 && !isReason && action.startsWith("immutable.")) {
      refuse("more than the reason is missing from an event of the log's own");
    }
    return hidden;
  }
}

/**
 * A page shows id and name as texts, and the metadata as an object.
 * @param {JsonValue} target
 */
function checkTarget(target) {
  const { id, name, metadata } = isObject(target) ? target : refuse("the target is malformed");
  const isText = [id, name].every((text) => text === undefined || typeof text === "string");
  if (!isText || (metadata !== undefined && !isObject(metadata))) refuse("the target is malformed");
}

/**
 * The event as the API shows it, with the flat members too. An erased target is its type alone; an
 * erased column is null. `erased` says what has a commitment and no value.
 * @param {Document} document
 * @param {string} eventHash
 * @param {Shown} shown
 * @param {Hidden} erased
 */
function fieldsOf(document, eventHash, shown, erased) {
  const column = (/** @type {string} */ name) => shown.columns.get(name) ?? null;
  const { id, action, action_category, tenant_id, version, occurred_at, created_at, lane, recorded_by } = document;
  const actor = { id: column("actor_id"), name: column("actor_name"), type: document.actor_type };
  const resource = { type: document.resource_type, id: column("resource_id"), name: column("resource_name") };
  const seq = document.seq <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(document.seq) : String(document.seq);
  return {
    id,
    actor,
    actor_id: actor.id,
    actor_name: actor.name,
    actor_type: actor.type,
    action,
    action_category,
    resource,
    resource_type: resource.type,
    resource_id: resource.id,
    resource_name: resource.name,
    targets: document.target_types.map((type, at) => shown.targets.get(at) ?? { type }),
    metadata: shown.metadata,
    tenant_id: tenant_id === "" ? null : tenant_id,
    session_id: column("session_id"),
    ip_address: column("ip_address"),
    ip_country: column("ip_country"),
    ip_city: column("ip_city"),
    user_agent: column("user_agent"),
    idempotency_key: column("idempotency_key"),
    version,
    recorded_by,
    integrity: { event_hash: eventHash, previous_event_hash: document.previous_event_hash, lane, seq },
    occurred_at,
    created_at,
    erased,
  };
}
