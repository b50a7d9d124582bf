-- What track() and track_batch() call at the shard of a tenant, where Citus has distributed the log. The
-- functions run with the caller's rights and do no more than those.

CREATE FUNCTION immutable.shard_track(here bigint, tenant_id text, event text, on_conflict text, session text[])
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_shard_track';
COMMENT ON FUNCTION immutable.shard_track(bigint, text, text, text, text[]) IS
'Part of immutable.track() in a distributed log: records one event at the shard of its tenant.
- here: not used; it makes Citus call the function at the shard.
- tenant_id: the tenant whose shard it is.
- event, on_conflict: as in immutable.track(payload).
- session: the values of the settings of the client''s session, in the order of the columns.
Returns what immutable.track() returns, as text.
Raises the errors of immutable.track(payload); 22004 for an argument that is NULL, and 55000 if the
shard is not on this node.';

CREATE FUNCTION immutable.shard_track_batch(here bigint, tenant_id text, events text[], session text[])
RETURNS text[] LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_shard_track_batch';
COMMENT ON FUNCTION immutable.shard_track_batch(bigint, text, text[], text[]) IS
'Part of immutable.track_batch() in a distributed log: records events of one tenant at its shard.
- here, tenant_id, session: as in immutable.shard_track().
- events: JSON texts of the events.
Returns the answer to each event, as immutable.track_batch() returns it, as text.
Raises the errors of immutable.track_batch(); 22004 for an argument that is NULL, and 55000 if the
shard is not on this node.';
