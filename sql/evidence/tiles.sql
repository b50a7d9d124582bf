-- Repair of the stored tree, and the tree as a file.

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

CREATE FUNCTION immutable.export_tree(size bigint DEFAULT NULL)
RETURNS SETOF text LANGUAGE c STABLE PARALLEL UNSAFE ROWS 10000 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_export_tree';
COMMENT ON FUNCTION immutable.export_tree(bigint) IS
'Returns the tree as lines of JSON, which immutable-verify compares with an export of the events.
The lines say up to which event the tree covers each lane, and give the leaf hashes in their order.
- size: the size of the checkpoint that is compared; NULL for the whole tree.
Raises 55000 before the first checkpoint, 22023 for a negative size and one above that of the tree, and
XX001 if the stored tree is damaged.';
