// What the embedding page trusts, and what that says of a checkpoint. The keys that come with the
// evidence are the server's own lists. They can name a key for people, and are never trusted.

import { refuse } from "./bytes.js";
import { isAvailable } from "./ed25519.js";
import { cosignedAt, isSignedBy, LOG, parseCheckpoint, parseKey, parseNote, WITNESS } from "./note.js";

/**
 * What the embedding page gives; it has to come from elsewhere than the server that is checked.
 * @typedef {object} Trust
 * @property {string} [origin] the log's name in its checkpoints
 * @property {string[]} [logKeys] verifier keys of the log
 * @property {string[]} [witnessKeys] verifier keys of witnesses; one of them is enough
 * @property {string|null} [tenantId] the tenant whose events these must be; null and "" are events without one
 */

/**
 * @typedef {import("./note.js").Key} Key
 * @typedef {import("./note.js").Note} Note
 * @typedef {import("./note.js").Checkpoint} Checkpoint
 * @typedef {{name: string, time: string}} Cosigner
 * @typedef {"proven"|"signed"|"untrusted"|"unavailable"} Standing
 * @typedef {{standing: Standing, reason: string|null, checkpoint: Checkpoint, cosignedBy: Cosigner[]}} Judged
 */

/**
 * @param {unknown} keys
 * @param {string} name
 * @param {number} type
 * @returns {Promise<Key[]>}
 */
async function parseKeys(keys, name, type) {
  const list = keys === undefined || keys === null ? [] : keys;
  if (!Array.isArray(list)) return refuse(`trust.${name} must be an array of verifier keys`);
  return Promise.all(
    list.map(async (text) => {
      const key = await parseKey(text).catch(() => refuse(`trust.${name} has a text that is no verifier key`));
      return key.type === type ? key : refuse(`trust.${name} has a key that signs something else`);
    }),
  );
}

/**
 * Judges the checkpoint of a page. Refuses one that is malformed, of another log than the trusted one,
 * not signed by it, or with a line of a trusted key that is not valid.
 * @param {unknown} text
 * @param {Trust} trust
 * @returns {Promise<Judged>}
 */
export async function judge(text, trust) {
  const note = parseNote(text);
  const checkpoint = parseCheckpoint(note.text);
  const [logKeys, witnessKeys] = await Promise.all([
    parseKeys(trust.logKeys, "logKeys", LOG),
    parseKeys(trust.witnessKeys, "witnessKeys", WITNESS),
  ]);
  const keys = [...logKeys, ...witnessKeys].map((key) => key.publicKey.join());
  if (new Set(keys).size < keys.length) refuse("trust has one key twice");
  const { origin } = trust;
  if (typeof origin === "string" && origin !== checkpoint.origin) refuse("the checkpoint is one of another log");
  const ours = logKeys.filter((key) => key.name === checkpoint.origin);
  if (logKeys.length > 0 && ours.length === 0) refuse("the checkpoint is one of another log");
  const judged = { checkpoint, cosignedBy: /** @type {Cosigner[]} */ ([]) };
  if (logKeys.length === 0 && typeof origin !== "string") {
    // A witness cosigns many logs, so that its key alone does not say which one this is.
    return { ...judged, standing: "untrusted", reason: "the embedding page names no log that it trusts" };
  }
  if (!(await isAvailable())) {
    return { ...judged, standing: "unavailable", reason: "this browser cannot check Ed25519 signatures" };
  }
  await requireSigned(note, ours, logKeys.length > 0);
  judged.cosignedBy = await cosigners(note, witnessKeys);
  if (judged.cosignedBy.length > 0) return { ...judged, standing: "proven", reason: null };
  const reason = "no witness that the embedding page trusts has cosigned the checkpoint";
  return { ...judged, standing: ours.length > 0 ? "signed" : "untrusted", reason };
}

/**
 * @param {Note} note
 * @param {Key[]} keys
 * @param {boolean} isNeeded
 */
async function requireSigned(note, keys, isNeeded) {
  const lines = (await Promise.all(keys.map((key) => isSignedBy(note, key)))).filter((valid) => valid !== undefined);
  if (lines.includes(false)) refuse("the log's signature of the checkpoint is not valid, or there twice");
  if (isNeeded && lines.length === 0) refuse("the checkpoint is not signed by a trusted key of its log");
}

/**
 * The trusted witnesses that cosigned, the earliest first.
 * @param {Note} note
 * @param {Key[]} keys
 * @returns {Promise<Cosigner[]>}
 */
async function cosigners(note, keys) {
  const found = /** @type {{name: string, at: bigint}[]} */ ([]);
  for (const key of keys) {
    const at = await cosignedAt(note, key);
    if (at === null) refuse(`the cosignature of the witness ${key.name} is not valid, or there twice`);
    if (at !== undefined && at !== null) found.push({ name: key.name, at });
  }
  found.sort((a, b) => (a.at < b.at ? -1 : Number(a.at > b.at)));
  return found.map(({ name, at }) => ({ name, time: timeText(at) }));
}

/** @param {bigint} seconds since 1970 */
function timeText(seconds) {
  const date = new Date(Number(seconds) * 1000);
  return Number.isNaN(date.getTime()) ? `${seconds} seconds after 1970` : date.toISOString().replace(".000Z", "Z");
}
