// The Merkle tree of RFC 6962 with SHA-256: where a proof of inclusion leads to.

import { joined, sha256 } from "./bytes.js";

/** The most hashes that a proof can have: one for each level of a tree of 2^63 entries. */
export const MAX_PROOF = 63;

/**
 * The hash of the leaf of an event: SHA-256(0x00 || event_hash).
 * @param {Uint8Array} eventHash
 */
export function leafHash(eventHash) {
  return sha256(joined([0], eventHash));
}

/**
 * The root that a proof leads to from a leaf (RFC 9162, 2.1.3.2); null if the proof does not have as
 * many hashes as index and size need.
 * @param {Uint8Array<ArrayBuffer>} leaf
 * @param {bigint} index
 * @param {bigint} size
 * @param {Uint8Array[]} proof
 * @returns {Promise<Uint8Array<ArrayBuffer>|null>}
 */
export async function rootByInclusion(leaf, index, size, proof) {
  if (index < 0n || index >= size || proof.length > MAX_PROOF) return null;
  let [number, last, hash] = [index, size - 1n, leaf];
  for (const sibling of proof) {
    if (last === 0n) return null;
    if ((number & 1n) === 1n || number === last) {
      hash = await sha256(joined([1], sibling, hash));
      while ((number & 1n) === 0n && number !== 0n) {
        number >>= 1n;
        last >>= 1n;
      }
    } else {
      hash = await sha256(joined([1], hash, sibling));
    }
    number >>= 1n;
    last >>= 1n;
  }
  return last === 0n ? hash : null;
}
