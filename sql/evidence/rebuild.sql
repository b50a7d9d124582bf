-- Repair of the stored tree.

CREATE FUNCTION immutable.rebuild_tiles()
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_rebuild_tiles';
COMMENT ON FUNCTION immutable.rebuild_tiles() IS
'Makes damaged tiles of the tree again from the events.
The order of the events is taken from immutable.tree_runs. Nothing is changed unless the events have
the root of the tree''s head. It reads every event that the tree covers, and no checkpoint is made
meanwhile. It is recorded as immutable.tiles_rebuilt.
Returns how many tiles were made again.
Raises 25006 on a standby and in a read-only transaction, 55000 before the first checkpoint, and XX001
if the events are not those that the tree covers.';
