// Writes events as CSV (RFC 4180), from verified fields alone.

import { jsonText } from './evidence/index.js';

/** @param {unknown} value */
const json = (value) => jsonText(/** @type {import('./evidence/json.js').JsonValue} */ (value));

/** @type {[string, (fields: import('./types.js').EventFields) => unknown][]} */
const COLUMNS = [
  ['id', (e) => e.id], ['actor_id', (e) => e.actor?.id], ['actor_name', (e) => e.actor?.name], ['actor_type', (e) => e.actor?.type],
  ['action', (e) => e.action], ['action_category', (e) => e.action_category], ['resource', (e) => e.resource?.type],
  ['resource_id', (e) => e.resource?.id], ['resource_name', (e) => e.resource?.name],
  ['targets', (e) => (e.targets?.length ? json(e.targets) : null)], ['metadata', (e) => (e.metadata && Object.keys(e.metadata).length ? json(e.metadata) : null)],
  ['tenant_id', (e) => e.tenant_id], ['session_id', (e) => e.session_id], ['ip_address', (e) => e.ip_address],
  ['ip_country', (e) => e.ip_country], ['ip_city', (e) => e.ip_city], ['user_agent', (e) => e.user_agent],
  ['idempotency_key', (e) => e.idempotency_key], ['version', (e) => e.version], ['event_hash', (e) => e.integrity?.event_hash],
  ['previous_event_hash', (e) => e.integrity?.previous_event_hash], ['occurred_at', (e) => e.occurred_at], ['created_at', (e) => e.created_at],
];

/**
 * A cell. With `spreadsheet`, what a spreadsheet would run as a formula gets an apostrophe in front, also behind
 * what may end a cell there.
 * @param {unknown} value
 * @param {boolean} spreadsheet
 */
function cell(value, spreadsheet) {
  if (value === null || value === undefined) return '';
  let text = String(value);
  // Programs in other languages take a semicolon or a tab for the end of a cell, and wide signs for signs.
  if (spreadsheet) text = text.replace(/(^|[;\t\r\n])(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])/g, "$1'");
  return /[",\r\n]/.test(text) || text !== text.trim() ? `"${text.replaceAll('"', '""')}"` : text;
}

/** @param {boolean} spreadsheet */
export function header(spreadsheet) {
  // Spreadsheets take a file for UTF-8 only if it begins with this mark.
  return `${spreadsheet ? '\ufeff' : ''}${COLUMNS.map(([name]) => name).join(',')},check\r\n`;
}

/**
 * A line. An event that failed its check has its id and the word `failed`, and no value.
 * @param {import('./types.js').Row} row
 * @param {boolean} spreadsheet
 */
export function line(row, spreadsheet) {
  const { fields, status, id } = row;
  const cells = COLUMNS.map(([name, of]) => (fields && status !== 'failed' ? cell(of(fields), spreadsheet) : name === 'id' ? cell(id, spreadsheet) : ''));
  return `${cells.join(',')},${status}\r\n`;
}
