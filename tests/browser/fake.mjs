// A fake of GET /api/v1/events: filters, cursors, totals, as the server has them, over events that are made up.

const PEOPLE = [
  ['user_8f3k2', 'Sarah Chen'], ['user_3m7p1q', 'Marcus Rivera'], ['user_91xk0', 'Aïcha Benali'], ['user_5d2w8', 'Jonas Weber'], ['user_7q4z3', 'Priya Natarajan'],
];
const ACTIONS = [
  ['document.created', 'document', 'doc_418', 'Q4 Financial Report'], ['document.shared', 'document', 'doc_418', 'Q4 Financial Report'], ['project.archived', 'project', 'proj_4a9f2c', 'Q3 Marketing Campaign'],
  ['task.completed', 'task', 'task_7b2e9d', 'Design landing page mockup'], ['member.invited', 'team', 'team_5', 'Operations'], ['api_key.revoked', 'api_key', 'key_22', 'Billing import'],
  ['invoice.exported', 'invoice', 'inv_2031', 'Invoice 2031'], ['login.succeeded', 'session', null, null], ['role.changed', 'user', 'user_3m7p1q', 'Marcus Rivera'], ['document.deleted', 'document', 'doc_377', 'Draft: hiring plan'],
];

const hex = (n) => (n * 2654435761 >>> 0).toString(16).padStart(8, '0').repeat(8);

/** Event number n of a log whose newest event is number 0. */
export function event(n, now = Date.now()) {
  const [action, type, id, name] = ACTIONS[(n * 7 + (n >> 3)) % ACTIONS.length];
  const [actorId, actorName] = PEOPLE[(n * 3 + (n >> 2)) % PEOPLE.length];
  const time = new Date(now - 40_000 - n * 431_000 - (n * 37 % 400) * 1000).toISOString().replace('Z', '847Z');
  const system = action === 'api_key.revoked';
  return {
    id: `0195d3a0-6c1e-7c3a-9f00-${String(1e12 - n).padStart(12, '0')}`, tenant_id: 'org_acme',
    actor: system ? { id: 'rotation-job', name: null, type: 'system' } : { id: actorId, name: actorName, type: 'user' },
    action, action_category: action.startsWith('login') ? 'security' : null, resource: { type, id, name },
    targets: action === 'task.completed' ? [{ type: 'project', id: 'proj_4a9f2c', name: 'Q3 Marketing Campaign' }, { type: 'user', id: 'user_3m7p1q', name: 'Marcus Rivera' }] : action === 'document.shared' ? [{ type: 'team', id: 'team_5', name: 'Operations' }] : [],
    metadata: action === 'login.succeeded' ? { method: 'passkey', mfa: true } : action.startsWith('document') ? { folder: 'reports/2026', pages: 12 + n % 9, labels: ['finance', 'internal'] } : {},
    session_id: system ? null : `sess_${hex(n % 17).slice(0, 8)}`, ip_address: `203.0.113.${n % 200}`, ip_country: 'DE', ip_city: 'Hamburg', user_agent: 'Mozilla/5.0 (Macintosh) Firefox/141.0',
    idempotency_key: null, version: null, integrity: { event_hash: hex(n + 1), previous_event_hash: hex(n + 2), lane: 0, seq: 5000 - n }, occurred_at: time, created_at: time,
  };
}

/** A number of events, newest first. */
export function events(count, now = Date.now()) {
  return Array.from({ length: count }, (_, n) => event(n, now));
}

const like = (pattern, value) => new RegExp(`^${pattern.split('*').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('.*')}$`, 's').test(value ?? '');

function passes(query, e) {
  const is = (name, value) => !query.get(name) || query.get(name) === value;
  const target = (t) => is('target_type', t.type) && is('target_id', t.id);
  const search = query.get('search')?.toLowerCase();
  return is('actor_id', e.actor?.id) && is('resource', e.resource?.type) && is('resource_id', e.resource?.id) && is('session_id', e.session_id)
    && (!query.get('action') || like(query.get('action'), e.action))
    && (!(query.get('target_type') || query.get('target_id')) || e.targets.some(target))
    && (!search || [e.actor?.name, e.action, e.resource?.name, JSON.stringify(e.metadata)].some((text) => text?.toLowerCase().includes(search)))
    && (!query.get('from') || e.created_at >= query.get('from')) && (!query.get('to') || e.created_at <= query.get('to'));
}

/** The answer to a query over these events, newest first. */
export function answer(query, all, evidence = {}) {
  const found = all.filter((e) => passes(query, e));
  const limit = Number(query.get('limit') ?? 25);
  const at = query.get('cursor') ? found.findIndex((e) => e.id === atob(query.get('cursor'))) + 1 : 0;
  const data = found.slice(at, at + limit);
  const more = at + limit < found.length;
  return { data, pagination: { has_more: more, next_cursor: more ? btoa(data.at(-1).id) : null, total: found.length, total_relation: 'eq' }, evidence: { double: evidence } };
}
