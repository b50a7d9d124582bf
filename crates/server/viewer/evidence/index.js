// Verifies a page of events in the reader's browser. See docs/evidence.md, "In a customer's browser",
// for what it proves and what it cannot.

import { hashOf, isEqual, refuse, subtle, Wrong } from "./bytes.js";
import { requireAsked, requireSame } from "./asked.js";
import { readLine, unverified, verifyLine } from "./event.js";
import { judge } from "./trust.js";
import { leafHash, rootByInclusion } from "./tree.js";

export { JsonNumber, jsonText } from "./json.js";

/**
 * @typedef {import("./event.js").Event} Event
 * @typedef {import("./event.js").Fields} Fields
 * @typedef {import("./trust.js").Trust} Trust
 * @typedef {import("./trust.js").Judged} Judged
 * @typedef {import("./asked.js").Filters} Filters
 */

/**
 * verified: in the tree of a checkpoint that is trusted. consistent: the values are those that were
 * hashed, and no trusted checkpoint covers them. failed: `reason` says why. unchecked: this page
 * cannot hash.
 * @typedef {"verified"|"consistent"|"failed"|"unchecked"} Status
 *
 * `fields` was made of the hashed document and its disclosures alone. It is null where the document is
 * not the one that was hashed. Of a failed row it is what the document says, for people to see; of an
 * unchecked one it was not verified.
 * @typedef {{status: Status, reason: string|null, fields: Fields|null}} Row
 *
 * The level of the page is that of its weakest row.
 * @typedef {"proven"|"signed"|"consistent"|"failed"|"unavailable"} Level
 *
 * `time` is when the first trusted witness cosigned: the events that are verified were in the log
 * before. `size` is a number as text where it is above 2^53.
 * @typedef {{origin: string, size: number|string, time: string|null, cosignedBy: {name: string, time: string}[]}} ShownCheckpoint
 *
 * @typedef {object} Verdict
 * @property {Level} level
 * @property {string|null} reason why the level is not a better one
 * @property {{verified: number, consistent: number, failed: number, unchecked: number}} counts
 * @property {Map<string, Row>} rows by the ids of the events that were shown
 * @property {ShownCheckpoint|null} checkpoint null if there is none, or it is not trusted
 */

/**
 * @typedef {object} Page
 * @property {unknown} events the array of events that the server answered
 * @property {unknown} evidence the member `evidence` of its answer
 * @property {Trust} [trust] what the embedding page trusts
 * @property {Filters} [filters] what was asked for, by the API's names
 */

/**
 * Verifies a page of events. It never throws: what is wrong with hostile input is said in its row.
 * @param {Page} page
 * @returns {Promise<Verdict>}
 */
export async function verifyPage({ events, evidence, trust, filters }) {
  const shown = Array.isArray(events) ? events : [];
  const given = trust ?? {};
  if (subtle() === null) return unavailable(shown, evidence);
  const judged = await judgedCheckpoint(evidence, given);
  const checks = shown.map((event) => check(event, evidence, judged, given, filters ?? {}));
  const results = await Promise.all(checks);
  return verdict(linked(byId(shown, results)), judged);
}

/** A row while it is checked. @typedef {Row & {event: Event|null}} Checked */

/**
 * @param {unknown} error
 * @returns {string}
 */
function why(error) {
  return error instanceof Wrong ? error.message : "the evidence is malformed";
}

/**
 * The checkpoint of the page: null without one, a text that says why it is refused.
 * @param {unknown} evidence
 * @param {Trust} trust
 * @returns {Promise<Judged|string|null>}
 */
async function judgedCheckpoint(evidence, trust) {
  try {
    const text = member(evidence, "checkpoint");
    return text === undefined || text === null ? null : await judge(text, trust);
  } catch (error) {
    return why(error);
  }
}

/**
 * Own members alone: names such as constructor come with every object.
 * @param {unknown} value
 * @param {string} name
 * @returns {unknown}
 */
function member(value, name) {
  const is = typeof value === "object" && value !== null && Object.hasOwn(value, name);
  return is ? /** @type {{[name: string]: unknown}} */ (value)[name] : undefined;
}

/**
 * The evidence of one event.
 * @param {unknown} shown
 * @param {unknown} evidence
 */
function evidenceOf(shown, evidence) {
  const id = member(shown, "id");
  const own = member(member(evidence, "events"), typeof id === "string" ? id : refuse("the event has no id"));
  if (own === undefined) refuse("the server sent no evidence of this event");
  const unreadable = member(own, "unreadable");
  if (unreadable !== undefined) refuse(`the log cannot prove this event: ${String(unreadable).slice(0, 500)}`);
  return { id, own };
}

/**
 * @param {unknown} shown
 * @param {unknown} evidence
 * @param {Judged|string|null} judged
 * @param {Trust} trust
 * @param {Filters} filters
 * @returns {Promise<Checked>}
 */
async function check(shown, evidence, judged, trust, filters) {
  let event = null;
  try {
    const { id, own } = evidenceOf(shown, evidence);
    event = await verifyLine(readLine(member(own, "line")));
    if (event.document.id !== id) refuse("the evidence is that of another event");
    const { tenantId } = trust;
    if (tenantId !== undefined && event.document.tenant_id !== (tenantId ?? "")) refuse("the event is of another tenant");
    requireAsked(event, filters);
    requireSame(event, shown);
    if (typeof judged === "string") refuse(judged);
    const covered = await isCovered(event, own, judged);
    return { ...standing(covered, judged), fields: event.fields, event };
  } catch (error) {
    return { status: "failed", reason: why(error), fields: event?.fields ?? null, event };
  }
}

/**
 * What a row is whose hashes hold.
 * @param {boolean} covered
 * @param {Judged|null} judged
 * @returns {{status: Status, reason: string|null}}
 */
function standing(covered, judged) {
  if (judged === null) return { status: "consistent", reason: "the server sent no checkpoint" };
  if (!covered) return { status: "consistent", reason: "the checkpoint does not cover this event yet" };
  const isTrusted = judged.standing === "proven" || judged.standing === "signed";
  return { status: isTrusted ? "verified" : "consistent", reason: judged.reason };
}

/**
 * Whether the checkpoint covers the event. Refuses a proof that does not lead to its root.
 * @param {Event} event
 * @param {unknown} own
 * @param {Judged|null} judged
 * @returns {Promise<boolean>}
 */
async function isCovered(event, own, judged) {
  const [index, proof] = [member(own, "index") ?? null, member(own, "proof") ?? null];
  if (index === null && proof === null) return false;
  if (judged === null) return refuse("there is a proof, and no checkpoint that it leads to");
  if (typeof index !== "number" || !Number.isSafeInteger(index) || !Array.isArray(proof)) return refuse("the proof is malformed");
  if (proof.length > 63) refuse("the proof is malformed");
  const { size, root } = judged.checkpoint;
  const leaf = await leafHash(hashBytes(event.eventHash));
  const reached = await rootByInclusion(leaf, BigInt(index), size, proof.map(hashOf));
  if (reached === null || !isEqual(reached, root)) refuse("the proof does not lead to the root of the checkpoint");
  return true;
}

/** @param {string} text 64 hex digits */
function hashBytes(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (digits) => parseInt(digits, 16));
}

/**
 * @param {unknown[]} shown
 * @param {Checked[]} results
 * @returns {Map<string, Checked>}
 */
function byId(shown, results) {
  const rows = new Map();
  results.forEach((row, at) => {
    const id = member(shown[at], "id");
    const key = typeof id === "string" ? id : `row ${at + 1}`;
    if (!rows.has(key)) rows.set(key, row);
    else rows.set(key, { ...row, status: "failed", reason: "the page shows the event twice" });
  });
  return rows;
}

/**
 * Compares the events of one lane that are on the page with each other: two that follow one another
 * must be linked, two cannot have one place, and times ascend.
 * @param {Map<string, Checked>} rows
 * @returns {Map<string, Checked>}
 */
function linked(rows) {
  const lanes = /** @type {Map<string, {id: string, event: Event}[]>} */ (new Map());
  for (const [id, { event }] of rows) {
    if (event === null) continue;
    const lane = JSON.stringify([event.document.tenant_id, event.document.lane]);
    const events = lanes.get(lane) ?? [];
    events.push({ id, event });
    lanes.set(lane, events);
  }
  const fail = (/** @type {string} */ id, /** @type {string} */ reason) => {
    const row = rows.get(id);
    if (row !== undefined && row.status !== "failed") rows.set(id, { ...row, status: "failed", reason });
  };
  for (const lane of lanes.values()) {
    lane.sort((a, b) => (a.event.document.seq < b.event.document.seq ? -1 : 1));
    lane.forEach((later, at) => {
      const earlier = lane[at - 1];
      const reason = earlier === undefined ? null : brokenLink(earlier.event, later.event);
      if (earlier === undefined || reason === null) return;
      fail(earlier.id, reason);
      fail(later.id, reason);
    });
  }
  return rows;
}

/**
 * @param {Event} earlier
 * @param {Event} later
 * @returns {string|null} what is wrong
 */
function brokenLink(earlier, later) {
  const [a, b] = [earlier.document, later.document];
  if (a.seq === b.seq) return "two events have one place in their lane";
  if (a.created_at >= b.created_at) return "a later event of the lane has an earlier time";
  const isNext = a.seq + 1n === b.seq;
  return isNext && b.previous_event_hash !== earlier.eventHash ? "the event and the one before it in its lane are not linked" : null;
}

/**
 * @param {Map<string, Checked>} rows
 * @param {Judged|string|null} judged
 * @returns {Verdict}
 */
function verdict(rows, judged) {
  const [counts, shown] = [{ verified: 0, consistent: 0, failed: 0, unchecked: 0 }, new Map()];
  for (const [id, { status, reason, fields }] of rows) {
    counts[status] += 1;
    shown.set(id, { status, reason, fields });
  }
  const first = [...shown.values()].find((row) => row.status !== "verified");
  const base = { counts, rows: shown };
  if (typeof judged === "string") return { ...base, level: "failed", reason: judged, checkpoint: null };
  const checkpoint = shownCheckpoint(judged);
  if (counts.failed > 0) return { ...base, level: "failed", reason: "an event is not what the log recorded", checkpoint };
  if (judged?.standing === "unavailable") return { ...base, level: "unavailable", reason: judged.reason, checkpoint };
  if (first === undefined && counts.verified > 0) {
    return { ...base, level: judged?.standing === "proven" ? "proven" : "signed", reason: judged?.reason ?? null, checkpoint };
  }
  return { ...base, level: "consistent", reason: first?.reason ?? null, checkpoint };
}

/**
 * @param {Judged|null} judged
 * @returns {ShownCheckpoint|null}
 */
function shownCheckpoint(judged) {
  if (judged === null || (judged.standing !== "proven" && judged.standing !== "signed")) return null;
  const { origin, size } = judged.checkpoint;
  const shownSize = size <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(size) : String(size);
  return { origin, size: shownSize, time: judged.cosignedBy[0]?.time ?? null, cosignedBy: judged.cosignedBy };
}

/**
 * What is said on a page without crypto.subtle.
 * @param {unknown[]} shown
 * @param {unknown} evidence
 * @returns {Verdict}
 */
function unavailable(shown, evidence) {
  const reason = "not checked: the page is not https";
  const results = shown.map((event) => {
    const row = /** @type {Checked} */ ({ status: "unchecked", reason, fields: null, event: null });
    try {
      const { id, own } = evidenceOf(event, evidence);
      const { document, fields } = unverified(readLine(member(own, "line")));
      return document.id === id ? { ...row, fields } : row;
    } catch {
      return row;
    }
  });
  return { ...verdict(byId(shown, results), null), level: "unavailable", reason };
}
