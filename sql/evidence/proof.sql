-- Proofs, as text that other software verifies. They run with the caller's rights, so that row
-- security decides of which events a role gets proofs; the tree is read with its owner's.

CREATE FUNCTION immutable.inclusion_proof(id uuid, tenant_id text DEFAULT NULL, size bigint DEFAULT NULL)
RETURNS text LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_inclusion_proof';
COMMENT ON FUNCTION immutable.inclusion_proof(uuid, text, bigint) IS
'Returns the proof that an event is in the tree of a checkpoint, as a C2SP tlog-proof file.
The leaf is SHA-256(0x00 || event_hash). The proof is verified before it is returned. It shows the
event''s index in the tree and the size of the log, and nothing else of the event.
- id: the event''s id.
- tenant_id: the event''s tenant; needed only if events of several tenants have this id.
- size: the size of the checkpoint, one of immutable.checkpoints. NULL is for the newest cosigned
  checkpoint that covers the event, or else the newest signed one.
Returns the text of the file, which ends with the checkpoint and the lines of its witnesses.
Raises P0002 if the caller sees no such event, or if it was pruned, 21000 if several events have this id
and tenant_id does not tell them apart, 55000 if no checkpoint covers the event yet, 22023 for a size of which no
checkpoint is kept, XX001 if the event, the tree or the checkpoint is damaged, and 28000 for a viewer
token that is refused.';

CREATE FUNCTION immutable.consistency_proof(old_size bigint, new_size bigint DEFAULT NULL)
RETURNS text LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_consistency_proof';
COMMENT ON FUNCTION immutable.consistency_proof(bigint, bigint) IS
'Returns the proof that one tree of the log is the beginning of another (RFC 6962, section 2.1.2).
It is verified before it is returned.
- old_size: the size of the smaller tree.
- new_size: the size of the larger tree; NULL is for that of immutable.tree_head().
Returns the hashes of the proof in base64, each on a line that ends with a line feed, as they stand in
the body of add-checkpoint (C2SP tlog-witness). The text is empty if old_size is 0 or new_size.
Raises 22004 for an old_size that is NULL, 22023 for a size below 0 or above that of the tree, and for
an old_size above new_size, 55000 before the first checkpoint, and XX001 if the tree is damaged.';
