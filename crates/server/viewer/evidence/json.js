// A strict reader of canonical JSON (docs/hash-format.md). What it accepts has one meaning and one text:
// members are in order, none is there twice, and numbers stay the texts that were hashed. JSON.parse
// would take the last of two members and round 1.10 to 1.1.

import { refuse } from "./bytes.js";

/** A number, as the text that was hashed. */
export class JsonNumber {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    Object.freeze(this);
  }

  toString() {
    return this.text;
  }

  /** For JSON.stringify(): a number where the text is that of one, else the text. */
  toJSON() {
    return String(Number(this.text)) === this.text ? Number(this.text) : this.text;
  }
}

/** @typedef {null|boolean|string|JsonNumber|JsonValue[]|{[name: string]: JsonValue}} JsonValue */

/**
 * Whether a value is an object, and not an array or a number.
 * @param {unknown} value
 * @returns {value is {[name: string]: JsonValue}}
 */
export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof JsonNumber);
}

/** What canonical JSON writes in a string with an escape. */
const SHORT = /** @type {{[char: string]: string}} */ ({
  '"': '"',
  "\\": "\\",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
});

/** Reads canonical JSON from a place in a text. */
export class Reader {
  /**
   * @param {string} text
   * @param {number} at where it begins
   * @param {number} depth how many levels of objects and arrays there may be
   */
  constructor(text, at, depth) {
    this.text = text;
    this.at = at;
    this.depth = depth;
  }

  /**
   * Refuses the text at this place.
   * @param {string} why
   * @returns {never}
   */
  fail(why) {
    refuse(`${why}, at character ${this.at + 1}`);
  }

  /** @returns {boolean} whether nothing follows */
  isAtEnd() {
    return this.at === this.text.length;
  }

  /**
   * Whether the text goes on with a token, and moves behind it if so.
   * @param {string} token
   * @returns {boolean}
   */
  skip(token) {
    const is = this.text.startsWith(token, this.at);
    if (is) this.at += token.length;
    return is;
  }

  /** @param {string} token */
  expect(token) {
    if (!this.skip(token)) this.fail("not canonical JSON");
  }

  /** @returns {string} */
  string() {
    if (this.text[this.at] !== '"') this.fail("a string is missing");
    let value = "";
    let from = this.at + 1;
    for (let at = from; ; at += 1) {
      const char = this.text[at];
      if (char === undefined) this.fail("the text ends in a string");
      if (char === '"') {
        this.at = at + 1;
        return value + this.text.slice(from, at);
      }
      if (char < " ") this.fail("a control character in a string");
      if (char === "\\") {
        const [read, length] = this.#escape(at);
        value += this.text.slice(from, at) + read;
        at += length - 1;
        from = at + 1;
      }
    }
  }

  /**
   * @param {number} at
   * @returns {[string, number]} what the escape stands for, and its length
   */
  #escape(at) {
    const short = SHORT[this.text[at + 1] ?? ""];
    if (short !== undefined) return [short, 2];
    // What has a short form is written with it.
    const digits = /^\\u(00(?:0[0-7bef]|1[0-9a-f]))$/.exec(this.text.slice(at, at + 6));
    if (digits === null) this.fail("an escape that canonical JSON does not have");
    return [String.fromCharCode(parseInt(digits[1] ?? "", 16)), 6];
  }

  /** @returns {JsonNumber} */
  number() {
    const number = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
    number.lastIndex = this.at;
    const found = number.exec(this.text);
    if (found === null) this.fail("not canonical JSON");
    this.at += found[0].length;
    return new JsonNumber(found[0]);
  }

  /**
   * Reads an object. `member` reads the value of each name.
   * @param {(name: string) => void} member
   */
  object(member) {
    this.expect("{");
    this.#begin();
    let before = null;
    while (!(before === null && this.skip("}"))) {
      const name = this.string();
      // Strings are compared by their UTF-16 code units, as canonical JSON sorts them.
      if (before !== null && name <= before) this.fail("members are out of order, or one is there twice");
      before = name;
      this.expect(":");
      member(name);
      if (this.skip("}")) break;
      this.expect(",");
    }
    this.depth += 1;
  }

  /**
   * Reads an array. `element` reads each of its values.
   * @param {() => void} element
   */
  array(element) {
    this.expect("[");
    this.#begin();
    if (!this.skip("]")) {
      do element();
      while (this.skip(","));
      this.expect("]");
    }
    this.depth += 1;
  }

  #begin() {
    this.depth -= 1;
    if (this.depth < 0) this.fail("nested too deeply");
  }

  /**
   * Reads a value of any kind.
   * @returns {JsonValue}
   */
  value() {
    const char = this.text[this.at];
    if (char === '"') return this.string();
    if (char === "{") {
      // Without a prototype, a member named __proto__ is one like others.
      const members = /** @type {{[name: string]: JsonValue}} */ (Object.create(null));
      this.object((name) => {
        members[name] = this.value();
      });
      return members;
    }
    if (char === "[") {
      const values = /** @type {JsonValue[]} */ ([]);
      this.array(() => void values.push(this.value()));
      return values;
    }
    if (this.skip("null")) return null;
    if (this.skip("true")) return true;
    if (this.skip("false")) return false;
    return this.number();
  }
}

/**
 * Writes a value as JSON for people: numbers are the texts that were hashed.
 * @param {unknown} value
 * @param {string} indent what each level is indented by; "" for one line
 * @returns {string}
 */
export function jsonText(value, indent = "") {
  return write(value, indent, "");
}

/**
 * @param {unknown} value
 * @param {string} indent
 * @param {string} margin
 * @returns {string}
 */
function write(value, indent, margin) {
  if (value instanceof JsonNumber) return value.text;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const inner = margin + indent;
  const isArray = Array.isArray(value);
  const space = indent === "" ? "" : " ";
  const items = isArray
    ? value.map((item) => write(item, indent, inner))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}:${space}${write(item, indent, inner)}`);
  const [open, close] = isArray ? "[]" : "{}";
  if (items.length === 0) return `${open}${close}`;
  if (indent === "") return `${open}${items.join(",")}${close}`;
  return `${open}\n${inner}${items.join(`,\n${inner}`)}\n${margin}${close}`;
}
