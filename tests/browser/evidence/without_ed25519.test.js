// A browser that hashes, and has no Ed25519: hashes and proofs are checked, signatures are not.

import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { test } from "node:test";
import { verifyPage } from "../../../crates/server/viewer/evidence/index.js";
import { changed, page } from "./page.js";

const subtle = {
  digest: (...given) => webcrypto.subtle.digest(...given),
  importKey: () => Promise.reject(new DOMException("Unrecognized name.", "NotSupportedError")),
};
Object.defineProperty(globalThis, "crypto", { value: { subtle }, configurable: true });

test("it says so, and finds what hashes show", async () => {
  const { level, reason, counts, checkpoint } = await verifyPage(page);
  assert.deepEqual([level, counts.consistent, checkpoint], ["unavailable", page.events.length, null]);
  assert.match(reason, /Ed25519/);
  const [{ id }] = page.events;
  const { level: wrong, rows } = await verifyPage(changed(({ evidence }) => (evidence.events[id].index += 1)));
  assert.deepEqual([wrong, rows.get(id).status], ["failed", "failed"]);
  assert.equal((await verifyPage({ ...page, trust: {} })).level, "consistent");
});
