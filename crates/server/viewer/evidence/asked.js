// Whether an event is the one that was asked for. A server could answer with another event of the log,
// which is as valid.

import { refuse } from "./bytes.js";
import { isObject, JsonNumber } from "./json.js";

/**
 * @typedef {import("./event.js").Event} Event
 * @typedef {import("./event.js").Fields} Fields
 */

/**
 * The filters of the page by the names of the API; those that are not known here are passed over.
 * @typedef {{[name: string]: unknown}} Filters
 */

/** Filters that name one value. */
const EQUAL = /** @type {[string, keyof Fields][]} */ ([
  ["actor_id", "actor_id"],
  ["resource", "resource_type"],
  ["resource_type", "resource_type"],
  ["resource_id", "resource_id"],
  ["session_id", "session_id"],
]);

/**
 * Refuses an event that does not pass the filters. What is erased passes.
 * @param {Event} event
 * @param {Filters} filters
 */
export function requireAsked({ fields, hidden }, filters) {
  const given = (/** @type {string} */ name) => (filters[name] === undefined || filters[name] === "" ? null : filters[name]);
  for (const [name, member] of EQUAL) {
    const value = given(name);
    if (value !== null && fields[member] !== String(value) && !hidden.columns.includes(member)) notAsked(name);
  }
  const tenant = given("tenant_id");
  if (tenant !== null && fields.tenant_id !== tenant) notAsked("tenant_id");
  const action = given("action");
  if (action !== null && !isLike(fields.action, String(action))) notAsked("action");
  requireTarget(fields, hidden.targets, given("target_type"), given("target_id"));
  requireTime(fields.created_at, given("from"), given("to"));
}

/**
 * @param {string} name
 * @returns {never}
 */
function notAsked(name) {
  refuse(`the event is not one that was asked for: ${name} is another`);
}

/**
 * Whether an action matches a pattern, in which * stands for anything.
 * @param {string} action
 * @param {string} pattern
 */
function isLike(action, pattern) {
  const parts = pattern.split("*");
  const first = parts.shift() ?? "";
  const last = parts.pop();
  if (last === undefined) return action === pattern;
  if (!action.startsWith(first) || !action.endsWith(last)) return false;
  let at = first.length;
  for (const part of parts) {
    const found = action.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at <= action.length - last.length;
}

/**
 * @param {Fields} fields
 * @param {number[]} erased
 * @param {unknown} type
 * @param {unknown} id
 */
function requireTarget(fields, erased, type, id) {
  if (type === null && id === null) return;
  const is = fields.targets.some((target, at) => {
    if (!isObject(target) || (type !== null && target.type !== type)) return false;
    return id === null || target.id === id || erased.includes(at);
  });
  if (!is) notAsked("target");
}

/** Days are those of the server's time zone, which is not known here. */
const DAY = 86_400_000;

/**
 * @param {string} createdAt
 * @param {unknown} from
 * @param {unknown} to
 */
function requireTime(createdAt, from, to) {
  const at = Date.parse(createdAt);
  for (const [name, bound, sign] of /** @type {[string, unknown, number][]} */ ([["from", from, 1], ["to", to, -1]])) {
    const time = typeof bound === "string" ? Date.parse(bound) : NaN;
    const isExact = typeof bound === "string" && /(Z|[+-][0-9]{2}:?[0-9]{2})$/i.test(bound);
    // A comparison with NaN, of a text that is no time here, is false.
    if (sign * (at - time) < -(isExact ? 1 : 2 * DAY)) notAsked(name);
  }
}

/** Members that are texts in the API's event, as paths. */
const SHOWN = [
  "id,action,action_category,tenant_id,session_id,ip_address,ip_country,ip_city,user_agent,idempotency_key",
  "occurred_at,created_at,actor_id,actor_name,actor_type,resource_type,resource_id,resource_name,actor.id,actor.name,actor.type",
  "resource.type,resource.id,resource.name,integrity.event_hash,integrity.previous_event_hash,integrity.lane",
  "integrity.seq,version,metadata,targets",
].flatMap((names) => names.split(","));

/**
 * Refuses an event of which the server's answer says something else than the document. A value that
 * was erased between two reads, or that the answer leaves out, is no difference.
 * @param {Event} event
 * @param {unknown} answer
 */
export function requireSame({ fields, hidden }, answer) {
  for (const path of SHOWN) {
    const [shown, own] = [at(answer, path), at(fields, path)];
    if (shown === null || shown === undefined || isErased(path, hidden) || isSame(shown, own)) continue;
    refuse(`the server's answer and the document differ in ${path}`);
  }
}

/**
 * @param {unknown} value
 * @param {string} path
 * @returns {unknown}
 */
function at(value, path) {
  for (const name of path.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
    value = /** @type {{[name: string]: unknown}} */ (value)[name];
  }
  return value;
}

/**
 * @param {string} path
 * @param {import("./event.js").Hidden} hidden
 */
function isErased(path, hidden) {
  if (path === "metadata") return hidden.metadata > 0;
  if (path === "targets") return hidden.targets.length > 0;
  return hidden.columns.includes(path.replace(".", "_"));
}

/**
 * Whether a value of the answer, which has no texts of numbers, is the document's.
 * @param {unknown} shown
 * @param {unknown} own
 * @returns {boolean}
 */
function isSame(shown, own) {
  if (own instanceof JsonNumber) return typeof shown === "number" ? shown === Number(own.text) : shown === own.text;
  if (typeof own === "number" || typeof shown === "number") return String(shown) === String(own);
  if (typeof shown !== "object" || typeof own !== "object" || shown === null || own === null) return shown === own;
  if (Array.isArray(shown) !== Array.isArray(own)) return false;
  const names = Object.keys(shown);
  return names.length === Object.keys(own).length && names.every((name) => Object.hasOwn(own, name) && isSame(at2(shown, name), at2(own, name)));
}

/**
 * @param {object} value
 * @param {string} name
 */
function at2(value, name) {
  return /** @type {{[name: string]: unknown}} */ (value)[name];
}
