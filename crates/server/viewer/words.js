// Finds the words of a language and fills them in.

import de from './lang/de.js';
import en from './lang/en.js';

/** @type {Record<string, import('./types.js').Words>} */
const LANGUAGES = { en, de };

/**
 * The language to speak: the one asked for, else the document's, else the browser's. Unknown ones become English.
 * The rest of the tag stays, because dates follow it: en-GB.
 * @param {string|null|undefined} asked
 */
export function chooseLanguage(asked) {
  const tag = asked || document.documentElement.lang || navigator.language || 'en';
  try {
    const [known] = Intl.getCanonicalLocales(tag);
    return known && LANGUAGES[known.slice(0, 2)] ? known : 'en';
  } catch {
    return 'en';
  }
}

/** The words of a language. */
export class Speech {
  /** @param {string} lang */
  constructor(lang) {
    this.lang = lang;
    this.words = LANGUAGES[lang.slice(0, 2)] ?? en;
    this.plural = new Intl.PluralRules(lang);
  }

  /**
   * A word or sentence, with values in the place of {names}. `count` chooses between singular and plural.
   * @param {keyof import('./types.js').Words} name
   * @param {Record<string, string>} [values]
   * @param {number} [count]
   */
  say(name, values = {}, count = 2) {
    const found = /** @type {string|{one: string, other: string}} */ (this.words[name]);
    const sentence = typeof found === 'string' ? found : this.plural.select(count) === 'one' ? found.one : found.other;
    return fill(sentence, values);
  }

  /**
   * Why a check failed, which the module that verifies says in English. What is not translated stays as it is.
   * @param {string} reason
   */
  reason(reason) {
    const known = Object.entries(this.words.reasons).find(([begin]) => reason.startsWith(begin));
    const sentence = known ? known[1] + reason.slice(known[0].length) : reason;
    return `${sentence.charAt(0).toLocaleUpperCase(this.lang)}${sentence.slice(1)}${/[.)]$/.test(sentence) ? '' : '.'}`;
  }
}

/**
 * @param {string} sentence
 * @param {Record<string, string>} values
 */
function fill(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);
}
