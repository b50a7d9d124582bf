-- The feed of events. It runs with the caller's rights.

CREATE FUNCTION immutable.changes(tenant_id text DEFAULT NULL, after jsonb DEFAULT NULL, "limit" integer DEFAULT 100)
RETURNS jsonb LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_sort = off SET enable_seqscan = off
AS 'MODULE_PATHNAME', 'immutable_changes';
COMMENT ON FUNCTION immutable.changes(text, jsonb, integer) IS
'Returns the events after a position, for consumers that must see each event once.
- tenant_id: the tenant; an empty text is for the events without a tenant, NULL for all events.
- after: position of the answer before; NULL begins at the first event.
- limit: the most events, from 1 to 10,000. An answer ends earlier with the event that passes 16 MB.
Returns {"data": [...], "position", "has_more"}. For one tenant, position is {lane: "seq:hash"}, and
is valid on standbys and after a restore. For all events it is {"xact", "id", "tenant_id", "hash"},
the order is that of the recording transactions, the oldest transaction that still writes in the
cluster holds events back (immutable.status() says for how long), and the position is not valid
after a restore by pg_dump. hash is the first 8 bytes of the event_hash in hex.
Raises 22023 for another limit and for what is no position, and 55000 for a position whose event the
log does not have or the caller does not see, as after a failover that lost events, a recovery or a
restore (on a standby or a subscriber, a missing event may still arrive and is no error), 28000 for a
viewer token that is refused, and 0A000 for all events of a distributed log.';

CREATE FUNCTION immutable.shard_feed(here bigint, tenant_id text, after text, most bigint, of_actor text)
RETURNS text LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_sort = off SET enable_seqscan = off
AS 'MODULE_PATHNAME', 'immutable_shard_feed';
COMMENT ON FUNCTION immutable.shard_feed(bigint, text, text, bigint, text) IS
'Part of immutable.changes() in a distributed log: returns the next events of a tenant, as JSON.
- here: is of no interest.
- tenant_id: the tenant, whose shard is read.
- after: the position after which the events come, as JSON; NULL is the beginning.
- most: the most events.
- of_actor: the events of this actor alone; NULL is for all.
Raises 55000 if the shard is not on this node or the position is none of this log, 22023 for what is no
position and for a number that is out of bounds, and 28000 for a viewer token that is refused.';
