/**
 * The shapes of requests and answers. Nothing here runs.
 *
 * @module
 */

/**
 * Another resource that an event concerns.
 *
 * @typedef {object} Target
 * @property {string} type
 * @property {string | null} [id]
 * @property {string | null} [name]
 * @property {Record<string, unknown> | null} [metadata]
 */

/**
 * An event as it is sent. Names with underscores are those of the server; each may be written in camelCase too.
 *
 * @typedef {object} EventFields
 * @property {string | null} [actor_name]
 * @property {string | null} [actor_type]
 * @property {string | null} [action_category]
 * @property {string | null} [resource] Its type, which `resource_type` may say as well.
 * @property {string | null} [resource_type]
 * @property {string | number | null} [resource_id]
 * @property {string | null} [resource_name]
 * @property {Target[] | null} [targets]
 * @property {Record<string, unknown> | null} [metadata]
 * @property {string | null} [tenant_id]
 * @property {string | null} [session_id]
 * @property {string | null} [idempotency_key]
 * @property {number | null} [version]
 * @property {string | Date | null} [occurred_at]
 * @property {string | null} [ip_address]
 * @property {string | null} [ip_country]
 * @property {string | null} [ip_city]
 * @property {string | null} [user_agent]
 */

/** @typedef {EventFields & Camel<EventFields> & ({actor_id: string | number} | {actorId: string | number}) & {action: string}} EventPayload */

/**
 * The same members, with names in camelCase.
 *
 * @template T
 * @typedef {{[K in keyof T as CamelName<K & string>]?: T[K]}} Camel
 */

/**
 * @template {string} S
 * @typedef {S extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<CamelName<Tail>>}` : S} CamelName
 */

/**
 * What the server says of one event. `status` is `duplicate` if the idempotency key was there already: the id is
 * then that of the first event, and a warning says what differs. In a batch it may be `error`, with the reason beside it.
 *
 * @typedef {object} EventAnswer
 * @property {string} id
 * @property {"queued" | "duplicate"} status
 * @property {{field: string, message: string}[]} [warnings]
 */

/**
 * An event of a batch that was not recorded.
 *
 * @typedef {object} RefusedEvent
 * @property {null} id
 * @property {"error"} status
 * @property {string} error
 * @property {string} message
 * @property {Record<string, string[]>} [errors]
 */

/** @typedef {{events: (EventAnswer | RefusedEvent)[]}} BatchAnswer */

/**
 * An event as it is read. `actor_name`, `actor_type`, `resource_id` and so on repeat what is in `actor` and `resource`.
 *
 * @typedef {object} AuditEvent
 * @property {string} id
 * @property {{id: string, name: string | null, type: string | null}} actor
 * @property {string} action
 * @property {string | null} action_category
 * @property {{type: string | null, id: string | null, name: string | null}} resource
 * @property {Target[]} targets
 * @property {Record<string, any> | null} metadata
 * @property {string | null} tenant_id
 * @property {string | null} session_id
 * @property {string | null} ip_address
 * @property {string | null} ip_country
 * @property {string | null} ip_city
 * @property {string | null} idempotency_key
 * @property {number | null} version
 * @property {{event_hash: string | null, previous_event_hash: string | null}} integrity
 * @property {string | null} occurred_at
 * @property {string} created_at
 * @property {string} actor_id
 * @property {string | null} actor_name
 * @property {string | null} actor_type
 * @property {string | null} resource_type
 * @property {string | null} resource_id
 * @property {string | null} resource_name
 */

/**
 * @typedef {{has_more: true, next_cursor: string, total: number} | {has_more: false, next_cursor: null, total: number}} Pagination
 */

/** @typedef {{data: AuditEvent[], pagination: Pagination}} EventPage */

/**
 * @typedef {object} TimeRange
 * @property {string | Date} [from] The first instant that counts.
 * @property {string | Date} [to] The last instant that counts.
 */

/**
 * @typedef {object} EventFilterFields
 * @property {string | number} [actor_id]
 * @property {string} [action] An action, or a part of one that ends with `*`.
 * @property {string} [resource]
 * @property {string | number} [resource_id]
 * @property {string} [tenant_id]
 * @property {string} [session_id]
 * @property {string} [target_type]
 * @property {string} [target_id]
 * @property {string} [search]
 * @property {string} [cursor]
 * @property {number} [limit]
 * @property {"asc" | "desc"} [order]
 */

/** @typedef {EventFilterFields & Camel<EventFilterFields> & TimeRange} EventFilters */

/**
 * @typedef {object} ExportFilterFields
 * @property {string | number} [actor_id]
 * @property {string} [action]
 * @property {string} [resource]
 * @property {string} [tenant_id]
 * @property {string} [session_id]
 * @property {string} [search]
 */

/** @typedef {ExportFilterFields & Camel<ExportFilterFields> & TimeRange} ExportFilters */

/** @typedef {TimeRange & {limit?: number}} VerifyRange */

/** @typedef {{event_id: string, type: string, expected_hash: string | null, actual_hash: string | null}} Break */

/** @typedef {{data: {valid: boolean | null, events_checked: number, breaks: Break[]}}} Verdict */

/** @typedef {{token: string, viewer_token: string, expires_at: number}} ViewerToken */

/** @typedef {TimeRange & {rule_type?: string, ruleType?: string, limit?: number, cursor?: string}} AlertFilters */

/**
 * @typedef {object} Alert
 * @property {string} id
 * @property {string | null} rule_id
 * @property {string | null} rule_name
 * @property {string | null} rule_type
 * @property {string} reason
 * @property {string | null} event_id
 * @property {Record<string, any> | null} event
 * @property {string | null} notified_at
 * @property {string} triggered_at
 */

/** @typedef {{data: Alert[], pagination: Pagination}} AlertPage */

/** @typedef {"pending" | "processing" | "completed" | "failed"} ExportStatus */

/** @typedef {{id: string, data: {id: string, status: ExportStatus}}} ExportAnswer */

/**
 * @typedef {object} ExportState
 * @property {string} id
 * @property {ExportStatus} status
 * @property {Record<string, unknown>} filters
 * @property {number | null} total_rows
 * @property {number | null} file_size
 * @property {string | null} [download_url] Opens without a key, for a quarter of an hour.
 * @property {string | null} [error_message]
 * @property {string} created_at
 * @property {string | null} expires_at
 */

/**
 * @typedef {object} Anchor
 * @property {string} id
 * @property {string} merkle_root
 * @property {string | null} previous_anchor_hash
 * @property {number} events_count
 * @property {string | null} period_start
 * @property {string | null} period_end
 * @property {string} chain
 * @property {string} status
 * @property {string | null} tx_hash
 * @property {number | null} block_number
 * @property {string | null} explorer_url
 * @property {string} created_at
 */

/** @typedef {Anchor & {first_event_hash: string | null, last_event_hash: string | null}} AnchorDetails */

/** @typedef {{anchor_id: string, merkle_root: string, valid: boolean, chain_valid: boolean, expected: string | null, actual: string | null, events_count: number, tx_hash: string | null, explorer_url: string | null}} AnchorVerdict */

/**
 * Options of a single call.
 *
 * @typedef {object} CallOptions
 * @property {AbortSignal} [signal] Ends the call. It then rejects with the signal's reason, as fetch() does.
 * @property {number} [timeout] Milliseconds for this call, in the place of the client's.
 */

export {};
