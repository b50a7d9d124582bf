-- The feed of events, with the caller's rights.

CREATE FUNCTION immutable.changes(tenant_id text DEFAULT NULL, after jsonb DEFAULT NULL, "limit" integer DEFAULT 100)
RETURNS jsonb LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_sort = off SET enable_seqscan = off
AS 'MODULE_PATHNAME', 'immutable_changes';
COMMENT ON FUNCTION immutable.changes(text, jsonb, integer) IS
  'The events after a position, for consumers that must see each once: {"data": [...], "position", "has_more"}; pass position as after in the next call, NULL begins. In a tenant nothing is held back, and the position, {lane: "seq:hash"}, holds on standbys and after a restore. Without a tenant (NULL) the order is that of the recording transactions, held back by the oldest one that is still writing in the cluster (status() has changes_held_for), and the position is {"xact", "id", "tenant_id", "hash"}, which does not survive a restore by pg_dump. hash is the first 8 bytes of the event_hash. limit is 1 to 10,000. Raises 22023 for a limit outside or an after that is no position, 55000 for a position whose events the log does not have, or not to be seen by the caller: it was set back, by a failover that lost events, a recovery or a restore. On a standby, or a copy that a subscription feeds, an event that is not there may yet arrive, and is no error';
