/**
 * Names and values of what callers pass, as the server takes them.
 *
 * @module
 */

/** @param {string} name */
const underscored = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/**
 * The members that are not undefined or null, with the server's names.
 *
 * @param {object} given
 * @param {readonly string[]} known
 * @param {boolean} strict whether a name that is not known is refused: a filter that nobody looks at shows too much
 * @returns {Record<string, unknown>}
 */
export function members(given, known, strict) {
  if (given === null || typeof given !== "object" || Array.isArray(given)) {
    throw new TypeError("an object is expected");
  }
  /** @type {Record<string, unknown>} */
  const taken = {};
  for (const [name, value] of Object.entries(given)) {
    const translated = known.includes(name) ? name : underscored(name);
    if (strict && !known.includes(translated)) {
      throw new TypeError(`${name} is not one of ${known.join(", ")}`);
    }
    if (value === undefined || value === null) continue;
    const key = known.includes(translated) ? translated : name;
    if (key in taken && taken[key] !== value) {
      throw new TypeError(`${key} is given twice, with different values`);
    }
    taken[key] = value;
  }
  return taken;
}

/**
 * Filters for a query string or a body. A tenant's filter that is empty is a mistake of the caller's, who would then
 * see all tenants.
 *
 * @param {object} given
 * @param {readonly string[]} known
 * @returns {Record<string, string>}
 */
export function filters(given, known) {
  const taken = members(given, known, true);
  if (taken.tenant_id === "") {
    throw new TypeError("tenant_id is empty; leave it out to see all that the key opens");
  }
  return Object.fromEntries(Object.entries(taken).map(([name, value]) => [name, text(name, value)]));
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function text(name, value) {
  if (value instanceof Date) return value.toISOString();
  if (["string", "number", "bigint"].includes(typeof value)) return String(value);
  throw new TypeError(`${name} is neither a text nor a number`);
}

/**
 * An id as part of a path.
 *
 * @param {string} name
 * @param {unknown} id
 */
export function segment(name, id) {
  if (typeof id !== "string" || /^\.{0,2}$/.test(id)) {
    throw new TypeError(`${name} is not an id`);
  }
  return encodeURIComponent(id);
}

/**
 * The text of a JSON body. JSON.stringify() makes null of NaN and of infinite numbers, and an audit log is no place for
 * values that nobody gave.
 *
 * @param {unknown} body
 */
export function json(body) {
  return JSON.stringify(body, (name, value) => {
    if (typeof value === "number" && !Number.isFinite(value)) {
      throw new TypeError(`${name} is ${value}, which JSON cannot express`);
    }
    return value;
  });
}
