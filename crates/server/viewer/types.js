// Types that the modules share. No module loads this file; tsc reads it.

/**
 * An event as the viewer shows it: rebuilt from its verified document. A member is null or missing where the event has no value.
 * @typedef {object} EventFields
 * @property {string} id
 * @property {{id?: string|null, name?: string|null, type?: string|null}|null} [actor]
 * @property {string|null} [action]
 * @property {string|null} [action_category]
 * @property {{type?: string|null, id?: string|null, name?: string|null}|null} [resource]
 * @property {Target[]|null} [targets]
 * @property {Record<string, unknown>|null} [metadata]
 * @property {string|null} [tenant_id]
 * @property {string|null} [session_id]
 * @property {string|null} [ip_address]
 * @property {string|null} [ip_country]
 * @property {string|null} [ip_city]
 * @property {string|null} [user_agent]
 * @property {string|null} [idempotency_key]
 * @property {number|null} [version]
 * @property {{event_hash?: string|null, previous_event_hash?: string|null, lane?: number|null, seq?: number|string|null}|null} [integrity]
 * @property {string|null} [occurred_at]
 * @property {string|null} [created_at]
 * @property {{columns: string[], metadata: number, targets: number[]}} [erased] what was hashed and is not there any more
 */

/** @typedef {{type?: string|null, id?: string|null, name?: string|null, metadata?: Record<string, unknown>|null}} Target */

/** @typedef {'verified'|'consistent'|'failed'|'unchecked'} RowStatus */

/** @typedef {'proven'|'signed'|'consistent'|'failed'|'unavailable'} Level */

/** @typedef {{status: RowStatus, reason?: string|null, fields?: EventFields|null}} VerifiedRow */

/** @typedef {{origin: string, size: number|string, time: string|null, cosignedBy: {name: string, time: string}[]}} Checkpoint */

/** @typedef {{level: Level, reason?: string|null, rows: Map<string, VerifiedRow>, checkpoint: Checkpoint|null}} Verification */

/** @typedef {{origin?: string, logKeys?: string[], witnessKeys?: string[], tenantId?: string}} Trust */

/** @typedef {{id: string, created_at?: string}} ListedEvent */

/**
 * An answer of GET /api/v1/events.
 * @typedef {object} Page
 * @property {ListedEvent[]} data
 * @property {{has_more: boolean, next_cursor: string|null, total?: number|null, total_relation?: string}} pagination
 * @property {unknown} [evidence]
 */

/**
 * What GET /api/v1/retention says. Durations are those of ISO 8601.
 * @typedef {object} Retention
 * @property {string|null} [keep]
 * @property {string|null} [pruned_before]
 * @property {string|null} [pruned_at]
 */

/**
 * A row of the table. `checkpoint` is the one that covers it, if it is verified: pages that follow one another can have
 * different ones.
 * @typedef {VerifiedRow & {id: string, checkpoint?: Checkpoint|null}} Row
 */

/** @typedef {'actor_id'|'action'|'resource'|'resource_id'|'target_type'|'target_id'|'session_id'} FilterName */

/** @typedef {Partial<Record<FilterName, string>>} Filters */

/** @typedef {{preset: 'all'|'24h'|'7d'|'30d'|'custom', from?: string, to?: string}} Range */

/** @typedef {{filters: Filters, search: string, range: Range}} Query */

/** @typedef {typeof import('./lang/en.js').default} Words */

export {};
