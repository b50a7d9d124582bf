// Bytes, texts and the two primitives of WebCrypto that everything here is made of.

/** Why something is not what it says it is. Its message is a sentence for people. */
export class Wrong extends Error {}

/**
 * Refuses what is being read.
 * @param {string} why
 * @returns {never}
 */
export function refuse(why) {
  throw new Wrong(why);
}

const encoder = new TextEncoder();

/**
 * The bytes of a text as UTF-8. A lone surrogate has none: the encoder would put another character in
 * its place, and what is hashed would not be what is shown.
 * @param {string} text
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function utf8(text) {
  if (/\p{Surrogate}/u.test(text)) refuse("the text has half of a surrogate pair");
  return encoder.encode(text);
}

/**
 * WebCrypto, where there is one: pages that are not https have none.
 * @returns {SubtleCrypto|null}
 */
export function subtle() {
  return globalThis.crypto?.subtle ?? null;
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function sha256(bytes) {
  const engine = subtle() ?? refuse("this page has no crypto.subtle");
  return new Uint8Array(await engine.digest("SHA-256", bytes));
}

/**
 * Lower-case hex.
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function hex(bytes) {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

/**
 * @param {Uint8Array} a
 * @param {Uint8Array} b
 * @returns {boolean}
 */
export function isEqual(a, b) {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

/**
 * One array of bytes after the other.
 * @param {...(Uint8Array|number[])} parts
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function joined(...parts) {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/**
 * Reads base64 with padding (RFC 4648 section 4). Only the one text that an encoder makes is taken.
 * @param {string} text
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function fromBase64(text) {
  const is = text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text);
  const binary = is ? atob(text) : refuse("not base64 with padding");
  if (btoa(binary) !== text) refuse("not base64 with padding");
  return Uint8Array.from(binary, (char) => char.charCodeAt(0));
}

/**
 * Reads a hash in base64.
 * @param {unknown} text
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function hashOf(text) {
  const bytes = typeof text === "string" ? fromBase64(text) : refuse("a hash must be a text");
  return bytes.length === 32 ? bytes : refuse("a hash must have 32 bytes");
}
