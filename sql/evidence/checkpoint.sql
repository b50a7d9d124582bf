-- Checkpoints: the head of the tree, signed.

CREATE PROCEDURE immutable.checkpoint(INOUT note text DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_checkpoint';
COMMENT ON PROCEDURE immutable.checkpoint(text) IS
'Appends every committed event to the tree, commits, and signs the head of the tree.
It commits several times if there is much to append, and holds no lock that an insert waits for. The
first call makes the tree: it verifies the log, records the result as immutable.tree_begun, and makes
the key that signs. If nothing is new, it writes nothing and returns the same note.
- note: pass NULL; returns the checkpoint (C2SP tlog-checkpoint) as a signed note, or the newest one
  that was stored if immutable.sign_checkpoints is off.
Raises 25001 in a transaction block and above READ COMMITTED, 25006 on a standby or a subscriber,
0A000 for a distributed log, 55000 for a log without events and where the log may not sign, and XX001
if the stored tree is damaged.';

CREATE FUNCTION immutable.tree_head()
RETURNS text LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_tree_head';
COMMENT ON FUNCTION immutable.tree_head() IS
'Returns the head of the tree as the text of a checkpoint (C2SP tlog-checkpoint), without signatures.
A signer outside of the database signs it, and immutable.add_checkpoint() takes the result.
Raises 55000 before the first checkpoint, and XX001 if the head is damaged.';

CREATE FUNCTION immutable.verifier_key()
RETURNS text LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_verifier_key';
COMMENT ON FUNCTION immutable.verifier_key() IS
'Returns the verifier key (C2SP signed-note) of the log''s newest key that signs, or NULL if none does.
Its name is the log''s origin.
Raises 55000 before the first checkpoint.';

CREATE FUNCTION immutable.add_checkpoint(note text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_add_checkpoint';
COMMENT ON FUNCTION immutable.add_checkpoint(text) IS
'Stores a checkpoint that was signed outside of the database.
Of its lines those of the log''s keys are kept, beside those that are there: immutable.add_cosignature()
takes those of witnesses.
- note: the signed note (C2SP signed-note), with three lines of text as immutable.tree_head() gives them.
Raises 22004 for NULL, 22023 for a note that is malformed, has more lines, is of another origin or not
signed by a key of the log, 55000 if the tree does not extend it, and XX001 if the stored tree is damaged.';

CREATE FUNCTION immutable.add_log_key(vkey text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_add_log_key';
COMMENT ON FUNCTION immutable.add_log_key(text) IS
'Registers the key of a signer outside of the database.
It is recorded as immutable.log_key_announced. Its checkpoints are accepted once a checkpoint of the
key before covers that event.
- vkey: a verifier key (C2SP signed-note) of type 0x01 whose name is the log''s origin.
Raises 22004 for NULL, 22023 for another key, 42710 for a key that the log has, and 55000 before the
first checkpoint.';

CREATE FUNCTION immutable.rotate_log_key(overlap_days integer DEFAULT 30)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_rotate_log_key';
COMMENT ON FUNCTION immutable.rotate_log_key(integer) IS
'Makes a new key that signs checkpoints, and returns its verifier key.
It is recorded as immutable.log_key_announced. The next checkpoint covers that event under the old
key; those after it are signed by both. A key that somebody may have stolen is not rotated: call
immutable.begin_incarnation().
- overlap_days: for how many days the old key signs beside the new one, from 0 to 3650.
Raises 22023 for another number of days, and 55000 before the first checkpoint, while a key is
announced, and where immutable.log_key_file has the keys.';

CREATE FUNCTION immutable.resume(note text)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_resume';
COMMENT ON FUNCTION immutable.resume(text) IS
'Lets the log sign on this server, after a restore, a promotion or a recovery that lost nothing.
It is recorded as immutable.signing_resumed.
- note: the newest checkpoint that is known outside of this server, for example a witness''s.
Raises 22004 for NULL, 22023 for a note that is malformed, of another origin or not signed by the log,
55000 if the tree does not extend it or a private key is not here, and XX001 if the stored tree is
damaged.';

CREATE FUNCTION immutable.begin_incarnation(reason text, note text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_begin_incarnation';
COMMENT ON FUNCTION immutable.begin_incarnation(text, text) IS
'Gives the log another name and another key in its checkpoints, and returns the name.
It is for a log that lost events, whose key is lost or was stolen, or that is a copy of another one.
The tree goes on. It is recorded as immutable.incarnation_begun, with the old name, size and root.
- reason: why, in 1 to 4,096 bytes.
- note: the newest checkpoint of the old name that is known outside; the event keeps it.
Raises 22004, 22023 or 22001 for a reason that is NULL, empty or too long, 22023 for a note of another
origin, and 55000 before the first checkpoint.';

CREATE FUNCTION immutable.report_checkpoint(note text)
RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_report_checkpoint';
COMMENT ON FUNCTION immutable.report_checkpoint(text) IS
'Compares a checkpoint that a witness has with the tree, and stops signing if the tree does not extend it.
A stop is recorded as immutable.fork_reported.
- note: the checkpoint as a signed note.
Returns whether the tree extends it.
Raises 22004 for NULL, 22023 for a note that is malformed, of another origin or not signed by the log,
and XX001 if the stored tree is damaged.';

CREATE VIEW immutable.checkpoints AS
  SELECT n.origin, n.size, n.root, n.signed_at,
    n.note || coalesce(pg_catalog.string_agg(c.line, '' ORDER BY c.cosigned_at, c.vkey), '') AS note,
    pg_catalog.array_remove(pg_catalog.array_agg(c.witness ORDER BY c.cosigned_at, c.vkey), NULL) AS cosigned_by,
    pg_catalog.max(c.cosigned_at) AS cosigned_at
  FROM immutable.tree_notes n LEFT JOIN immutable.tree_cosignatures c ON c.origin = n.origin AND c.size = n.size
  WHERE immutable.require_scope('verify')
  GROUP BY n.origin, n.size;
COMMENT ON VIEW immutable.checkpoints IS
  'The signed checkpoints that are kept, with their cosignatures: the newest ones, and all that were '
  'cosigned';
COMMENT ON COLUMN immutable.checkpoints.origin IS 'The log''s name in the checkpoint';
COMMENT ON COLUMN immutable.checkpoints.size IS 'How many events it covers';
COMMENT ON COLUMN immutable.checkpoints.root IS 'The root of the tree of this size (RFC 6962), 32 bytes';
COMMENT ON COLUMN immutable.checkpoints.signed_at IS 'When it was signed, by the server''s clock';
COMMENT ON COLUMN immutable.checkpoints.note IS 'The signed note (C2SP signed-note) with all cosignatures';
COMMENT ON COLUMN immutable.checkpoints.cosigned_by IS 'Names of the witnesses that cosigned it';
COMMENT ON COLUMN immutable.checkpoints.cosigned_at IS 'Time of the newest cosignature, by the witness''s clock';
