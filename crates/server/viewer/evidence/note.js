// Signed notes, checkpoints and cosignatures (C2SP signed-note, tlog-checkpoint, tlog-cosignature), with
// the strict choices that tests/vectors/README.md lists.

import { fromBase64, hashOf, joined, refuse, sha256, utf8 } from "./bytes.js";
import { isSoundPoint, verify } from "./ed25519.js";

/** What a log's key signs with, and a witness's. */
export const [LOG, WITNESS] = [1, 4];

const [MAX_SIGNATURES, MAX_BYTES, MAX_NAME] = [100, 1_000_000, 255];
const MAX_SIZE = 2n ** 63n - 1n;

/**
 * @typedef {{name: string, id: number, type: number, publicKey: Uint8Array<ArrayBuffer>, text: string}} Key
 * @typedef {{name: string, id: number, signature: Uint8Array<ArrayBuffer>}} Line
 * @typedef {{text: string, lines: Line[]}} Note
 * @typedef {{origin: string, size: bigint, root: Uint8Array<ArrayBuffer>}} Checkpoint
 */

/** @param {string} name */
function checkName(name) {
  if (name === "" || utf8(name).length > MAX_NAME) refuse("a name must have 1 to 255 bytes");
  if (/[+\p{White_Space}\p{Control}]/u.test(name)) refuse("a name contains a space, a control character or a +");
}

/** @param {Uint8Array} bytes */
function uint32(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}

/** Keys that were read before: a page of a browser has a few, and reads them for each page of events. */
const read = /** @type {Map<string, Key>} */ (new Map());

/**
 * Reads a verifier key: name, key id and key with + between them.
 * @param {unknown} text
 * @returns {Promise<Key>}
 */
export async function parseKey(text) {
  const known = typeof text === "string" ? read.get(text) : undefined;
  const key = known ?? (await readKey(text));
  if (read.size < 100) read.set(key.text, key);
  return key;
}

/**
 * @param {unknown} text
 * @returns {Promise<Key>}
 */
async function readKey(text) {
  const parts = typeof text === "string" ? /^([^+]*)\+([0-9a-f]{8})\+(.*)$/s.exec(text) : null;
  if (parts === null) return refuse("not a key of the form name+id+key");
  const [name, id, blob] = [parts[1] ?? "", parseInt(parts[2] ?? "", 16), fromBase64(parts[3] ?? "")];
  checkName(name);
  const [type, publicKey] = [blob[0] ?? 0, blob.slice(1)];
  if (type !== LOG && type !== WITNESS) refuse("a key of a type that is not known");
  if (publicKey.length !== 32) refuse("the key does not have 32 bytes");
  const digest = await sha256(joined(utf8(name), [10, type], publicKey));
  if (uint32(digest) !== id) refuse("the key id is not that of the name and the key");
  if (!isSoundPoint(publicKey)) refuse("the public key is not a sound one of Ed25519");
  return { name, id, type, publicKey, text: String(text) };
}

/**
 * @param {string} text
 * @returns {Line}
 */
function parseLine(text) {
  const parts = /^\u2014 ([^ ]*) (.*)$/su.exec(text);
  if (parts === null) return refuse("a signature line is malformed");
  const [name, blob] = [parts[1] ?? "", fromBase64(parts[2] ?? "")];
  checkName(name);
  if (blob.length < 5) refuse("a signature has less than 5 bytes");
  return { name, id: uint32(blob), signature: blob.slice(4) };
}

/**
 * Reads a signed note. Its signatures are not verified.
 * @param {unknown} note
 * @returns {Note}
 */
export function parseNote(note) {
  if (typeof note !== "string" || utf8(note).length > MAX_BYTES) return refuse("a note is a text of at most 1,000,000 bytes");
  if (/[\0-\x09\x0b-\x1f]/.test(note)) refuse("the note contains a control character");
  // The text may contain empty lines: the last one ends it.
  const at = note.lastIndexOf("\n\n");
  if (at < 0 || !note.endsWith("\n")) refuse("the note has no signature lines after an empty line");
  const lines = note.slice(at + 2, -1).split("\n");
  if (note.length <= at + 2 || lines.length > MAX_SIGNATURES) refuse("a note has 1 to 100 signature lines");
  return { text: note.slice(0, at + 1), lines: lines.map(parseLine) };
}

/**
 * Reads a number: decimal, without sign and leading zeros.
 * @param {string} text
 */
function parseNumber(text) {
  const number = /^(0|[1-9][0-9]{0,18})$/.test(text) ? BigInt(text) : refuse("not a number without leading zeros");
  return number <= MAX_SIZE ? number : refuse("a number above 2^63 - 1");
}

/**
 * Reads the text of a note as a checkpoint. Extension lines are passed over.
 * @param {string} text
 * @returns {Checkpoint}
 */
export function parseCheckpoint(text) {
  const [origin, size, root, ...more] = text.endsWith("\n") ? text.slice(0, -1).split("\n") : [];
  if (origin === undefined || size === undefined || root === undefined || more.includes("")) {
    return refuse("a checkpoint has an origin, a size and a root, and no empty line");
  }
  checkName(origin);
  return { origin, size: parseNumber(size), root: hashOf(root) };
}

/**
 * The line of a key in a note: undefined if there is none, null if there are two.
 * @param {Note} note
 * @param {Key} key
 */
function lineOf(note, key) {
  const lines = note.lines.filter((line) => line.name === key.name && line.id === key.id);
  return lines.length > 1 ? null : lines[0];
}

/**
 * Whether a log's key signed the note; undefined if it has no line there. Two lines of one key are
 * not valid.
 * @param {Note} note
 * @param {Key} key
 * @returns {Promise<boolean|undefined>}
 */
export async function isSignedBy(note, key) {
  const line = lineOf(note, key);
  if (line === undefined || line === null) return line === null ? false : undefined;
  return key.type === LOG && (await verify(key.publicKey, line.signature, utf8(note.text)));
}

/**
 * When a witness cosigned the note, in seconds since 1970: undefined if it has no line there, null if
 * its line is not valid.
 * @param {Note} note
 * @param {Key} key
 * @returns {Promise<bigint|null|undefined>}
 */
export async function cosignedAt(note, key) {
  const line = lineOf(note, key);
  if (line === undefined || line === null) return line;
  if (key.type !== WITNESS || line.signature.length !== 72) return null;
  const time = new DataView(line.signature.buffer, line.signature.byteOffset).getBigUint64(0);
  if (time < 1n || time > MAX_SIZE) return null;
  const message = utf8(`cosignature/v1\ntime ${time}\n${note.text}`);
  return (await verify(key.publicKey, line.signature.slice(8), message)) ? time : null;
}
