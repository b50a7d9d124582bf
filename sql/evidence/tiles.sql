-- Repair of the stored tree, and the tree as a file or piece by piece.

CREATE FUNCTION immutable.rebuild_tiles()
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_rebuild_tiles';
COMMENT ON FUNCTION immutable.rebuild_tiles() IS
'Makes damaged tiles of the tree again from the events.
The order of the events is taken from immutable.tree_runs, and the leaves of pruned events from the stored
tiles. Nothing is changed unless they have the root of the tree''s head. It reads every event that the tree covers, and no checkpoint is made
meanwhile. It is recorded as immutable.tiles_rebuilt.
Returns how many tiles were made again.
Raises 25006 on a standby and in a read-only transaction, 55000 before the first checkpoint, and XX001
if the events are not those that the tree covers, or if the leaf of a pruned event is damaged.';

CREATE FUNCTION immutable.export_tree(size bigint DEFAULT NULL)
RETURNS SETOF text LANGUAGE c STABLE PARALLEL UNSAFE ROWS 10000 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_export_tree';
COMMENT ON FUNCTION immutable.export_tree(bigint) IS
'Returns the tree as lines of JSON, which immutable-verify compares with an export of the events.
The lines say up to which event the tree covers each lane, and give the leaf hashes in their order.
- size: the size of the checkpoint that is compared; NULL for the whole tree.
Raises 55000 before the first checkpoint, 22023 for a negative size and one above that of the tree, and
XX001 if the stored tree is damaged.';

CREATE FUNCTION immutable.tile(level integer, number bigint, width integer DEFAULT 256)
RETURNS bytea LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_tile';
COMMENT ON FUNCTION immutable.tile(integer, bigint, integer) IS
'Returns a tile of the tree as a transparency log publishes it (C2SP tlog-tiles).
What was once returned for a tile and a width never changes.
- level: the level, from 0: 0 has the leaf hashes, 1 the roots of the full tiles of level 0.
- number: the number of the tile in its level, from 0.
- width: how many hashes, from 1: 256 for a full tile, less for a partial one.
Returns so many hashes of 32 bytes.
Raises P0002 if the tree has no such tile or not so many hashes of it, 22023 for a level, a number or a
width that no tile has, 22004 for NULL, 55000 before the first checkpoint, XX001 if the stored tree is
damaged, 42501 for a proof without the scope verify or of one tenant, and 28000 for a proof that is
missing or refused.';

CREATE FUNCTION immutable.entries(number bigint, width integer DEFAULT 256)
RETURNS bytea LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_entries';
COMMENT ON FUNCTION immutable.entries(bigint, integer) IS
'Returns the entries of a tile of level 0 as a bundle (C2SP tlog-tiles): the hashes of its events.
An entry is an event''s hash of 32 bytes, and two bytes with its length stand before it. The hashes
were compared with the tile.
- number: the number of the bundle, from 0. It has the entries of the tile with this number.
- width: how many entries, from 1 to 256.
Raises P0002 if the tree has no such bundle or not so many entries of it, or if one of the events was
pruned, 22023 for a number or a width
that no bundle has, 22004 for NULL, 55000 before the first checkpoint, XX001 if the events are not those
that the tree covers, 42501 for a proof without the scope verify or of one tenant, and 28000 for a proof
that is missing or refused.';
