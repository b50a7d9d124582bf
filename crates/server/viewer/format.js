// Times and numbers in the person's language.

/** Writes times in a language, and in the local time zone or UTC. */
export class Format {
  /**
   * @param {string} lang
   * @param {'local'|'utc'} zone
   */
  constructor(lang, zone) {
    const timeZone = zone === 'utc' ? 'UTC' : undefined;
    this.zone = zone;
    this.lang = lang;
    this.clock = new Intl.DateTimeFormat(lang, { timeZone, hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
    this.minute = new Intl.DateTimeFormat(lang, { timeZone, hour: '2-digit', minute: '2-digit', hourCycle: 'h23', timeZoneName: 'short' });
    this.dayOfYear = new Intl.DateTimeFormat(lang, { timeZone, day: 'numeric', month: 'short' });
    this.year = new Intl.DateTimeFormat('en', { timeZone, year: 'numeric' });
    this.day = new Intl.DateTimeFormat(lang, { timeZone, day: 'numeric', month: 'short', year: 'numeric' });
    this.full = new Intl.DateTimeFormat(lang, { timeZone, dateStyle: 'full', timeStyle: 'long' });
    this.ago = new Intl.RelativeTimeFormat(lang, { numeric: 'auto' });
    this.number = new Intl.NumberFormat(lang);
  }

  /**
   * Day and time to the second. The year stands there unless it is this one.
   * @param {Date} date
   */
  short(date) {
    const day = this.year.format(date) === this.year.format(new Date()) ? this.dayOfYear : this.day;
    return `${day.format(date)}, ${this.clock.format(date)}`;
  }

  /**
   * The time to the minute with its zone, and the day unless it is today.
   * @param {Date} date
   */
  moment(date) {
    const day = this.day.format(date);
    return day === this.day.format(new Date()) ? this.minute.format(date) : this.bound(date);
  }

  /**
   * A bound of a period: day and time to the minute.
   * @param {Date} date
   */
  bound(date) {
    return `${this.day.format(date)}, ${this.minute.format(date)}`;
  }

  /**
   * The whole truth: what the event says, to the microsecond, beneath the same in words.
   * @param {string} iso
   */
  exact(iso) {
    return `${this.full.format(new Date(iso))}\n${iso}`;
  }

  /**
   * How long ago it was, in the largest unit that fits.
   * @param {Date} date
   */
  relative(date) {
    const seconds = (date.getTime() - Date.now()) / 1000;
    const size = Math.abs(seconds);
    /** @type {[number, number, Intl.RelativeTimeFormatUnit][]} */
    const units = [[45, 1, 'second'], [2700, 60, 'minute'], [64_800, 3600, 'hour'], [2_246_400, 86_400, 'day'], [28_512_000, 2_629_746, 'month']];
    for (const [below, unit, name] of units) {
      if (size < below) return this.ago.format(Math.round(seconds / unit), name);
    }
    return this.ago.format(Math.round(seconds / 31_556_952), 'year');
  }

  /**
   * A duration of ISO 8601 in words, such as that of P1Y; empty for one that is none.
   * @param {string} iso
   */
  duration(iso) {
    const found = /^P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)D)?(?:T(\d+)(?:\.\d+)?S)?$/.exec(iso);
    const units = ['year', 'month', 'day', 'second'];
    return (found?.slice(1) ?? []).flatMap((value, at) => (Number(value) ? this.#unit(Number(value), units[at] ?? 'second') : [])).join(' ');
  }

  /**
   * @param {number} value
   * @param {string} unit
   */
  #unit(value, unit) {
    const [number, of] = unit === 'second' && value % 3600 === 0 ? [value / 3600, 'hour'] : [value, unit];
    return new Intl.NumberFormat(this.lang, { style: 'unit', unit: of, unitDisplay: 'long' }).format(number);
  }

  /** @param {number} value */
  count(value) {
    return this.number.format(value);
  }

  /**
   * An instant as a field for date and time shows it, in the zone of this format.
   * @param {string|undefined} iso
   */
  toField(iso) {
    if (!iso) return '';
    const date = new Date(iso);
    const shifted = this.zone === 'utc' ? date : new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
    return shifted.toISOString().slice(0, 16);
  }

  /**
   * The instant that such a field means; `last` is the end of its minute, because bounds are inclusive.
   * @param {string} value
   * @param {boolean} last
   */
  fromField(value, last) {
    if (!value) return undefined;
    const date = new Date(this.zone === 'utc' ? `${value}Z` : value);
    if (Number.isNaN(date.getTime())) return undefined;
    return last ? date.toISOString().replace(/:\d\d\.\d+Z$/, ':59.999999Z') : date.toISOString();
  }
}
