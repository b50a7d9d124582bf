/**
 * A client of the immutable audit log's HTTP server, for Node and browsers.
 *
 * @module
 */

export { ImmutableClient } from "./src/client.js";
export { ImmutableError } from "./src/error.js";
export { PendingEvent } from "./src/pending-event.js";

/** @typedef {import("./src/types.js").EventPayload} EventPayload */
/** @typedef {import("./src/types.js").EventAnswer} EventAnswer */
/** @typedef {import("./src/types.js").AuditEvent} AuditEvent */
/** @typedef {import("./src/types.js").EventFilters} EventFilters */
/** @typedef {import("./src/types.js").Target} Target */
/** @typedef {import("./src/types.js").CallOptions} CallOptions */
