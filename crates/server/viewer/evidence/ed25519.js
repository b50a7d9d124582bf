// Ed25519 (RFC 8032) by WebCrypto. Keys and signatures that implementations judge differently are
// refused, as the other verifiers of the project refuse them.

import { subtle } from "./bytes.js";

const P = 2n ** 255n - 19n;

/** The y of the points of small order: whoever has such a key, everybody can sign for it. */
const SMALL = [
  0n,
  1n,
  P - 1n,
  2707385501144840649318225287225658788936804267575313519463743609750303402022n,
  55188659117513257062467267217118295137698188065244968500265048394206261417927n,
];

/**
 * @param {bigint} base
 * @param {bigint} exponent
 * @returns {bigint} base^exponent modulo P
 */
function power(base, exponent) {
  let result = 1n;
  for (let square = base % P; exponent > 0n; exponent >>= 1n, square = (square * square) % P) {
    if (exponent & 1n) result = (result * square) % P;
  }
  return result;
}

const D = (P - ((121665n * power(121666n, P - 2n)) % P)) % P;

/**
 * The y of a point; null if 32 bytes are not its one text, or it is of small order.
 * @param {Uint8Array} bytes
 * @returns {bigint|null}
 */
function soundY(bytes) {
  let y = 0n;
  for (const byte of Array.from(bytes).reverse()) y = (y << 8n) | BigInt(byte);
  y &= 2n ** 255n - 1n;
  return bytes.length !== 32 || y >= P || SMALL.includes(y) ? null : y;
}

/**
 * Whether 32 bytes are the one text of a point that is not of small order.
 * @param {Uint8Array} bytes
 * @returns {boolean}
 */
export function isSoundPoint(bytes) {
  const y = soundY(bytes);
  if (y === null) return false;
  // x^2 = (y^2 - 1) / (d y^2 + 1) must be a square.
  const square = (y * y) % P;
  const x = ((square - 1n + P) * power((D * square + 1n) % P, P - 2n)) % P;
  return x === 0n || power(x, (P - 1n) / 2n) === 1n;
}

/** @type {boolean|null} */
let known = null;

/** The example of RFC 8032, 7.1, test 1, shows whether the browser has Ed25519. */
const TEST_KEY = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const TEST_SIGNATURE =
  "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";

/** @param {string} text */
function unhex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (digits) => parseInt(digits, 16));
}

/**
 * Whether this browser can check Ed25519 signatures.
 * @returns {Promise<boolean>}
 */
export async function isAvailable() {
  if (subtle() === null) return false;
  known ??= await verifies(unhex(TEST_KEY), unhex(TEST_SIGNATURE), new Uint8Array(0)).catch(() => false);
  return known;
}

/**
 * @param {Uint8Array<ArrayBuffer>} key
 * @param {Uint8Array<ArrayBuffer>} signature
 * @param {Uint8Array<ArrayBuffer>} message
 */
async function verifies(key, signature, message) {
  const engine = subtle();
  if (engine === null) return false;
  const imported = await engine.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
  return engine.verify({ name: "Ed25519" }, imported, signature, message);
}

/**
 * Whether the key signed the message. {@link isAvailable} says whether that can be asked here.
 * @param {Uint8Array<ArrayBuffer>} key
 * @param {Uint8Array<ArrayBuffer>} signature
 * @param {Uint8Array<ArrayBuffer>} message
 * @returns {Promise<boolean>}
 */
export async function verify(key, signature, message) {
  if (signature.length !== 64 || soundY(signature.subarray(0, 32)) === null) return false;
  try {
    return await verifies(key, signature, message);
  } catch {
    return false;
  }
}
