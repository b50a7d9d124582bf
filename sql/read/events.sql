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

-- Where the log is distributed, these run at a tenant's shard, and the functions above put together what they return.
-- They run with the rights of whoever calls them, too.
CREATE FUNCTION immutable.shard_page(
  here bigint, tenant_id text,
  actor_id text, action text, resource text, resource_id text, of_tenant text, session_id text, target_type text,
  target_id text, search text, from_date bigint, to_date bigint,
  of_actor text, limited boolean, after bigint, after_id uuid, after_tenant text, oldest_first boolean, most bigint, counted boolean)
RETURNS text[] LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_sort = off SET enable_hashagg = off SET enable_seqscan = off
AS 'MODULE_PATHNAME', 'immutable_shard_page';
COMMENT ON FUNCTION immutable.shard_page(bigint, text, text, text, text, text, text, text, text, text, text, bigint, bigint,
    text, boolean, bigint, uuid, text, boolean, bigint, boolean) IS
'Part of immutable.get_events() in a distributed log: returns a page of what the caller sees in one shard.
Calling it by hand shows nothing that get_events() does not show.
- here: is of no interest.
- tenant_id: the tenant whose shard is read.
- actor_id, action, resource, resource_id, of_tenant, session_id, target_type, target_id, search: the filters.
- from_date, to_date: bounds of created_at, in microseconds since 2000.
- of_actor: the events of this actor alone; NULL is for all.
- limited: whether the page is for somebody who sees less than the caller.
- after, after_id, after_tenant: the place after which the page begins, with the tenant in hex; NULL is the
  beginning.
- oldest_first: the order.
- most: the most events of the page; one more is returned if there is one.
- counted: whether the total is counted.
Returns the total, whether it is exact, and each event with its place, as texts.
Raises 55000 if the shard is not on this node, 22023 for a number that is out of bounds, and 28000 for a
viewer token that is refused.';

CREATE FUNCTION immutable.shard_found(
  here bigint, tenant_id text,
  actor_id text, action text, resource text, resource_id text, of_tenant text, session_id text, target_type text,
  target_id text, search text, from_date bigint, to_date bigint,
  of_actor text, limited boolean, after bigint, after_id uuid, after_tenant text, oldest_first boolean, most bigint)
RETURNS SETOF immutable.events LANGUAGE c STABLE PARALLEL UNSAFE ROWS 25 SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_sort = off SET enable_hashagg = off SET enable_seqscan = off
AS 'MODULE_PATHNAME', 'immutable_shard_found';
COMMENT ON FUNCTION immutable.shard_found(bigint, text, text, text, text, text, text, text, text, text, text, bigint, bigint,
    text, boolean, bigint, uuid, text, boolean, bigint) IS
'Part of immutable.find_events() in a distributed log: returns what the caller finds in one shard.
The arguments are those of immutable.shard_page().
Raises 55000 if the shard is not on this node, 22023 for a number that is out of bounds, XX001 for an event
that cannot be read, and 28000 for a viewer token that is refused.';

CREATE FUNCTION immutable.shard_event(here bigint, tenant_id text, id uuid, of_tenant text, of_actor text)
RETURNS text[] LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_shard_event';
COMMENT ON FUNCTION immutable.shard_event(bigint, text, uuid, text, text) IS
'Part of immutable.get_event() in a distributed log: returns the events with an id in one shard, as JSON.
- here: is of no interest.
- tenant_id: the tenant whose shard is read.
- id: the id.
- of_tenant, of_actor: the events of this tenant and this actor alone; NULL is for all.
Raises 55000 if the shard is not on this node, and 28000 for a viewer token that is refused.';
