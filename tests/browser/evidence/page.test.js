// A page of a real log, as it is and changed in every way that a server could change it.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { verifyPage } from "../../../crates/server/viewer/evidence/index.js";
import { changed, copy, documentOf, forged, hashOf, idsOf, page } from "./page.js";

const plain = (value) => JSON.parse(JSON.stringify(value));

/** The row of one event of a page. */
async function rowOf(given, id) {
  const verdict = await verifyPage(given);
  return { ...verdict.rows.get(id), level: verdict.level };
}

/** The page with one event alone. */
function alone(id, change = () => {}) {
  const made = { ...page, events: page.events.filter((event) => event.id === id), evidence: { ...page.evidence } };
  made.evidence.events = { [id]: copy(page.evidence.events[id]) };
  change(made.evidence.events[id], made);
  return made;
}

async function fails(given, id, why) {
  const { status, reason, level } = await rowOf(given, id);
  assert.equal(`${status} ${level}`, "failed failed", `${why}: ${reason}`);
  if (why instanceof RegExp) assert.match(reason, why);
}

const lineOf = (id) => page.evidence.events[id].line;
const erasedId = idsOf(page).find((id) => !lineOf(id).includes('"actor_name","') && documentOf(lineOf(id)).commitments.actor_name);
const numbersId = idsOf(page).find((id) => lineOf(id).includes('"metadata.price",1.10]'));
const richId = idsOf(page).find((id) => lineOf(id).includes('"targets.1",'));

/** Events of each kind. */
const some = [...new Set([richId, erasedId, numbersId, page.events[0].id])];

test("the page is proven, and what is shown is what the log has", async () => {
  const { level, reason, rows, counts, checkpoint } = await verifyPage(page);
  assert.deepEqual([level, reason], ["proven", null]);
  assert.deepEqual([counts.verified, counts.failed, rows.size], [page.events.length, 0, page.events.length]);
  assert.equal(checkpoint.origin, page.trust.origin);
  assert.equal(checkpoint.cosignedBy.length, 1);
  assert.equal(checkpoint.time, checkpoint.cosignedBy[0].time);
  assert.match(checkpoint.time, /^20\d\d-.*Z$/);
  for (const event of page.events) {
    const { status, fields } = rows.get(event.id);
    assert.equal(status, "verified");
    const shown = plain(fields);
    for (const [name, value] of Object.entries(event)) {
      if (event.id !== numbersId || name !== "metadata") assert.deepEqual(shown[name], value, `${event.id} ${name}`);
    }
    assert.equal(shown.actor_id, event.actor.id);
    assert.equal(shown.resource_name, event.resource.name);
  }
});

test("erased values are shown as erased", async () => {
  const { fields } = await rowOf(page, erasedId);
  assert.deepEqual([fields.actor_name, fields.erased.columns.includes("actor_name")], [null, true]);
  assert.ok(fields.erased.metadata > 0 && fields.erased.targets.length > 0);
  assert.deepEqual(Object.keys(fields.targets[fields.erased.targets[0]]), ["type"]);
  const { fields: whole } = await rowOf(page, richId);
  assert.deepEqual(plain(whole.erased), { columns: [], metadata: 0, targets: [] });
});

test("numbers are shown as they were hashed", async () => {
  const { fields } = await rowOf(page, numbersId);
  assert.equal(String(fields.metadata.price), "1.10");
  assert.equal(String(fields.metadata.long), "123456789012345678901234567890");
});

test("what is trusted decides the level", async () => {
  const { trust, other, stranger } = page;
  const level = async (given) => (await verifyPage({ ...page, trust: given })).level;
  assert.equal(await level({ logKeys: trust.logKeys, witnessKeys: trust.witnessKeys }), "proven");
  assert.equal(await level({ origin: trust.origin, witnessKeys: trust.witnessKeys }), "proven");
  assert.equal(await level({ logKeys: trust.logKeys }), "signed");
  assert.equal(await level({ ...trust, witnessKeys: [stranger] }), "signed");
  // A witness cosigns many logs: its key alone names none.
  assert.equal(await level({ witnessKeys: trust.witnessKeys }), "consistent");
  assert.equal(await level({ origin: trust.origin }), "consistent");
  assert.equal(await level({}), "consistent");
  assert.equal((await verifyPage({ ...page, trust: undefined })).checkpoint, null);
  assert.equal(await level({ ...trust, origin: "other.example/log" }), "failed");
  assert.equal(await level({ ...trust, origin: undefined, logKeys: [other] }), "failed");
  assert.equal(await level({ ...trust, tenantId: "globex" }), "failed");
  assert.equal(await level({ ...trust, tenantId: null }), "failed");
  for (const wrong of [["x"], [5], {}, trust.witnessKeys, [trust.logKeys[0], trust.logKeys[0]]]) {
    assert.equal(await level({ ...trust, logKeys: wrong }), "failed", JSON.stringify(wrong));
  }
  assert.equal(await level({ ...trust, witnessKeys: trust.logKeys }), "failed");
});

test("the server's own lists of keys are not trusted", async () => {
  const { level } = await verifyPage({ ...page, trust: { tenantId: "acme" } });
  assert.equal(level, "consistent");
});

test("every character of a line that is another makes the row fail", async () => {
  for (const [id, step] of [[richId, 1], [erasedId, 3]]) {
    const line = lineOf(id);
    for (let at = 0; at < line.length; at += step) {
      const other = line[at] === "1" ? "2" : "1";
      const given = alone(id, (own, made) => {
        own.line = line.slice(0, at) + other + line.slice(at + 1);
        made.trust = {};
      });
      const { status } = await rowOf(given, id);
      assert.equal(status, "failed", `${at}: ${line.slice(at - 20, at + 20)}`);
    }
  }
});

test("every line of the page that is cut, doubled or longer fails", async () => {
  for (const id of idsOf(page)) {
    const line = lineOf(id);
    for (const wrong of [line.slice(0, -1), `${line}}`, ` ${line}`, `${line}\n`, line.replace("}", ""), "", null, 5, [], {}, `${line}${line}`]) {
      await fails(alone(id, (own) => (own.line = wrong)), id, String(wrong).slice(0, 40));
    }
  }
});

/** The disclosures of a line, without the brackets around them. */
const parts = (line) => [...line.split('"disclosures":[')[1].slice(0, -2).matchAll(/\["[0-9a-f]{32}","(?:[^"\\]|\\.)*",.*?\](?=,\["[0-9a-f]{32}"|$)/gs)].map(([part]) => part);
const withParts = (line, list) => `${line.split('"disclosures":[')[0]}"disclosures":[${list.join(",")}]}`;

test("each disclosure that is doubled, moved or changed fails, and one that is left out is erased", async () => {
  for (const id of some) {
    const line = lineOf(id);
    const list = parts(line);
    assert.equal(withParts(line, list), line);
    for (const at of list.keys()) {
      const put = (made) => alone(id, (own) => (own.line = withParts(line, made)));
      await fails(put([...list.slice(0, at), list[at], ...list.slice(at)]), id, "doubled");
      if (at > 0) await fails(put([...list.slice(0, at - 1), list[at], list[at - 1], ...list.slice(at + 1)]), id, "moved");
      const { status, fields } = await rowOf({ ...put(list.filter((_, n) => n !== at)), events: [{ id }] }, id);
      assert.equal(status, "verified");
      assert.equal(fields.erased.columns.length + fields.erased.metadata + fields.erased.targets.length > 0, true);
    }
  }
});

test("every member of the evidence that is another, or no more there, fails", async () => {
  const wrong = [undefined, null, true, 7, -1, 1.5, "x", "", [], {}, ["x"], { a: 1 }, [null], Number.MAX_SAFE_INTEGER];
  for (const id of some) {
    for (const name of ["line", "index", "proof"]) {
      for (const value of wrong) {
        const given = alone(id, (own) => (value === undefined ? delete own[name] : (own[name] = value)));
        if (value === page.evidence.events[id][name]) continue;
        await fails(given, id, `${name} ${JSON.stringify(value)}`);
      }
    }
    for (const value of wrong) await fails(alone(id, (_, made) => (made.evidence.events = { [id]: value })), id, `row ${JSON.stringify(value)}`);
  }
});

test("every proof that is another fails", async () => {
  for (const id of some) {
    const { proof, index } = page.evidence.events[id];
    for (const at of proof.keys()) {
      const flipped = proof[at].slice(0, 5) + (proof[at][5] === "A" ? "B" : "A") + proof[at].slice(6);
      await fails(alone(id, (own) => (own.proof[at] = flipped)), id, /root of the checkpoint/);
      await fails(alone(id, (own) => own.proof.splice(at, 1)), id, "one less");
      await fails(alone(id, (own) => own.proof.splice(at, 0, proof[at])), id, "one more");
    }
    await fails(alone(id, (own) => (own.index = index + 1)), id, "index");
    await fails(alone(id, (own) => own.proof.reverse()), id, "reversed");
    await fails(alone(id, (own) => (own.proof = Array(64).fill(proof[0]))), id, /malformed/);
    const another = page.evidence.events[idsOf(page).find((one) => one !== id)];
    await fails(alone(id, (own) => Object.assign(own, { proof: another.proof, index: another.index })), id, "another's");
  }
});

test("every character of the checkpoint that is another fails, or lowers the level", async () => {
  const id = richId;
  const note = page.evidence.checkpoint;
  for (let at = 0; at < note.length; at += 1) {
    const other = note[at] === "B" ? "C" : "B";
    const { level } = await rowOf(alone(id, (_, made) => (made.evidence.checkpoint = note.slice(0, at) + other + note.slice(at + 1))), id);
    // Of a line with another name or key id, nothing is known.
    const isUnknown = at > note.lastIndexOf("\u2014") && at < note.lastIndexOf(" ") + 7;
    assert.ok(level === "failed" || (isUnknown && level === "signed"), `${at} ${level}`);
  }
  for (const wrong of ["", "x", 5, {}, [], note.slice(0, -1), `${note}\n`, note.split("\n\n")[0], note + note]) {
    await fails(alone(id, (_, made) => (made.evidence.checkpoint = wrong)), id, JSON.stringify(wrong));
  }
  const [text, lines] = note.split("\n\n");
  const [log, witness] = lines.split("\n");
  await fails(alone(id, (_, made) => (made.evidence.checkpoint = `${text}\n\n${witness}\n`)), id, /not signed by a trusted key/);
  await fails(alone(id, (_, made) => (made.evidence.checkpoint = `${text}\n\n${log}\n${log}\n${witness}\n`)), id, /there twice/);
  assert.equal((await rowOf(alone(id, (_, made) => (made.evidence.checkpoint = `${text}\n\n${log}\n`)), id)).level, "signed");
  // An old checkpoint is as valid as it was: that it is old is not seen.
});

test("another root, and another log, by keys that sign anything", async () => {
  await fails(alone(richId, (_, made) => (made.evidence.checkpoint = page.wrongRoot)), richId, /root of the checkpoint/);
  await fails(alone(richId, (_, made) => (made.evidence.checkpoint = page.otherOrigin)), richId, /another log/);
});

test("without a checkpoint the page is consistent and no more", async () => {
  const given = changed((made) => {
    made.evidence.checkpoint = null;
    for (const own of Object.values(made.evidence.events)) Object.assign(own, { index: null, proof: null });
  });
  const { level, counts, checkpoint, reason } = await verifyPage(given);
  assert.deepEqual([level, counts.consistent, checkpoint], ["consistent", page.events.length, null]);
  assert.match(reason, /no checkpoint/);
  const { level: newer, counts: both } = await verifyPage(changed((made) => Object.assign(made.evidence.events[richId], { index: null, proof: null })));
  assert.deepEqual([newer, both.verified, both.consistent], ["consistent", page.events.length - 1, 1]);
});

test("no evidence at all is no evidence", async () => {
  for (const evidence of [undefined, null, {}, [], 5, "x", { events: null }, { events: [] }, { events: { __proto__: null } }]) {
    const { level, counts } = await verifyPage({ ...page, evidence });
    assert.deepEqual([level, counts.failed], ["failed", page.events.length]);
  }
  const { reason, fields } = await rowOf(alone(richId, (_, made) => (made.evidence.events = { [richId]: { unreadable: "event x does not match" } })), richId);
  assert.match(reason, /does not match/);
  assert.equal(fields, null);
});

test("an event in another's place fails", async () => {
  const [first, second] = idsOf(page);
  const swapped = changed(({ evidence: { events } }) => ([events[first], events[second]] = [events[second], events[first]]));
  await fails(swapped, first, /another event/);
  await fails({ ...page, events: [page.events[0], page.events[0]] }, first, /twice/);
  const foreign = changed((made) => Object.assign(made.evidence.events, made.foreign.events));
  const [id] = Object.keys(page.foreign.events);
  await fails({ ...foreign, events: [{ id }] }, id, /another tenant/);
});

test("an event that was not asked for fails", async () => {
  const event = page.events.find(({ id }) => id === richId);
  const good = [
    { actor_id: event.actor.id, action: event.action, resource: event.resource.type, resource_id: event.resource.id, limit: 25 },
    { action: `${event.action.split(".")[0]}.*`, from: event.created_at, to: event.created_at, tenant_id: "acme" },
    { action: "*", target_type: event.targets[0].type, target_id: event.targets[0].id, actor_id: "" },
    { action: `*${event.action.slice(-3)}`, from: event.created_at.slice(0, 10), to: event.created_at.slice(0, 10), from_date: "x" },
  ];
  for (const filters of good) assert.equal((await rowOf({ ...alone(richId), filters }, richId)).status, "verified", JSON.stringify(filters));
  const bad = [
    { actor_id: "somebody" }, { action: "other.*" }, { action: "x" }, { action: `${event.action}*x` }, { resource: "x" }, { resource_id: "x" },
    { session_id: "x" }, { tenant_id: "globex" }, { target_type: "nothing" }, { target_type: event.targets[0].type, target_id: "x" },
    { from: "2100-01-01" }, { to: "2000-01-01T00:00:00Z" }, { from: "2100-01-01T00:00:00+02:00" }, { target_id: "x" },
  ];
  for (const filters of bad) await fails({ ...alone(richId), filters }, richId, /asked for/);
  // What is erased may have been what was asked for.
  assert.equal((await rowOf({ ...alone(erasedId), filters: { target_type: "group", target_id: "g-1" } }, erasedId)).status !== "unchecked", true);
});

test("an answer that says something else than the document fails", async () => {
  for (const event of page.events) {
    for (const [name, value] of Object.entries(event)) {
      if (value === null || name === "id") continue;
      const others = typeof value === "string" || typeof value === "number" ? [`${value}x`] : Array.isArray(value) ? [[...value, { type: "x" }]] : [];
      if (name === "metadata") others.push({ ...value, more: 1 });
      for (const other of others) {
        const { status, fields } = await rowOf({ ...alone(event.id), events: [{ ...event, [name]: other }] }, event.id);
        const isErased = event.id === erasedId && (name === "metadata" || name === "targets");
        assert.equal(status, isErased ? "verified" : "failed", `${event.id} ${name}`);
        // What is rendered is the document's all the same.
        if (event.id !== numbersId) assert.deepEqual(plain(fields)[name], value);
      }
    }
    await fails({ ...alone(event.id), events: [{ ...event, actor: { ...event.actor, id: "x" } }] }, event.id, /actor.id/);
  }
});

/** The page's events of the lane that has most, without checkpoint and with the line of one changed. */
function lane(change) {
  const given = copy(page);
  given.evidence.checkpoint = null;
  const documents = idsOf(given).map((id) => ({ id, ...documentOf(given.evidence.events[id].line) }));
  const one = documents.filter((document) => document.lane === 0).sort((a, b) => a.seq - b.seq);
  given.events = one.map(({ id }) => ({ id }));
  for (const own of Object.values(given.evidence.events)) Object.assign(own, { index: null, proof: null });
  change(given, one);
  return verifyPage(given);
}

const sha256 = (text) => createHash("sha256").update(text).digest("hex");

test("a target that a page could not show fails", async () => {
  const line = lineOf(richId);
  const texts = JSON.parse(line).disclosures.map((one) => JSON.stringify(one)).filter((text) => line.includes(text));
  const old = texts.find((text) => JSON.parse(text)[1].startsWith("targets."));
  const [salt, path, { type }] = JSON.parse(old);
  for (const member of ['"id":{}', '"id":5', '"id":null', '"name":[]', '"metadata":"x"', '"metadata":[]', '"metadata":{}']) {
    const other = `["${salt}","${path}",{${member},"type":${JSON.stringify(type)}}]`;
    const made = forged(line, (text) => text.replace(sha256(old), sha256(other)), (rest) => rest.replace(old, other));
    const { status, reason } = await rowOf({ ...alone(richId, (own) => Object.assign(own, { line: made, index: null, proof: null })), events: [{ id: richId }] }, richId);
    assert.equal(`${status} ${/malformed/.test(reason)}`, member === '"metadata":{}' ? "consistent false" : "failed true", `${member} ${reason}`);
  }
});

test("links between the events of a lane are checked", async () => {
  assert.equal((await lane(() => {})).level, "consistent");
  const relinked = await lane(({ evidence: { events } }, one) => {
    const own = events[one[3].id];
    own.line = forged(own.line, (text) => text.replace(one[3].previous_event_hash, hashOf(events[one[0].id].line)));
  });
  assert.equal(relinked.level, "failed");
  const failed = [...relinked.rows].filter(([, row]) => /not linked/.test(row.reason ?? ""));
  assert.equal(failed.length, 3, "the forged one, the one before and the one after");
  const twice = await lane(({ evidence: { events }, events: shown }, one) => {
    const id = "0195d3a0-6c1e-7c3a-9f00-00000000dead";
    events[id] = { ...events[one[2].id], line: forged(events[one[2].id].line, (text) => text.replace(one[2].id, id)) };
    shown.push({ id });
  });
  assert.match(twice.rows.get("0195d3a0-6c1e-7c3a-9f00-00000000dead").reason, /one place/);
  const late = await lane(({ evidence: { events } }, one) => {
    const own = events[one.at(-1).id];
    own.line = forged(own.line, (text) => text.replace(one.at(-1).created_at, "2000-01-01T00:00:00.000000Z"));
  });
  assert.match([...late.rows.values()].find((row) => row.status === "failed").reason, /earlier time/);
});

test("hashed texts that have two meanings fail", async () => {
  const forms = [
    ['"lane":0', '"lane":0.0'], ['"lane":0', '"lane":0e0'], ['"lane":0', '"lane":-0'], ['"lane":0', '"lane":"0"'], ['"lane":0', '"lane":00'],
    ['"action":', '"action":"a","action":'], ['"v":1', '"v":1,"w":2,"v":1'], ['"v":1', '"v":2'], ['"v":1', '"v":1 '], ['"tenant_id":', '"tenant_id":5,"tenant_id":'],
    ['"action":"', '"action":"\\u0061'], ['"action":"', '"action":"\\/'], ['"action":"', '"action":"\\uD800'], ['"action":"', '"action":"\ud800'],
    [/"created_at":"....-../, '"created_at":"2026-13'], [/"occurred_at":"....-..-../, '"occurred_at":"2026-01-32'],
    ['"action":"', '"action":"\u0001'], ['{"action":', '{"__proto__":{"v":1},"action":5,"x":'], ['"recorded_by":"', '"recorded_by":["'],
  ];
  for (const [from, to] of forms) {
    const given = { ...alone(richId, (own) => Object.assign(own, { line: forged(own.line, (text) => text.replace(from, to)), index: null, proof: null })), events: [{ id: richId }] };
    await fails(given, richId, `${from} ${to}`);
  }
  const unknown = alone(richId, (own) => Object.assign(own, { line: forged(own.line, (text) => text.replace(/}$/, ',"z":{}}')), index: null, proof: null }));
  const { status, reason } = await rowOf({ ...unknown, events: [{ id: richId }] }, richId);
  assert.equal(status, "consistent", `a member that is not known is hashed and passed over: ${reason}`);
});

test("whatever is given, it does not throw", async () => {
  let seed = 7;
  const random = (n) => ((seed = (seed * 48271) % 2147483647), seed % n);
  const some = (depth) => {
    const kinds = [null, undefined, 0, -1, 1e400, NaN, "", "x", "\ud800", true, page.evidence.checkpoint, lineOf(richId), richId];
    if (depth > 0 && random(3) === 0) return Array.from({ length: random(4) }, () => some(depth - 1));
    if (depth > 0 && random(2) === 0) {
      const names = ["id", "events", "line", "index", "proof", "checkpoint", "unreadable", "__proto__", "toString", "actor", richId, "origin", "logKeys", "tenantId"];
      return Object.fromEntries(Array.from({ length: random(5) }, () => [names[random(names.length)], some(depth - 1)]));
    }
    return kinds[random(kinds.length)];
  };
  for (let n = 0; n < 3000; n += 1) {
    const events = random(3) ? [{ id: richId }, some(2)] : some(3);
    const { level, rows } = await verifyPage({ events, evidence: random(3) ? { events: { [richId]: some(2) }, checkpoint: some(0) } : some(3), trust: some(2), filters: some(2) ?? {} });
    assert.notEqual(level, "proven");
    assert.equal(rows.size <= (Array.isArray(events) ? events.length : 0), true);
  }
  const deep = `{"document":${"[".repeat(100000)}`;
  await fails(alone(richId, (own) => (own.line = `${deep},"event_hash":"","disclosures":[]}`)), richId, /deeply|canonical|object/);
  await fails(alone(richId, (own) => (own.line = own.line.replace('"disclosures":[', `"disclosures":[${"[".repeat(100000)}`))), richId, /deeply|canonical/);
});

test("without crypto.subtle nothing is checked", async () => {
  const crypto = Object.getOwnPropertyDescriptor(globalThis, "crypto");
  Object.defineProperty(globalThis, "crypto", { value: {}, configurable: true });
  try {
    const { level, reason, counts, rows, checkpoint } = await verifyPage(page);
    assert.deepEqual([level, counts.unchecked, checkpoint], ["unavailable", page.events.length, null]);
    assert.match(reason, /not https/);
    assert.equal(rows.get(richId).fields.id, richId);
    const { level: empty, rows: bad } = await verifyPage({ ...page, evidence: null });
    assert.deepEqual([empty, bad.get(richId).fields], ["unavailable", null]);
  } finally {
    Object.defineProperty(globalThis, "crypto", crypto);
  }
});
