// What the person asks for: filters, search and time. It becomes parameters of the API, and a part of the address.

/** @type {import('./types.js').FilterName[]} */
export const FILTERS = ['actor_id', 'action', 'resource', 'resource_id', 'target_type', 'target_id', 'session_id'];

const HOURS = { '24h': 24, '7d': 7 * 24, '30d': 30 * 24 };

/** @returns {import('./types.js').Query} */
export function emptyQuery() {
  return { filters: {}, search: '', range: { preset: 'all' } };
}

/** @param {import('./types.js').Query} query */
export function isEmpty(query) {
  return !query.search && query.range.preset === 'all' && Object.keys(query.filters).length === 0;
}

/**
 * The parameters of GET /api/v1/events.
 * @param {import('./types.js').Query} query
 * @returns {Record<string, string>}
 */
export function toParameters(query) {
  /** @type {Record<string, string>} */
  const parameters = { ...query.filters, order: 'desc' };
  if (query.search) parameters.search = query.search;
  const { preset, from, to } = query.range;
  if (preset === 'custom') {
    if (from) parameters.from = from;
    if (to) parameters.to = to;
  } else if (preset !== 'all') {
    parameters.from = new Date(Date.now() - HOURS[preset] * 3_600_000).toISOString();
  }
  return parameters;
}

/**
 * The query as a part of an address, without `#`.
 * @param {import('./types.js').Query} query
 */
export function toHash(query) {
  const hash = new URLSearchParams();
  for (const name of FILTERS) {
    const value = query.filters[name];
    if (value) hash.set(name, value);
  }
  if (query.search) hash.set('search', query.search);
  const { preset, from, to } = query.range;
  if (preset === 'custom') {
    if (from) hash.set('from', from);
    if (to) hash.set('to', to);
  } else if (preset !== 'all') {
    hash.set('range', preset);
  }
  return hash.toString();
}

/**
 * Reads what toHash() wrote. What it does not know it leaves out.
 * @param {string} hash
 * @returns {import('./types.js').Query}
 */
export function fromHash(hash) {
  const given = new URLSearchParams(hash.replace(/^[#?]/, ''));
  const query = emptyQuery();
  for (const name of FILTERS) {
    const value = given.get(name);
    if (value) query.filters[name] = value;
  }
  query.search = given.get('search') ?? '';
  const [from, to, preset] = [instant(given.get('from')), instant(given.get('to')), given.get('range')];
  if (from || to) query.range = { preset: 'custom', from, to };
  else if (preset === '24h' || preset === '7d' || preset === '30d') query.range = { preset };
  return query;
}

/** @param {string|null} value */
function instant(value) {
  return value && !Number.isNaN(Date.parse(value)) ? value : undefined;
}
