-- Pages of events. The functions run with the caller's rights. An index gives the rows of a page in
-- order. A plan that is kept for any arguments must not expect few rows and sort them, or read the
-- whole table; so the functions make sorting and sequential scans expensive while a statement is
-- planned. JIT compilation is off because such costs would start it.

CREATE FUNCTION immutable.get_event(id uuid, tenant_id text DEFAULT NULL)
RETURNS jsonb LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_get_event';
COMMENT ON FUNCTION immutable.get_event(uuid, text) IS
'Returns the event with this id as {"data": event}.
- id: the event''s id.
- tenant_id: the event''s tenant; needed only if events of several tenants have this id.
Returns NULL if the caller sees no such event.
Raises 21000 if events of several tenants have this id and tenant_id is not given, and 28000 for a
viewer token that is refused.';

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
'Returns a page of the events that pass every filter given.
- actor_id, resource, resource_id, session_id, target_type, target_id: the event''s value, or that of
  one of its targets, is this.
- action: the event''s action is this one; * in it stands for any text.
- tenant_id: the event belongs to this tenant; an empty text finds the events without a tenant.
- search: a part of actor_name, action, resource_name or metadata, compared as immutable.fold()
  returns it. Ids are not searched.
- from_date, to_date: inclusive bounds of created_at. to_date => now() includes what this
  transaction has recorded.
- cursor: next_cursor or previous_cursor of another page, with the same filters and order.
- limit: the most events of the page, from 1 to 100.
- order: ''desc'', the newest first, or ''asc''.
- count: ''auto'' gives the total; ''none'' leaves it out.
Returns {"data": [...], "pagination": {"has_more", "next_cursor", "previous_cursor", "total",
"total_relation"}}. total is exact (total_relation is "eq") where that is cheap: for all events of a
tenant, and where at most immutable.max_exact_total entries and a tenth as many pages of the
database have to be read; otherwise it is an estimate ("estimate"). In order ''asc'' the last page has
a next_cursor too, from which a later call goes on; immutable.changes() is the feed that leaves out
no event.
Raises 22023 for another limit, order or count, for an action with a comma, and for a cursor that is
no cursor of these filters and this order, 54000 for a page that is larger than a jsonb can be, and
28000 for a viewer token that is refused.';

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
'Returns the events that pass every filter given, as rows of immutable.events.
The arguments are those of immutable.get_events(), without count; limit is from 1 to 10,000.
Raises 22023 for another limit or order, for an action with a comma, and for a cursor that is no
cursor of these filters and this order, XX001 for an event that cannot be read, and 28000 for a
viewer token that is refused.';
