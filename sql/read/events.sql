-- Reading: pages of events, with the caller's rights.
--
-- The statements of pages are made so that an index gives their rows in order. A plan that is kept for any arguments must
-- not bet on few rows and sort them, or read the table: so sorting and scanning are made dear while one is planned (which
-- would make a just-in-time compiler believe that it pays).

CREATE FUNCTION immutable.canonical(event record)
RETURNS text LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'immutable_canonical';
COMMENT ON FUNCTION immutable.canonical(record) IS
  'The document of a row of events: the canonical JSON (RFC 8785, with jsonb''s exact numbers) whose SHA-256 is its event_hash. NULL for a row that has no valid document. Raises 42804 for a record that is no row of events';

CREATE FUNCTION immutable.get_event(id uuid, tenant_id text DEFAULT NULL)
RETURNS jsonb LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_get_event';
COMMENT ON FUNCTION immutable.get_event(uuid, text) IS
  'The event with this id as {"data": event}, NULL if none is visible to the caller. Raises 21000 if events of several tenants have it: then name the tenant';

CREATE FUNCTION immutable.get_events(
  actor_id text DEFAULT NULL, action text DEFAULT NULL, resource text DEFAULT NULL, resource_id text DEFAULT NULL,
  tenant_id text DEFAULT NULL, session_id text DEFAULT NULL, target_type text DEFAULT NULL, target_id text DEFAULT NULL,
  search text DEFAULT NULL, from_date immutable.day_or_time DEFAULT NULL,
  to_date immutable.day_or_time DEFAULT NULL,
  "cursor" text DEFAULT NULL, "limit" integer DEFAULT 25, "order" text DEFAULT 'desc', "count" text DEFAULT 'auto')
RETURNS jsonb LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_sort = off SET enable_hashagg = off SET enable_seqscan = off
AS 'MODULE_PATHNAME', 'immutable_get_events';
COMMENT ON FUNCTION immutable.get_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time, text, integer, text, text) IS
  'A page of the events that pass every filter given: {"data": [...], "pagination": {"has_more", "next_cursor", "previous_cursor", "total", "total_relation"}}. order is desc (newest first) or asc, in which next_cursor is there at the end too, to go on from when there is more (changes() is the feed without gaps). total is exact (total_relation eq) for all events of a tenant, by the numbers of its lanes, and where no more than immutable.max_exact_total entries and a tenth as many pages of the database have to be looked at; beyond it estimated (estimate); count none leaves it out. action is one action, and takes * for any text; search is a substring of actor name, action, resource name or metadata, compared as immutable.fold() has it (ids have filters of their own); from_date and to_date are inclusive bounds of created_at, a day without a time as a whole, and to_date => now() is until now, with what this transaction has recorded; tenant_id '''' means events without tenant; limit is 1 to 100. Raises 22023 for a limit outside, an action with a comma, an unknown order or count, or a cursor that is not ours or of other filters or another order';

CREATE FUNCTION immutable.find_events(
  actor_id text DEFAULT NULL, action text DEFAULT NULL, resource text DEFAULT NULL, resource_id text DEFAULT NULL,
  tenant_id text DEFAULT NULL, session_id text DEFAULT NULL, target_type text DEFAULT NULL, target_id text DEFAULT NULL,
  search text DEFAULT NULL, from_date immutable.day_or_time DEFAULT NULL,
  to_date immutable.day_or_time DEFAULT NULL,
  "cursor" text DEFAULT NULL, "limit" integer DEFAULT 25, "order" text DEFAULT 'desc')
RETURNS SETOF immutable.events LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 25
SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_sort = off SET enable_hashagg = off SET enable_seqscan = off AS 'MODULE_PATHNAME', 'immutable_find_events';
COMMENT ON FUNCTION immutable.find_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time, text, integer, text) IS
  'The rows of the events that pass every filter given; filters, cursor and order as in immutable.get_events(), limit 1 to 10,000. Raises 22023 for a limit outside, an action with a comma, an unknown order, or a cursor that is not ours or of other filters or another order';
