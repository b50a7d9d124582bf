// The vectors that the implementations in Rust and Python are held to.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { hex, utf8 } from "../../../crates/server/viewer/evidence/bytes.js";
import { readLine, verifyLine } from "../../../crates/server/viewer/evidence/event.js";
import { verifyPage } from "../../../crates/server/viewer/evidence/index.js";
import { jsonText, Reader } from "../../../crates/server/viewer/evidence/json.js";
import { cosignedAt, isSignedBy, LOG, parseCheckpoint, parseKey, parseNote } from "../../../crates/server/viewer/evidence/note.js";
import { judge } from "../../../crates/server/viewer/evidence/trust.js";
import { leafHash, rootByInclusion } from "../../../crates/server/viewer/evidence/tree.js";

const vectors = (name) => JSON.parse(readFileSync(new URL(`../../vectors/${name}.json`, import.meta.url), "utf8"));
const bytes = (digits) => Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const tlog = new Map();
for (const vector of vectors("tlog")) tlog.set(vector.kind, [...(tlog.get(vector.kind) ?? []), vector]);
const inputOf = (vector) => vector.input ?? new TextDecoder().decode(bytes(vector.input_hex));

const read = (text) => {
  const reader = new Reader(text, 0, 64);
  const value = reader.value();
  assert.ok(reader.isAtEnd());
  return value;
};

test("canonical JSON is read and nothing else", () => {
  let [taken, refused] = [0, 0];
  for (const { name, input, canonical } of vectors("canonical")) {
    if (canonical !== undefined) {
      taken += 1;
      assert.deepEqual(jsonText(read(canonical)).length > 0, true, name);
    }
    if (input !== canonical) {
      try {
        read(input);
      } catch {
        refused += 1;
        continue;
      }
      // What only a writer decides: the text of a number.
      assert.match(input, /[0-9]/, name);
    }
  }
  assert.ok(taken > 30 && refused > 50, `${taken} ${refused}`);
});

/** The line of an event that discloses nothing. */
const bare = (document, hash) => `{"document":${document},"event_hash":"${hash}","disclosures":[]}`;

test("documents of events have their hashes", async () => {
  let checked = 0;
  for (const { name, document, event_hash: hash } of [...vectors("events"), ...vectors("erasure")]) {
    if (!document) continue;
    const action = JSON.parse(document).action;
    if (action.startsWith("immutable.")) continue;
    const event = await verifyLine(readLine(bare(document, hash))).catch((error) => assert.fail(`${name}: ${error.message}`));
    assert.equal(event.eventHash, hash);
    await assert.rejects(verifyLine(readLine(bare(document, hash.replace(/^./, (c) => (c === "0" ? "1" : "0"))))));
    checked += 1;
  }
  assert.ok(checked > 80, `${checked}`);
});

test("lines of exports are judged as others judge them", async () => {
  const seen = { good: 0, bad: 0 };
  for (const { name, lines, breaks = [], refused } of vectors("exports")) {
    if (lines[0]?.includes('"escaped":true')) continue;
    for (const [at, line] of lines.entries()) {
      if (!line.startsWith('{"document":')) continue;
      if (refused !== undefined && at + 1 > refused) break;
      const error = await Promise.resolve().then(() => verifyLine(readLine(line))).then(() => null, (e) => e);
      const [, seq] = /"seq":([0-9-]+)/.exec(line) ?? [];
      const isBroken = breaks.some((b) => b.type === "hash_mismatch" && (b.seq === undefined || String(b.seq) === seq));
      const isOwn = (b) => b.type === "hash_mismatch" && JSON.parse(line).document.id === b.event_id && String(b.seq) === seq;
      if (error === null) assert.ok(!breaks.some(isOwn), `${name}, line ${at + 1}`);
      const isRefused = at + 1 === refused;
      if (isRefused && error === null) assert.match(name, /order|behind|after|header|later|lane/i, name);
      else if (isRefused || error !== null) assert.ok(isRefused || isBroken, `${name}, line ${at + 1}: ${error?.message}`);
      seen[error === null ? "good" : "bad"] += 1;
    }
  }
  assert.ok(seen.good > 50 && seen.bad > 10, JSON.stringify(seen));
});

test("keys", async () => {
  for (const vector of tlog.get("vkey")) {
    const parsed = await parseKey(inputOf(vector)).catch((error) => error);
    if (vector.error) assert.ok(parsed instanceof Error, vector.name);
    else {
      assert.equal(parsed.name, vector.key_name, vector.name);
      assert.equal(hex(parsed.publicKey), vector.public_key, vector.name);
    }
  }
});

const attempt = (body) => {
  try {
    return body();
  } catch (error) {
    return error;
  }
};

/** Some signature line. */
const LINE = "\u2014 a AAAAAAA=\n";

test("notes and checkpoints", () => {
  for (const vector of tlog.get("note")) {
    if (vector.input_hex) continue; // what is not UTF-8 is no text in JavaScript
    const note = attempt(() => parseNote(vector.input));
    if (vector.error) assert.ok(note instanceof Error, vector.name);
    else {
      assert.equal(note.text, vector.text, vector.name);
      assert.deepEqual(note.lines.map((line) => [line.name, hex(line.signature)]), vector.signatures.map((s) => [s.key_name, s.signature]));
    }
  }
  for (const vector of tlog.get("checkpoint")) {
    if (vector.input_hex) continue;
    const checkpoint = attempt(() => parseCheckpoint(parseNote(`${vector.input}\n${LINE}`).text));
    if (vector.error) assert.ok(checkpoint instanceof Error, vector.name);
    else {
      assert.equal(checkpoint.origin, vector.origin);
      assert.equal(checkpoint.size, BigInt(vector.input.split("\n")[1]));
      assert.equal(hex(checkpoint.root), vector.root);
    }
  }
});

test("signatures and cosignatures", async () => {
  for (const vector of tlog.get("open")) {
    const keys = await Promise.all(vector.keys.map(parseKey));
    const note = attempt(() => parseNote(vector.input));
    const verified = [];
    let failed = note instanceof Error;
    for (const key of failed ? [] : keys) {
      const answer = key.type === LOG ? await isSignedBy(note, key) : await cosignedAt(note, key);
      if (answer === false || answer === null) failed = true;
      else if (answer !== undefined) verified.push([key.name, answer === true ? undefined : Number(answer)]);
    }
    // A key twice is refused where trust is read.
    if (new Set(vector.keys).size < vector.keys.length) failed = (await judge(vector.input, { logKeys: vector.keys }).catch(() => null)) === null;
    if (vector.error) assert.ok(failed || verified.length === 0, vector.name);
    else assert.deepEqual(verified.sort(), vector.verified.map((v) => [v.key_name, v.time ?? undefined]).sort(), vector.name);
  }
});

test("proofs of inclusion", async () => {
  for (const vector of tlog.get("inclusion")) {
    const size = BigInt(vector.size);
    const root = await rootByInclusion(bytes(vector.leaf), BigInt(vector.index), size, vector.proof.map(bytes));
    assert.equal(root !== null && hex(root) === vector.root, !vector.error, vector.name);
  }
  const [{ entries, leaves }] = tlog.get("tree").filter((v) => v.entries?.length > 0);
  for (const [at, entry] of entries.entries()) assert.equal(hex(await leafHash(bytes(entry))), leaves[at]);
});

/** The keys of a policy: its logs, and its witnesses by the names that it gives them. */
function trustOf(policy) {
  const words = policy.split("\n").map((line) => line.split(/[ \t]+/));
  const witnesses = words.filter(([kind]) => kind === "witness").map(([, name, vkey]) => [name, vkey]);
  return {
    trust: { logKeys: words.filter(([kind]) => kind === "log").map(([, vkey]) => vkey), witnessKeys: witnesses.map(([, vkey]) => vkey) },
    hasGroup: words.some(([kind]) => kind === "group"),
  };
}

/** A receipt as the evidence of a page of one event. */
function pageOf(receipt) {
  const [, line, ...rest] = receipt.split("\n");
  const proof = rest.join("\n");
  const [head, ...note] = proof.split("\n\n");
  const [, index, ...hashes] = head.split("\n");
  const id = /"id":"([^"]*)","lane"/.exec(line)?.[1];
  const own = { line, index: Number(index.replace("index ", "")), proof: hashes };
  return { id, events: [{ id }], evidence: { events: { [id]: own }, checkpoint: note.join("\n\n") } };
}

test("receipts are judged as immutable-verify judges them", async () => {
  const seen = {};
  for (const vector of tlog.get("receipt")) {
    if (vector.verdict === undefined) continue;
    // In a receipt its holder may leave out values. In a page nothing is left out but what is erased.
    const isWithheld = vector.name.includes("an event of the log's own, no value disclosed");
    const { trust, hasGroup } = trustOf(vector.policy);
    const { id, events, evidence } = pageOf(vector.input);
    const { level, rows, checkpoint } = await verifyPage({ events, evidence, trust });
    const { status, reason, fields } = rows.get(id);
    if (isWithheld) assert.equal(status, "failed", vector.name);
    else if (vector.verdict === "NOT VALID") assert.equal(`${status} ${level}`, "failed failed", vector.name);
    else {
      assert.equal(status, "verified", `${vector.name}: ${reason}`);
      assert.equal(fields.id, vector.event_id);
      assert.equal(checkpoint.size, vector.size);
      // Here one witness is enough; how many are, is for a policy to say.
      if (vector.verdict === "VALID") assert.equal(level, "proven", vector.name);
      else assert.ok(hasGroup || level === "signed" || vector.policy.includes("quorum none"), vector.name);
    }
    seen[status] = (seen[status] ?? 0) + 1;
  }
  assert.ok(seen.verified >= 14 && seen.failed >= 25, JSON.stringify(seen));
});

test("checkpoints are judged as policies judge them", async () => {
  for (const vector of tlog.get("confirm")) {
    if (vector.input_hex) continue;
    const { trust } = trustOf(vector.policy);
    const judged = await judge(vector.input, trust).catch((error) => error);
    if (vector.error || vector.verdict === "NOT VALID") assert.ok(judged instanceof Error || judged.standing === "untrusted", vector.name);
    else {
      assert.ok(!(judged instanceof Error), `${vector.name}: ${judged.message}`);
      assert.equal(judged.checkpoint.size, BigInt(vector.size));
      assert.equal(judged.cosignedBy.length, vector.cosigned_by.length, vector.name);
    }
  }
});
