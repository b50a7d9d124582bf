-- Witnesses. The database opens no connection: a program such as curl sends the text that
-- witness_request() returns, and the answer goes to add_cosignature().

CREATE FUNCTION immutable.add_witness(vkey text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_add_witness';
COMMENT ON FUNCTION immutable.add_witness(text) IS
'Makes a witness known, so that its cosignatures are stored.
The log records it as immutable.witness_added, with the key. Two keys of one name are allowed, as while
a witness changes its key. The list is the database''s own: whoever relies on a witness keeps its key
elsewhere, in a policy.
- vkey: the witness''s verifier key (C2SP signed-note) of type 0x04.
Raises 22023, with the reason, for a text that is no such key, 22004 for NULL, 42710 if the key is known
already, and 25006 on a standby and in a read-only transaction.';

CREATE FUNCTION immutable.remove_witness(vkey text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_remove_witness';
COMMENT ON FUNCTION immutable.remove_witness(text) IS
'Makes the log ignore what a witness signs from now on.
The log records it as immutable.witness_removed, with the key. Cosignatures that are stored stay.
- vkey: the witness''s verifier key.
Raises 42704 if the key is not known, 22023, with the reason, for a text that is no such key, 22004 for
NULL, and 25006 on a standby and in a read-only transaction.';

CREATE FUNCTION immutable.witness_request(old_size bigint DEFAULT 0, size bigint DEFAULT NULL)
RETURNS text LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_witness_request';
COMMENT ON FUNCTION immutable.witness_request(bigint, bigint) IS
'Returns what a witness is sent: the body of add-checkpoint (C2SP tlog-witness).
It has the old size, the proof of consistency, an empty line, and the checkpoint with the log''s own
signature. A witness that has another size answers with status 409 and that size: call again with it.
- old_size: the size that the witness has cosigned last; 0 if none, or if that is not known.
- size: the size of the checkpoint, one of immutable.checkpoints. NULL is for the newest.
Raises 22023 for an old_size above that of the checkpoint, and for a size of which no checkpoint is
kept, 22004 for an old_size that is NULL, 55000 before the first checkpoint, and XX001 if the tree or
the checkpoint is damaged.';

CREATE FUNCTION immutable.add_cosignature(size bigint, lines text)
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_add_cosignature';
COMMENT ON FUNCTION immutable.add_cosignature(bigint, text) IS
'Stores what witnesses answered to immutable.witness_request().
A line of a witness in immutable.witnesses must be a valid cosignature of the checkpoint, or nothing is
stored. Lines of others are ignored, with a NOTICE. Of several cosignatures by one key, the newest is
kept. The witness''s clock is not compared with the server''s here; immutable.status() does that.
- size: the size of the checkpoint that was sent.
- lines: the signature lines (C2SP signed-note), at most 100.
Returns how many lines were stored. A line that is not newer than the one that is there does not
count.
Raises 22023 for a line that is malformed or not valid, and for a size of which no checkpoint is kept,
22004 for an argument that is NULL, 55000 before the first checkpoint, 25006 on a standby and in a
read-only transaction, and XX001 if the checkpoint is damaged.';
