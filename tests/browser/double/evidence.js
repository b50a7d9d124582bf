// A test double of the module that verifies: it takes events as they are shown, and says of them what the test asked for.
// The tests of states, languages and 10,000 events use it; tests of verification use the module itself.

export class JsonNumber {}

/** @param {unknown} value @param {string} [indent] */
export function jsonText(value, indent = '') {
  return JSON.stringify(value, null, indent);
}

/** @param {any} page */
export async function verifyPage({ events, evidence }) {
  const { level = 'consistent', failed = {}, checkpoint = null } = evidence?.double ?? {};
  const status = { proven: 'verified', signed: 'verified', consistent: 'consistent', unavailable: 'unchecked' }[level];
  const rows = new Map(events.map((event) => [event.id, failed[event.id]
    ? { status: 'failed', reason: failed[event.id], fields: event }
    : { status, reason: null, fields: event }]));
  const anyFailed = events.some((event) => failed[event.id]);
  return { level: anyFailed ? 'failed' : level, reason: null, rows, checkpoint };
}
