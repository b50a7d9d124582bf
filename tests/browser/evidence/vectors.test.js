// The vectors that the implementations in Rust and Python are held to.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { hex, utf8 } from "../../../crates/server/viewer/evidence/bytes.js";
import { readLine, verifyLine } from "../../../crates/server/viewer/evidence/event.js";
import { verifyPage } from "../../../crates/server/viewer/evidence/index.js";
import { jsonText, Reader } from "../../../crates/server/viewer/evidence/json.js";
import { cosignedAt, isSignedBy, LOG, parseCheckpoint, parseKey, parseNote } from "../../../crates/server/viewer/evidence/note.js";
import { leafHash, rootByInclusion } from "../../../crates/server/viewer/evidence/tree.js";

const vectors = (name) => JSON.parse(readFileSync(new URL(`../../vectors/${name}.json`, import.meta.url), "utf8"));
const bytes = (digits) => Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const tlog = Map.groupBy ? Map.groupBy(vectors("tlog"), (v) => v.kind) : vectors("tlog").reduce((all, v) => all.set(v.kind, [...(all.get(v.kind) ?? []), v]), new Map());
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
  assert.ok(taken > 50 && refused > 20, `${taken} ${refused}`);
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
  assert.ok(checked > 100, `${checked}`);
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
      const isRefused = at + 1 === refused;
      if (isRefused && error === null) assert.match(name, /order|behind|after|header|later|lane/i, name);
      else if (isRefused || error !== null) assert.ok(isRefused || isBroken, `${name}, line ${at + 1}: ${error?.message}`);
      seen[error === null ? "good" : "bad"] += 1;
    }
    if (breaks.length > 0 && refused === undefined) continue;
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
    const checkpoint = attempt(() => parseCheckpoint(vector.input));
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
