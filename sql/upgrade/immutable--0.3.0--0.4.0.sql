\echo Use "ALTER EXTENSION immutable UPDATE" to load this file. \quit

DO $$
BEGIN
  CREATE ROLE immutable_maintainer NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL;
END
$$;
COMMENT ON ROLE immutable_maintainer IS
  'May make checkpoints of the audit log and store their cosignatures, and may read no event';

-- sql/evidence/tree.sql
-- Evidence: the Merkle tree (RFC 6962) over all events, its checkpoints, and who cosigned them. The
-- tree's entry is the event's hash, so nothing here is personal and nothing changes on erasure.

CREATE TABLE immutable.tree (
  origin text COLLATE "C" NOT NULL,
  size bigint NOT NULL,
  root bytea NOT NULL,
  log_id uuid NOT NULL,
  begun_at timestamptz NOT NULL,
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
COMMENT ON TABLE immutable.tree IS
  'The Merkle tree over all events. It has one row, which the first checkpoint makes.';
COMMENT ON COLUMN immutable.tree.origin IS 'The log''s name in its checkpoints (C2SP tlog-checkpoint)';
COMMENT ON COLUMN immutable.tree.size IS 'How many events the tree covers';
COMMENT ON COLUMN immutable.tree.root IS 'The root of the tree of this size (RFC 6962), 32 bytes';
COMMENT ON COLUMN immutable.tree.log_id IS 'The identity of the log that the tree covers';
COMMENT ON COLUMN immutable.tree.begun_at IS 'When the first checkpoint was begun';
COMMENT ON COLUMN immutable.tree.singleton IS 'Always true, so that there is one row at most';

CREATE TABLE immutable.tree_runs (
  first_index bigint PRIMARY KEY,
  tenant_id text COLLATE "C" NOT NULL,
  lane smallint NOT NULL,
  first_seq bigint NOT NULL,
  count bigint NOT NULL
);
CREATE INDEX tree_runs_lane ON immutable.tree_runs (tenant_id, lane, first_seq);
COMMENT ON TABLE immutable.tree_runs IS
  'Where events are in the tree. A run is a number of consecutive events of a lane, which have '
  'consecutive indexes: the index of an event is first_index + seq - first_seq.';
COMMENT ON COLUMN immutable.tree_runs.first_index IS 'The index of the run''s first event in the tree, from 0';
COMMENT ON COLUMN immutable.tree_runs.tenant_id IS 'events.tenant_id';
COMMENT ON COLUMN immutable.tree_runs.lane IS 'events.lane';
COMMENT ON COLUMN immutable.tree_runs.first_seq IS 'The seq of the run''s first event';
COMMENT ON COLUMN immutable.tree_runs.count IS 'How many events the run has';

CREATE TABLE immutable.tree_tiles (
  level smallint,
  number bigint,
  root bytea NOT NULL,
  hashes bytea NOT NULL,
  PRIMARY KEY (level, number)
);
-- Hashes do not compress. Kept out of the row, they leave the roots close together.
ALTER TABLE immutable.tree_tiles ALTER hashes SET STORAGE EXTERNAL;
COMMENT ON TABLE immutable.tree_tiles IS
  'The full tiles of the tree (C2SP tlog-tiles): 256 hashes each. Hashes of an unfinished tile are in '
  'tree_chunks at level 0, and are the roots of the tiles below at any other level.';
COMMENT ON COLUMN immutable.tree_tiles.level IS 'The level, from 0: 0 has the leaf hashes, 1 the roots of the tiles of level 0';
COMMENT ON COLUMN immutable.tree_tiles.number IS 'The number of the tile in its level, from 0';
COMMENT ON COLUMN immutable.tree_tiles.root IS 'The root of the tile''s 256 hashes: the hash at position number of the next level';
COMMENT ON COLUMN immutable.tree_tiles.hashes IS '256 hashes of 32 bytes';

CREATE TABLE immutable.tree_chunks (
  first_index bigint PRIMARY KEY,
  hashes bytea NOT NULL
);
COMMENT ON TABLE immutable.tree_chunks IS
  'The leaf hashes that do not fill a tile yet, in the pieces in which checkpoints added them';
COMMENT ON COLUMN immutable.tree_chunks.first_index IS 'The index of the first leaf';
COMMENT ON COLUMN immutable.tree_chunks.hashes IS 'Leaf hashes of 32 bytes each';

CREATE TABLE immutable.tree_notes (
  origin text COLLATE "C",
  size bigint,
  root bytea NOT NULL,
  signed_at timestamptz NOT NULL,
  note text NOT NULL,
  PRIMARY KEY (origin, size)
);
COMMENT ON TABLE immutable.tree_notes IS
  'Checkpoints that are signed, without cosignatures: the newest one, and those that were cosigned or '
  'sent to a witness';
COMMENT ON COLUMN immutable.tree_notes.origin IS 'The origin that the checkpoint names';
COMMENT ON COLUMN immutable.tree_notes.size IS 'How many events it covers';
COMMENT ON COLUMN immutable.tree_notes.root IS 'The root of the tree of this size, 32 bytes';
COMMENT ON COLUMN immutable.tree_notes.signed_at IS 'When it was signed, by the server''s clock';
COMMENT ON COLUMN immutable.tree_notes.note IS 'The checkpoint with the log''s own signature lines (C2SP signed-note)';

CREATE TABLE immutable.tree_cosignatures (
  origin text COLLATE "C",
  size bigint,
  vkey text COLLATE "C",
  witness text COLLATE "C" NOT NULL,
  cosigned_at timestamptz NOT NULL,
  line text NOT NULL,
  PRIMARY KEY (origin, size, vkey)
);
COMMENT ON TABLE immutable.tree_cosignatures IS
  'What witnesses signed: that this was the largest tree they had seen, and that it extends all they '
  'had seen before (C2SP tlog-cosignature)';
COMMENT ON COLUMN immutable.tree_cosignatures.origin IS 'The origin that the checkpoint names';
COMMENT ON COLUMN immutable.tree_cosignatures.size IS 'How many events the checkpoint covers';
COMMENT ON COLUMN immutable.tree_cosignatures.vkey IS 'The witness''s verifier key';
COMMENT ON COLUMN immutable.tree_cosignatures.witness IS 'The witness''s name';
COMMENT ON COLUMN immutable.tree_cosignatures.cosigned_at IS 'When it was cosigned, by the witness''s clock';
COMMENT ON COLUMN immutable.tree_cosignatures.line IS 'The signature line';

CREATE TABLE immutable.witnesses (
  vkey text COLLATE "C" PRIMARY KEY,
  name text COLLATE "C" NOT NULL,
  added_at timestamptz NOT NULL,
  added_by text NOT NULL
);
COMMENT ON TABLE immutable.witnesses IS
  'The witnesses whose cosignatures are stored. The list is the database''s own: who relies on a '
  'witness keeps its key elsewhere.';
COMMENT ON COLUMN immutable.witnesses.vkey IS 'The verifier key (C2SP signed-note) of type 0x04';
COMMENT ON COLUMN immutable.witnesses.name IS 'The name in the verifier key';
COMMENT ON COLUMN immutable.witnesses.added_at IS 'When it was added';
COMMENT ON COLUMN immutable.witnesses.added_by IS 'session_user of the connection that added it';

CREATE TABLE immutable.log_keys (
  vkey text COLLATE "C" PRIMARY KEY,
  created_at timestamptz NOT NULL,
  announced_by uuid,
  signs_since timestamptz,
  signs_until timestamptz,
  overlap_days integer NOT NULL
);
COMMENT ON TABLE immutable.log_keys IS
  'The public keys of the log. A key that follows another one is first recorded as an event, and signs '
  'once a checkpoint of the key before covers that event.';
COMMENT ON COLUMN immutable.log_keys.vkey IS 'The verifier key (C2SP signed-note) of type 0x01; its name is the origin';
COMMENT ON COLUMN immutable.log_keys.created_at IS 'When the key was made or registered';
COMMENT ON COLUMN immutable.log_keys.announced_by IS
  'Id of the event that announces the key; NULL for the first key of an origin, which the event that '
  'begins the origin names';
COMMENT ON COLUMN immutable.log_keys.signs_since IS 'Since when the key signs; NULL while the announcing event is not covered';
COMMENT ON COLUMN immutable.log_keys.signs_until IS 'Until when the key signs beside the one that replaced it; NULL for no end';
COMMENT ON COLUMN immutable.log_keys.overlap_days IS 'For how many days the key before it signs too, once this one signs';

-- What follows is this server's own, and in no dump.

CREATE TABLE immutable.log_secrets (
  vkey text COLLATE "C" PRIMARY KEY,
  secret text NOT NULL
);
COMMENT ON TABLE immutable.log_secrets IS
  'The private keys that sign checkpoints, unless they are in the file of immutable.log_key_file. No '
  'role is granted anything on it, and no dump contains it.';
COMMENT ON COLUMN immutable.log_secrets.vkey IS 'log_keys.vkey';
COMMENT ON COLUMN immutable.log_secrets.secret IS 'The private key, as golang.org/x/mod/sumdb/note writes it';

CREATE TABLE immutable.tree_position (
  snapshot text COLLATE "C",
  compared_at timestamptz,
  system_identifier bigint NOT NULL,
  timeline integer NOT NULL,
  database oid NOT NULL,
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
COMMENT ON TABLE immutable.tree_position IS
  'How far the tree has got, and where the log may sign: one row, or none after a restore. No dump '
  'contains this table.';
COMMENT ON COLUMN immutable.tree_position.snapshot IS
  'Every event that this snapshot (pg_snapshot) shows is in the tree, or pending; NULL if all lanes have to '
  'be compared';
COMMENT ON COLUMN immutable.tree_position.compared_at IS 'When all lanes were compared with the tree last';
COMMENT ON COLUMN immutable.tree_position.system_identifier IS 'The cluster in which the log signs, as pg_control_system() gives it';
COMMENT ON COLUMN immutable.tree_position.timeline IS 'The timeline in which the log signs';
COMMENT ON COLUMN immutable.tree_position.database IS 'OID of the database in which the log signs';
COMMENT ON COLUMN immutable.tree_position.singleton IS 'Always true, so that there is one row at most';

CREATE TABLE immutable.tree_pending (
  tenant_id text COLLATE "C",
  lane smallint,
  seq bigint NOT NULL,
  why text NOT NULL,
  noted_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, lane)
);
COMMENT ON TABLE immutable.tree_pending IS
  'Lanes whose next event cannot be appended to the tree, because it does not follow the last one that '
  'is in it. immutable.status() names them. No dump contains this table.';
COMMENT ON COLUMN immutable.tree_pending.tenant_id IS 'events.tenant_id';
COMMENT ON COLUMN immutable.tree_pending.lane IS 'events.lane';
COMMENT ON COLUMN immutable.tree_pending.seq IS 'The seq of the event that was expected';
COMMENT ON COLUMN immutable.tree_pending.why IS 'What is wrong with it';
COMMENT ON COLUMN immutable.tree_pending.noted_at IS 'When this was found';

-- The order of events in the tree is nowhere else, and an old checkpoint is evidence.
SELECT pg_catalog.pg_extension_config_dump('immutable.tree', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.tree_runs', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.tree_tiles', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.tree_chunks', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.tree_notes', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.tree_cosignatures', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.witnesses', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.log_keys', '');

-- A table with row security and no policy shows its rows to its owner, to superusers and to roles
-- with BYPASSRLS alone.
ALTER TABLE immutable.tree ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.tree_runs ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.tree_tiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.tree_chunks ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.tree_notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.tree_cosignatures ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.witnesses ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.tree_position ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.tree_pending ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.log_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.log_secrets ENABLE ROW LEVEL SECURITY;

-- The extension's own code writes these tables past triggers. A dump that is restored comes through
-- them, and so does what somebody else tries.
CREATE FUNCTION immutable.guard_tree() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_guard_tree';
COMMENT ON FUNCTION immutable.guard_tree() IS
'Trigger that lets a dump restore the tables of the tree, and refuses every other change.
A dump is restored with immutable.restore = on. It runs BEFORE INSERT OR UPDATE OR DELETE on these
tables.
Raises 42501 for a change that does not come from a dump, and 55000 for a dump where the log signs
checkpoints.';
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree FOR EACH ROW EXECUTE FUNCTION immutable.guard_tree();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_runs FOR EACH ROW EXECUTE FUNCTION immutable.guard_tree();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_tiles FOR EACH ROW EXECUTE FUNCTION immutable.guard_tree();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_chunks FOR EACH ROW EXECUTE FUNCTION immutable.guard_tree();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_notes FOR EACH ROW EXECUTE FUNCTION immutable.guard_tree();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_cosignatures FOR EACH ROW EXECUTE FUNCTION immutable.guard_tree();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.witnesses FOR EACH ROW EXECUTE FUNCTION immutable.guard_tree();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.log_keys FOR EACH ROW EXECUTE FUNCTION immutable.guard_tree();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.log_secrets FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_position FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_pending FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.tree FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.tree_runs FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.tree_tiles FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.tree_chunks FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.tree_notes FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.tree_cosignatures FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.witnesses FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.log_keys FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.log_secrets FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.tree_position FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.tree_pending FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

-- A replication must not bring another server's position and keys.
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.log_secrets FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.log_secrets ENABLE REPLICA TRIGGER "~immutable_apply";
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_position FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.tree_position ENABLE REPLICA TRIGGER "~immutable_apply";
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.tree_pending FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.tree_pending ENABLE REPLICA TRIGGER "~immutable_apply";

-- A dump that row security would leave rows out of is refused.
CREATE POLICY all_or_none ON immutable.tree FOR SELECT USING (immutable.refuse_part_of('tree'));
COMMENT ON POLICY all_or_none ON immutable.tree IS 'Refuses roles that row security applies to';
CREATE POLICY all_or_none ON immutable.tree_runs FOR SELECT USING (immutable.refuse_part_of('tree_runs'));
COMMENT ON POLICY all_or_none ON immutable.tree_runs IS 'Refuses roles that row security applies to';
CREATE POLICY all_or_none ON immutable.tree_tiles FOR SELECT USING (immutable.refuse_part_of('tree_tiles'));
COMMENT ON POLICY all_or_none ON immutable.tree_tiles IS 'Refuses roles that row security applies to';
CREATE POLICY all_or_none ON immutable.tree_chunks FOR SELECT USING (immutable.refuse_part_of('tree_chunks'));
COMMENT ON POLICY all_or_none ON immutable.tree_chunks IS 'Refuses roles that row security applies to';
CREATE POLICY all_or_none ON immutable.tree_notes FOR SELECT USING (immutable.refuse_part_of('tree_notes'));
COMMENT ON POLICY all_or_none ON immutable.tree_notes IS 'Refuses roles that row security applies to';
CREATE POLICY all_or_none ON immutable.tree_cosignatures FOR SELECT USING (immutable.refuse_part_of('tree_cosignatures'));
COMMENT ON POLICY all_or_none ON immutable.tree_cosignatures IS 'Refuses roles that row security applies to';
CREATE POLICY all_or_none ON immutable.witnesses FOR SELECT USING (immutable.refuse_part_of('witnesses'));
COMMENT ON POLICY all_or_none ON immutable.witnesses IS 'Refuses roles that row security applies to';
CREATE POLICY all_or_none ON immutable.log_keys FOR SELECT USING (immutable.refuse_part_of('log_keys'));
COMMENT ON POLICY all_or_none ON immutable.log_keys IS 'Refuses roles that row security applies to';

-- sql/evidence/checkpoint.sql
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

-- sql/evidence/proof.sql
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
Raises P0002 if the caller sees no such event, 21000 if events of several tenants have this id and
tenant_id is not given, 55000 if no checkpoint covers the event yet, 22023 for a size of which no
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

-- sql/evidence/receipt.sql
-- Receipts: one event as evidence in a file.

CREATE FUNCTION immutable.receipt(id uuid, tenant_id text DEFAULT NULL, disclose text[] DEFAULT NULL)
RETURNS text LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_receipt';
COMMENT ON FUNCTION immutable.receipt(uuid, text, text[]) IS
'Returns an event and the proof that a witness has seen it, as a file that is verified without the log.
immutable-verify receipt verifies it. The proof leads to the newest cosigned checkpoint. The receipt
stays valid when values of the event are erased later, and keeps those that it discloses.
Besides the disclosed values, a receipt shows what stands in the event''s document as it is (id,
tenant_id, lane, seq, both times, recorded_by, action, the types, version and the hash of the event
before it), which of the columns have values, how many metadata keys and targets there are, the
event''s index in the tree, and the size of the log.
- id: the event''s id.
- tenant_id: the event''s tenant; needed only if events of several tenants have this id.
- disclose: the paths of the values to disclose, as for immutable.erase(): columns such as actor_id,
  metadata.<key> and targets.<n>. NULL is for all that are there, and an empty array for none.
Returns the text of the file: the line immutable-receipt/v1, the event as a line of an export, and a
C2SP tlog-proof.
Raises P0002 if the caller sees no such event, 21000 if events of several tenants have this id and
tenant_id is not given, 22023 for a path at which the event has no value, or had one that was erased,
22004 for a path that is NULL, 55000 if no cosigned checkpoint covers the event yet, XX001 if the
event, the tree or the checkpoint is damaged, and 28000 for a viewer token that is refused.';

-- sql/evidence/witness.sql
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

-- sql/evidence/tiles.sql
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

-- What has changed.

-- immutable.verify_chain has other arguments or results.
DROP FUNCTION immutable.verify_chain(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, integer, boolean);

CREATE FUNCTION immutable.verify_chain(
  tenant_id text DEFAULT NULL, from_date timestamptz DEFAULT NULL, to_date timestamptz DEFAULT NULL,
  max_events bigint DEFAULT NULL, heads jsonb DEFAULT NULL, since jsonb DEFAULT NULL, targets boolean DEFAULT true,
  max_breaks integer DEFAULT 1000, progress boolean DEFAULT false, checkpoint text DEFAULT NULL,
  OUT valid boolean, OUT events_checked bigint, OUT chains_checked bigint, OUT events_erased bigint, OUT breaks jsonb,
  OUT breaks_found bigint, OUT tenants_checked bigint, OUT complete boolean, OUT log_id uuid,
  OUT events_total bigint, OUT heads_checked bigint, OUT anchored boolean, OUT checkpoint_size bigint,
  OUT cosigned_by text[], OUT cosigned_at timestamptz, OUT recorded_late bigint)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE COST 1000000 ROWS 1
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_verify_chain';

COMMENT ON FUNCTION immutable.verify_chain(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, integer, boolean, text) IS
'Verifies the log: computes every event''s hash again, and checks links, targets and erasures.
It sees what the caller may read. It runs in parallel as the session''s settings allow, unless
max_events or since is given. If all of a log is verified that has a tree, its events are compared
with the leaves of the tree, and the tree with a checkpoint.
- tenant_id: one tenant alone; an empty text is for the events without a tenant.
- from_date, to_date: inclusive bounds of created_at. Each lane must follow the stored event before
  the range.
- max_events: only the first so many events, in the order of tenant, lane and seq.
- heads: heads as immutable.heads() returned them earlier, as a JSON array; each must still be in
  its place.
- since: heads that an earlier run saw. These events and those after them are checked, those before
  are not.
- targets: false leaves immutable.event_targets out.
- max_breaks: how many breaks are listed, from 0 to 100,000.
- progress: true sends a NOTICE every few seconds.
- checkpoint: signed checkpoints of this log that were kept elsewhere, one after the other, with
  any signature lines of witnesses. The log must still have the events that they cover, unchanged.
  NULL for the newest that the log keeps itself.
Returns one row:
- valid: whether no break was found in what was checked. NULL if nothing was checked, as for a
  tenant without events; so test it with IS TRUE.
- events_checked, chains_checked, events_erased, tenants_checked: how many events, lanes, events
  with erased values and tenants were checked.
- breaks, breaks_found: the breaks as a JSON array, and how many there are.
- complete: whether all of the log, or of the tenant, was checked: false with a range, with since,
  with targets => false, and if max_events left events out.
- log_id: the log''s identity.
- events_total: how many events the log, or the tenant, has.
- heads_checked: how many heads were compared.
- anchored: whether valid is true and heads or checkpoints that the caller gave were compared. If it
  is false, nothing shows that the log was not cut off or rewritten as a whole.
- checkpoint_size: how many events the checkpoint covers that was compared. Of those that the log
  keeps, it is the newest that a witness cosigned, if there is one. NULL if none was compared.
- cosigned_by, cosigned_at: the witnesses that cosigned it, and when the last of them did. The log''s
  own list of witnesses says so: it is evidence only for those who know their keys from elsewhere.
- recorded_late: how many events the checkpoint does not cover, although their created_at is before
  cosigned_at. immutable.recorded_late() lists them. Events of long transactions are late too. NULL
  without a cosigned checkpoint.
Raises 22023 for malformed heads, since or checkpoint, for a checkpoint of another log or without a
valid signature of this log, for checkpoint together with tenant_id, a range, max_events or since,
for since together with a range or max_events, for max_events below 1, and for another max_breaks,
42501 for a checkpoint if the caller may not read every event, and 55000 if immutable.events was
altered.';

-- immutable.verify_breaks has other arguments or results.
DROP FUNCTION immutable.verify_breaks(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, bigint, boolean);

CREATE FUNCTION immutable.verify_breaks(
  tenant_id text DEFAULT NULL, from_date timestamptz DEFAULT NULL, to_date timestamptz DEFAULT NULL,
  max_events bigint DEFAULT NULL, heads jsonb DEFAULT NULL, since jsonb DEFAULT NULL, targets boolean DEFAULT true,
  max_breaks bigint DEFAULT NULL, progress boolean DEFAULT false, checkpoint text DEFAULT NULL)
RETURNS TABLE (tenant_id text, lane smallint, seq bigint, event_id uuid, type text, expected_hash bytea,
               actual_hash bytea, detail text)
LANGUAGE c STABLE PARALLEL UNSAFE COST 1000000 ROWS 10
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_verify_breaks';

COMMENT ON FUNCTION immutable.verify_breaks(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, bigint, boolean, text) IS
'Returns the breaks that immutable.verify_chain() finds, one row each.
The type of a break is hash_mismatch, chain_break, missing_event, target_mismatch, erasure_mismatch
or checkpoint_mismatch. The hashes of a break that the tree shows are leaf hashes or roots of the
tree; tenant_id is NULL if the break is of the tree itself. No row means that no break was found in
what was checked; immutable.verify_chain() says how much that was. The arguments are those of that
function, except for max_breaks.
- max_breaks: the most breaks to return, from 0; NULL for all.
Raises 22023, 42501 and 55000 as immutable.verify_chain() does.';

CREATE FUNCTION immutable.recorded_late(checkpoint text DEFAULT NULL)
RETURNS TABLE (tenant_id text, lane smallint, seq bigint, event_id uuid, created_at timestamptz)
LANGUAGE c STABLE PARALLEL UNSAFE COST 100000 ROWS 100
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_recorded_late';

COMMENT ON FUNCTION immutable.recorded_late(text) IS
'Returns the events that a checkpoint does not cover, although they claim to be older than it is.
Their created_at is before the checkpoint''s newest cosignature. Events of transactions that were long
under way are among them; so are events that somebody has put into the log later with an earlier time.
- checkpoint: a signed checkpoint of this log with the signature line of a witness that the log
  knows. NULL for the newest stored checkpoint that is cosigned.
Raises 22023 as immutable.verify_chain() does and for a checkpoint without such a line, 55000 if none is
stored, and 42501 if the caller may not read every event.';

COMMENT ON FUNCTION immutable.verify_shard(regclass, boolean) IS
'Verifies one shard of a distributed log, as immutable.verify_chain() verifies a log.
- events: a table like immutable.events. The table whose foreign key refers to it has the targets.
- targets: false leaves the targets out.
Returns the columns of immutable.verify_chain() up to heads_checked. The caller''s rights to both
tables apply.
Raises 42P01 if there is no such table, 55000 if it is no table of events or no table of targets
refers to it, and 22023 for a name with an apostrophe.';

-- immutable.verify has other arguments or results.
DROP FUNCTION immutable.verify(timestamptz, timestamptz, integer);

CREATE FUNCTION immutable.verify(
  from_date timestamptz DEFAULT NULL, to_date timestamptz DEFAULT NULL, "limit" integer DEFAULT NULL,
  max_seconds double precision DEFAULT 60)
RETURNS jsonb LANGUAGE c STABLE PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_verify';

COMMENT ON FUNCTION immutable.verify(timestamptz, timestamptz, integer, double precision) IS
'Verifies the log as immutable.verify_chain() does, and returns the result as JSON.
- from_date, to_date: inclusive bounds of created_at.
- limit: only the first so many events, in the order of tenant, lane and seq. NULL for every event.
- max_seconds: how long events are verified. After that the rest is passed over, which takes a small
  part of the time that its verification would take. NULL for any time.
Returns {"data": {"valid", "events_checked", "events_total", "complete", "heads_checked",
"anchored", "checkpoint_size", "cosigned_by", "cosigned_at", "recorded_late", "breaks": [{"event_id",
"type", "expected_hash", "actual_hash"}]}}. valid is about the events that were checked, and null if
there were none; of a lane that was left unfinished, only the events'' content was checked, not
their links. complete says whether everything in the log was checked. anchored is false, because
nothing from outside is compared: pass heads or a checkpoint to immutable.verify_chain() for that.
Raises 22023 for a limit below 1 and for a negative max_seconds, and 55000 if immutable.events was
altered.';

-- immutable.status has other arguments or results.
DROP FUNCTION immutable.status();

CREATE FUNCTION immutable.status(
  OUT version text, OUT settings jsonb, OUT estimated_events bigint, OUT total_bytes bigint, OUT chains bigint,
  OUT chains_relation text, OUT last_event_id uuid, OUT last_event_at timestamptz, OUT lanes_in_use bigint,
  OUT longest_lane_hold interval, OUT prepared_transactions bigint, OUT triggers_enabled boolean,
  OUT row_security_enabled boolean, OUT guard_enabled boolean, OUT allow_ddl boolean, OUT restore boolean,
  OUT search_index text, OUT is_standby boolean, OUT changes_held_for interval, OUT checkpoint_size bigint,
  OUT checkpoint_at timestamptz, OUT cosigned_size bigint, OUT cosigned_at timestamptz, OUT uncovered_since timestamptz,
  OUT problems text[])
LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER COST 100000
-- Settings of a session, such as enable_indexscan = off, must not make it slow.
SET search_path = pg_catalog, pg_temp SET enable_indexscan = on SET enable_indexonlyscan = on SET jit = off
BEGIN ATOMIC
  WITH RECURSIVE expected (tab, name, function) AS (VALUES
    ('events', '~immutable_chain', 'chain'), ('events', '~immutable_targets', 'derive_targets'),
    ('events', '~immutable_update', 'guard_event'), ('events', '~immutable_delete', 'refuse'),
    ('events', '~immutable_truncate', 'refuse'), ('event_targets', '~immutable_target', 'guard_target'),
    ('event_targets', '~immutable_delete', 'refuse'), ('event_targets', '~immutable_truncate', 'refuse'),
    ('log', '~immutable_insert', 'guard_log'),
    ('log', '~immutable_write', 'refuse'), ('log', '~immutable_truncate', 'refuse'),
    ('cluster', '~immutable_write', 'refuse'), ('cluster', '~immutable_truncate', 'refuse'),
    ('events', '~immutable_apply', 'replicate'), ('events', '~immutable_apply_truncate', 'replicate'),
    ('log', '~immutable_apply', 'replicate'), ('log', '~immutable_apply_truncate', 'replicate'),
    ('cluster', '~immutable_apply', 'replicate'), ('event_targets', '~immutable_apply', 'replicate'),
    ('event_targets', '~immutable_apply_truncate', 'replicate'),
    ('tenant_grants', '~immutable_bind', 'bind_role'), ('viewer_key_import', '~immutable_begin', 'take_viewer_key'),
    ('viewer_key_import', '~immutable_take', 'take_viewer_key'),
    ('viewer_key_import', '~immutable_store', 'take_viewer_key'),
    ('tree', '~immutable_write', 'guard_tree'), ('tree_runs', '~immutable_write', 'guard_tree'),
    ('tree_tiles', '~immutable_write', 'guard_tree'), ('tree_chunks', '~immutable_write', 'guard_tree'),
    ('tree_notes', '~immutable_write', 'guard_tree'), ('tree_cosignatures', '~immutable_write', 'guard_tree'),
    ('witnesses', '~immutable_write', 'guard_tree'), ('log_keys', '~immutable_write', 'guard_tree'),
    ('log_secrets', '~immutable_write', 'refuse'), ('tree_position', '~immutable_write', 'refuse'),
    ('tree_pending', '~immutable_write', 'refuse'), ('tree', '~immutable_truncate', 'refuse'),
    ('tree_runs', '~immutable_truncate', 'refuse'), ('tree_tiles', '~immutable_truncate', 'refuse'),
    ('tree_chunks', '~immutable_truncate', 'refuse'), ('tree_notes', '~immutable_truncate', 'refuse'),
    ('tree_cosignatures', '~immutable_truncate', 'refuse'), ('witnesses', '~immutable_truncate', 'refuse'),
    ('log_keys', '~immutable_truncate', 'refuse'), ('log_secrets', '~immutable_truncate', 'refuse'),
    ('tree_position', '~immutable_truncate', 'refuse'), ('tree_pending', '~immutable_truncate', 'refuse'),
    ('log_secrets', '~immutable_apply', 'replicate'), ('tree_position', '~immutable_apply', 'replicate'),
    ('tree_pending', '~immutable_apply', 'replicate')),
  tables AS (SELECT c.oid, c.relname::text AS tab, c.relrowsecurity, c.relpersistence
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'immutable' AND c.relkind = 'r' AND c.relname IN ('events', 'event_targets', 'log', 'cluster', 'viewer_keys',
      'viewer_key_import', 'revocations', 'tenant_grants', 'tree', 'tree_runs', 'tree_tiles', 'tree_chunks', 'tree_notes',
      'tree_cosignatures', 'witnesses', 'log_keys', 'log_secrets', 'tree_position', 'tree_pending')),
  events AS (SELECT c.* FROM pg_class c WHERE c.oid = (SELECT oid FROM tables WHERE tab = 'events')),
  bad_triggers AS (
    SELECT format('trigger %I of immutable.%I is %s: events can be recorded outside the chain, or changed. Enable it (ALTER TABLE ... ENABLE TRIGGER, with immutable.allow_ddl = on), then call verify_chain()',
      x.name, x.tab, CASE WHEN t.oid IS NULL THEN 'missing or altered' ELSE 'disabled' END) AS problem
    FROM expected x LEFT JOIN tables r ON r.tab = x.tab LEFT JOIN pg_trigger t ON t.tgrelid = r.oid AND t.tgname = x.name
      AND t.tgqual IS NULL AND t.tgfoid IN (SELECT p.oid FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
        WHERE p.proname = x.function AND l.lanname = 'c'
          AND p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'immutable'))
    WHERE t.oid IS NULL OR t.tgenabled NOT IN ('A', CASE x.function WHEN 'replicate' THEN 'R'::"char" ELSE 'O' END)
    UNION ALL
    SELECT format('trigger %I of immutable.%I does not belong to the extension and runs after its triggers: drop it', t.tgname, r.tab)
    FROM pg_trigger t JOIN tables r ON r.oid = t.tgrelid
    WHERE NOT t.tgisinternal AND t.tgname COLLATE "C" > '~immutable_' AND t.tgenabled <> 'D'
      AND NOT EXISTS (SELECT FROM expected x WHERE x.tab = r.tab AND x.name = t.tgname)),
  -- These run before the extension's triggers, in the order of their names: what they change is
  -- hashed as they leave it, and what they leave out is not recorded at all.
  other_triggers AS (
    SELECT format('trigger %I of immutable.%I does not belong to the extension and runs before its triggers: it can change an event before it is recorded, or leave it out. Check function %s, or drop the trigger',
      t.tgname, r.tab, t.tgfoid::regprocedure) AS problem
    FROM pg_trigger t JOIN tables r ON r.oid = t.tgrelid
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 2 <> 0 AND t.tgname COLLATE "C" < '~immutable_'),
  open_tables AS (
    SELECT format('row security of immutable.%I is off: every role that can read it sees all tenants. Run ALTER TABLE ... ENABLE ROW LEVEL SECURITY, with immutable.allow_ddl = on', tab) AS problem
    FROM tables WHERE NOT relrowsecurity AND tab <> 'cluster'
    UNION ALL
    SELECT format('policy %s of immutable.%s is missing: %s', x.policy, x.tab, CASE x.policy WHEN 'all_or_none'
      THEN 'pg_dump --enable-row-security leaves its rows out' ELSE 'its role sees or records nothing' END)
    FROM (VALUES ('events', 'writer_insert'), ('events', 'writer_returning'), ('events', 'auditor_select'),
      ('events', 'viewer_select'), ('event_targets', 'auditor_select'), ('event_targets', 'viewer_select'),
      ('revocations', 'all_or_none'), ('tenant_grants', 'all_or_none'), ('log', 'all_or_none'), ('log', 'auditor_select'),
      ('tree', 'all_or_none'), ('tree_runs', 'all_or_none'), ('tree_tiles', 'all_or_none'), ('tree_chunks', 'all_or_none'),
      ('tree_notes', 'all_or_none'), ('tree_cosignatures', 'all_or_none'), ('witnesses', 'all_or_none'),
      ('log_keys', 'all_or_none')) x (tab, policy)
    WHERE NOT EXISTS (SELECT FROM pg_policy p JOIN tables r ON r.oid = p.polrelid WHERE p.polname = x.policy AND r.tab = x.tab)
    UNION ALL
    SELECT format('policy %I of immutable.%I does not belong to the extension: check what it permits', p.polname, r.tab)
    FROM pg_policy p JOIN tables r ON r.oid = p.polrelid
    WHERE p.polname NOT IN ('writer_insert', 'writer_returning', 'auditor_select', 'viewer_select', 'all_or_none')),
  bad_guard AS (
    SELECT format('the guard''s event trigger %s is %s: DDL can change the tables without a record. Run ALTER EVENT TRIGGER %s ENABLE ALWAYS, then call status() again',
      x.name, CASE WHEN e.oid IS NULL THEN 'missing' ELSE 'disabled' END, x.name) AS problem
    FROM (VALUES ('immutable_ddl_start'), ('immutable_ddl_end'), ('immutable_ddl_drop')) x (name)
      LEFT JOIN pg_event_trigger e ON e.evtname = x.name
        AND e.evtfoid = (SELECT p.oid FROM pg_proc p WHERE p.proname = 'guard_ddl'
          AND p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'immutable'))
    WHERE e.oid IS NULL OR e.evtenabled NOT IN ('O', 'A')
    UNION ALL
    SELECT 'event_triggers is off, which disables the guard: DDL can change the tables without a record. Set it to on'
    WHERE current_setting('event_triggers', true) = 'off'),
  holds AS (SELECT l.pid, l.objid, l.objsubid, l.virtualtransaction FROM pg_locks l
    -- A number below 0 is no lane, but the lock of the writer that gets the next lane.
    WHERE l.locktype = 'object' AND l.granted AND l.objsubid >= 0 AND l.classid = (SELECT oid FROM events)
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())),
  -- The locks of a prepared transaction have no process, and the virtual transaction ID of the
  -- lock that it holds on itself.
  prepared AS (SELECT p.gid, p.prepared, count(*) AS lanes
    FROM holds h JOIN pg_locks i ON i.virtualtransaction = h.virtualtransaction AND i.locktype = 'transactionid' AND i.granted
      AND i.pid IS NULL
    JOIN pg_prepared_xacts p ON p.transaction = i.transactionid
    WHERE h.pid IS NULL GROUP BY p.gid, p.prepared),
  holders AS (SELECT a.pid, a.state, a.xact_start, count(*) AS lanes FROM holds h JOIN pg_stat_activity a ON a.pid = h.pid
    GROUP BY a.pid, a.state, a.xact_start),
  -- One step of the index for each lane, and at most a thousand of them.
  chain (tenant_id, lane, n) AS (
    (SELECT e.tenant_id, e.lane, 1 FROM immutable.events e ORDER BY e.tenant_id, e.lane LIMIT 1)
    UNION ALL
    SELECT s.tenant_id, s.lane, c.n + 1 FROM chain c CROSS JOIN LATERAL (
      SELECT e.tenant_id, e.lane FROM immutable.events e WHERE (e.tenant_id, e.lane) > (c.tenant_id, c.lane)
      ORDER BY e.tenant_id, e.lane LIMIT 1) s
    WHERE c.n <= 1000),
  chained AS (SELECT coalesce(max(n), 0) AS n FROM chain),
  newest AS (SELECT e.id, e.created_at, e.lane FROM immutable.events e ORDER BY e.created_at DESC, e.id DESC LIMIT 1),
  begun AS (SELECT EXISTS (SELECT FROM immutable.log) AS has_identity, EXISTS (SELECT FROM newest) AS has_events,
    EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') AS is_distributed),
  -- A transaction that has a number holds back the feed of all tenants, in whatever database it
  -- runs.
  writing AS (
    SELECT format('backend %s (%s) in database %I', a.pid, a.state, a.datname) AS who,
      format('end that transaction, or call pg_terminate_backend(%s)', a.pid) AS what, a.xact_start AS since
    FROM pg_stat_activity a WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_backend_pid()
    UNION ALL
    SELECT format('prepared transaction %L in database %I', p.gid, p.database), 'run COMMIT PREPARED or ROLLBACK PREPARED', p.prepared
    FROM pg_prepared_xacts p),
  longest_writing AS (SELECT w.* FROM writing w WHERE w.since IS NOT NULL ORDER BY w.since LIMIT 1),
  -- Transaction numbers of another server, which this one has not reached yet.
  foreign_xact AS (SELECT e.xact FROM immutable.events e
    WHERE e.xact >= pg_snapshot_xmax(pg_current_snapshot()) AND e.xact IS DISTINCT FROM pg_current_xact_id_if_assigned()
      AND NOT pg_is_in_recovery() ORDER BY e.xact DESC LIMIT 1),
  held_logins AS (SELECT nullif(array_to_string(immutable.logins_that_cannot_dump(), ', '), '') AS names),
  -- An erasure is an UPDATE, which PostgreSQL refuses if the publication needs more columns of the
  -- row than its key.
  bad_publications AS (
    SELECT format('publication %I publishes updates of immutable.%I, but its %s: erasures fail. Publish the whole table, or only inserts (ALTER PUBLICATION %I SET (publish = ''insert''))',
      b.pubname, r.tab, CASE WHEN x.filters THEN 'WHERE clause uses a column that is not in the primary key'
        ELSE 'column list lacks a column of the primary key' END, b.pubname) AS problem
    FROM pg_publication_rel p JOIN pg_publication b ON b.oid = p.prpubid JOIN tables r ON r.oid = p.prrelid
      JOIN pg_index i ON i.indrelid = r.oid AND i.indisprimary
      CROSS JOIN LATERAL (SELECT
        EXISTS (SELECT FROM regexp_matches(p.prqual::text, ':varattno (-?[0-9]+)', 'g') m
          WHERE m[1]::integer <> ALL (string_to_array(i.indkey::text, ' ')::integer[])) AS filters,
        EXISTS (SELECT FROM unnest(string_to_array(i.indkey::text, ' ')::integer[]) k
          WHERE k <> ALL (string_to_array(p.prattrs::text, ' ')::integer[])) AS lacks) x
    WHERE b.pubupdate AND (x.filters OR x.lacks)),
  bad_indexes AS (
    SELECT format('index immutable.%I is invalid: run DROP INDEX immutable.%I and create it again', c.relname, c.relname) AS problem
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid IN (SELECT oid FROM tables) AND NOT i.indisvalid),
  bad_keys AS (
    SELECT format('constraint %s of immutable.%s is missing: an event may be recorded outside the chain, or recording may fail. Create it again (ALTER TABLE ... ADD, with immutable.allow_ddl = on), then call verify_chain()', x.name, x.tab) AS problem
    FROM (VALUES ('events', 'events_chained_check'), ('events', 'events_pkey'), ('events', 'events_tenant_id_lane_seq_key'),
      ('events', 'events_tenant_id_idempotency_key_key'), ('event_targets', 'event_targets_pkey'),
      ('event_targets', 'event_targets_event_id_tenant_id_fkey')) x (tab, name)
    WHERE NOT EXISTS (SELECT FROM pg_constraint k JOIN tables r ON r.oid = k.conrelid
      WHERE k.conname = x.name AND r.tab = x.tab AND k.convalidated)),
  -- The evidence. Without a checkpoint all of it is empty.
  note AS (SELECT n.size, n.signed_at FROM immutable.tree_notes n JOIN immutable.tree t ON t.origin = n.origin
    ORDER BY n.size DESC LIMIT 1),
  cosigned AS (SELECT c.size, max(c.cosigned_at) AS at FROM immutable.tree_cosignatures c JOIN immutable.tree t ON t.origin = c.origin
    GROUP BY c.size ORDER BY c.size DESC LIMIT 1),
  covered AS MATERIALIZED (SELECT split_part(p.snapshot, ':', 2) AS xmax, split_part(p.snapshot, ':', 3) AS xip
    FROM immutable.tree_position p WHERE p.snapshot ~ '^[0-9]{1,19}:[0-9]{1,19}:([0-9]{1,19}(,[0-9]{1,19})*)?$'),
  -- Events of transactions that the last pass did not see. The first hundred are enough for the
  -- oldest one's time.
  uncovered AS (SELECT min(u.created_at) AS since FROM (
    -- As LATERAL subqueries with a limit, so that the index on xact is read from there on.
    SELECT e.created_at FROM covered c CROSS JOIN LATERAL (
      SELECT e.created_at FROM immutable.events e WHERE e.xact >= c.xmax::xid8 ORDER BY e.xact LIMIT 100) e
    UNION ALL
    SELECT e.created_at FROM covered c CROSS JOIN LATERAL unnest(string_to_array(c.xip, ',')) x CROSS JOIN LATERAL (
      SELECT e.created_at FROM immutable.events e WHERE e.xact = x::xid8 ORDER BY e.xact LIMIT 100) e) u),
  signs_elsewhere AS (SELECT FROM immutable.tree WHERE NOT pg_is_in_recovery() AND NOT EXISTS (
    SELECT FROM immutable.tree_position p
    WHERE p.system_identifier = (SELECT c.system_identifier FROM pg_control_system() c)
      AND p.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
      AND p.timeline = CASE WHEN NOT pg_is_in_recovery()
        THEN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer END)),
  -- The last event that the cosigned checkpoint covers.
  cosigned_last AS (SELECT e.id, e.created_at, c.at FROM cosigned c CROSS JOIN LATERAL (
      SELECT r.* FROM immutable.tree_runs r WHERE r.first_index < c.size ORDER BY r.first_index DESC LIMIT 1) r
    CROSS JOIN LATERAL (SELECT e.id, e.created_at FROM immutable.events e WHERE e.tenant_id = r.tenant_id AND e.lane = r.lane
      AND e.seq = r.first_seq + (c.size - 1 - r.first_index) LIMIT 1) e),
  bad_evidence AS (
    -- pg_monitor may call this function, and learns no tenant.
    SELECT 7 AS place, format('lane %s of a tenant is not in the tree from seq %s on: %s. It has waited since %s. Call verify_chain(); the owner finds the tenant in immutable.tree_pending',
      p.lane, p.seq, p.why, p.noted_at) AS problem
    FROM (SELECT p.* FROM immutable.tree_pending p ORDER BY p.tenant_id, p.lane LIMIT 10) p
    UNION ALL SELECT 7, format('%s lanes are not in the tree', n.n) FROM (SELECT count(*) AS n FROM immutable.tree_pending) n WHERE n.n > 10
    UNION ALL SELECT 7, 'the log does not sign checkpoints on this server, because it was restored, promoted or copied, or because a fork was reported. Call resume() with the newest checkpoint known outside, or begin_incarnation()'
      FROM signs_elsewhere
    UNION ALL SELECT 7, format('a checkpoint of %s events is signed, but the tree has %s: events were lost. Call begin_incarnation()', n.size, t.size)
      FROM note n, immutable.tree t WHERE n.size > t.size
    UNION ALL SELECT 8, format('no checkpoint covers the events since %s: call checkpoint() every minute', u.since)
      FROM uncovered u WHERE u.since < clock_timestamp() - interval '1 day'
    UNION ALL SELECT 8, format('no witness has cosigned a checkpoint since %s: docs/evidence.md shows how to ask them every night',
        coalesce(c.at::text, 'the first one'))
      FROM (SELECT FROM immutable.witnesses LIMIT 1) w LEFT JOIN cosigned c ON true
      WHERE c.at IS NULL OR c.at < clock_timestamp() - interval '2 days'
    UNION ALL SELECT 9, format('the newest cosignature is of %s, which is in the future: the clock of the witness or of this server is wrong', c.at)
      FROM cosigned c WHERE c.at > clock_timestamp() + interval '1 minute'
    UNION ALL SELECT 9, format('event %s was recorded at %s and cosigned at %s, which is earlier: the clock of the witness or of this server is wrong',
        l.id, l.created_at, l.at)
      FROM cosigned_last l WHERE l.created_at > l.at + interval '1 minute'),
  known AS (SELECT e.extversion, (SELECT a.default_version FROM pg_available_extensions a WHERE a.name = 'immutable') AS there
    FROM pg_extension e WHERE e.extname = 'immutable'),
  problem (place, problem) AS (
    SELECT 1, problem FROM bad_triggers
    UNION ALL SELECT 2, problem FROM bad_guard
    UNION ALL SELECT 3, 'immutable.allow_ddl is on in this session: commands that change the log''s objects are allowed, and are recorded. RESET immutable.allow_ddl'
      WHERE current_setting('immutable.allow_ddl', true) = 'on'
    UNION ALL SELECT 3, format('%s is set for a database or role: run ALTER DATABASE or ALTER ROLE ... RESET %s', x.setting, x.setting)
      FROM (SELECT DISTINCT split_part(c, '=', 1) AS setting FROM pg_db_role_setting s, unnest(s.setconfig) c
        WHERE c IN ('immutable.allow_ddl=on', 'immutable.restore=on', 'session_replication_role=replica',
          'event_triggers=off')) x
    UNION ALL SELECT 3, 'session_replication_role is replica in this session: events that it inserts are not chained. RESET it'
      WHERE current_setting('session_replication_role') = 'replica'
    UNION ALL SELECT 3, 'immutable.restore is on in this session: RESET it after the restore'
      WHERE current_setting('immutable.restore', true) = 'on'
    UNION ALL SELECT 3, format('%s is set in %s, %s: remove it there, or run LOAD ''immutable'' and ALTER SYSTEM RESET %s', s.name,
        coalesce(s.sourcefile, s.source), CASE s.setting WHEN 'on' THEN 'for all sessions' ELSE 'where it has no effect' END, s.name)
      FROM pg_settings s WHERE s.name IN ('immutable.allow_ddl', 'immutable.restore') AND s.source IN ('configuration file', 'command line')
    UNION ALL SELECT 4, problem FROM open_tables
    UNION ALL SELECT 5, format('immutable.%I has a parent or child table: rows in %s are not in the chain. Run ALTER TABLE ... NO INHERIT, with immutable.allow_ddl = on',
        r.tab, CASE WHEN h.inhrelid = r.oid THEN h.inhparent::regclass ELSE h.inhrelid::regclass END)
      FROM tables r JOIN pg_inherits h ON r.oid IN (h.inhparent, h.inhrelid)
    UNION ALL SELECT 5, format('rule %I of immutable.%I does not belong to the extension: drop it', w.rulename, r.tab)
      FROM tables r JOIN pg_rewrite w ON w.ev_class = r.oid WHERE NOT (r.tab = 'viewer_key_import' AND w.rulename = 'copy_only')
    UNION ALL SELECT 5, format('trigger %I of immutable.%I does not belong to the extension and always fires, even in a replica session: drop it, unless pg_repack is running', t.tgname, r.tab)
      FROM pg_trigger t JOIN tables r ON r.oid = t.tgrelid
      WHERE NOT t.tgisinternal AND t.tgenabled = 'A' AND t.tgname COLLATE "C" < '~immutable_'
    UNION ALL SELECT 5, format('table immutable.%I is missing', x.tab) FROM (SELECT DISTINCT e.tab FROM expected e) x
      WHERE NOT EXISTS (SELECT FROM tables r WHERE r.tab = x.tab)
    UNION ALL SELECT 6, problem FROM bad_indexes
    UNION ALL SELECT 6, problem FROM bad_keys
    UNION ALL SELECT 7, format('prepared transaction %L has held %s lanes since %s: run COMMIT PREPARED or ROLLBACK PREPARED', gid, lanes, prepared)
      FROM prepared WHERE prepared < clock_timestamp() - interval '5 minutes'
    UNION ALL SELECT 8, format('backend %s (%s) has held %s lanes since %s: end its transaction, or call pg_terminate_backend(%s)', pid, state, lanes, xact_start, pid)
      FROM holders WHERE xact_start < clock_timestamp() - interval '10 minutes'
    UNION ALL SELECT 9, format('event %s in lane %s was recorded %s seconds in the future: the server''s clock was ahead, or is behind now. Correct the clock. The lane continues from that time',
        id, lane, round(extract(epoch FROM created_at - clock_timestamp())))
      FROM newest WHERE created_at > clock_timestamp() + interval '1 second'
    UNION ALL SELECT 2, problem FROM other_triggers
    UNION ALL SELECT 6, 'the log has an identity but no events: it was restored or copied without them. Restore the events too, or begin another log in a new database'
      FROM begun WHERE has_identity AND NOT has_events AND NOT is_distributed
    UNION ALL SELECT 6, 'the log has events but no identity: nothing can be recorded. Restore the row of immutable.log from the same dump, or make it from the first event: the error of an INSERT has the command in its hint'
      FROM begun WHERE has_events AND NOT has_identity AND NOT is_distributed
    UNION ALL SELECT 6, problem FROM bad_publications
    UNION ALL SELECT 8, format('%s has had a transaction ID since %s: changes() over all tenants returns no event that was recorded later. To resume changes(), %s', who, since, what)
      FROM longest_writing WHERE since < clock_timestamp() - interval '10 minutes'
    UNION ALL SELECT 9, format('events have a transaction ID of another server (%s): changes() over all tenants does not return them. They were loaded with the triggers disabled', xact)
      FROM foreign_xact
    UNION ALL SELECT place, problem FROM bad_evidence
    UNION ALL SELECT 13, format('logins have pg_read_all_data but not BYPASSRLS: %s. pg_dump by such a login fails at immutable.events, and so does the backup of the whole database. Dump with another login, as docs/backup-and-restore.md says. If none of these logins dumps, nothing is wrong', names)
      FROM held_logins WHERE names IS NOT NULL
    UNION ALL SELECT 10, format('extension immutable has version %s, but its files have version %s: run ALTER EXTENSION immutable UPDATE', extversion, there)
      FROM known WHERE extversion <> there
    UNION ALL SELECT 11, format('%s is off: a crash can lose committed events. Set it to on', name)
      FROM (VALUES ('fsync'), ('full_page_writes')) x (name) WHERE current_setting(name) = 'off'
    UNION ALL SELECT 12, format('immutable.events was last frozen %s transactions ago: run VACUUM (FREEZE) immutable.events', age(relfrozenxid))
      FROM events WHERE age(relfrozenxid) > 1000000000)
  SELECT
    (SELECT extversion FROM known),
    -- A function of the library runs first, which loads the library and so makes its settings
    -- known.
    CASE WHEN immutable.is_chained(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL) IS NOT TRUE THEN
      (SELECT jsonb_object_agg(s.name, s.setting ORDER BY s.name) FROM pg_settings s
        WHERE s.name IN ('synchronous_commit', 'wal_level', 'max_locks_per_transaction')
          OR s.name LIKE 'immutable.%' AND s.context = 'superuser') END,
    (SELECT CASE WHEN e.reltuples < 0 OR e.relpages = 0 THEN coalesce(pg_stat_get_live_tuples(e.oid), 0)
      ELSE (e.reltuples / e.relpages * (pg_relation_size(e.oid) / current_setting('block_size')::integer))::bigint END FROM events e),
    (SELECT sum(pg_total_relation_size(oid))::bigint FROM tables),
    least((SELECT n FROM chained), 1000),
    CASE WHEN (SELECT n FROM chained) > 1000 THEN 'gte' ELSE 'eq' END,
    (SELECT id FROM newest), (SELECT created_at FROM newest),
    (SELECT count(*) FROM holds),
    (SELECT clock_timestamp() - least((SELECT min(xact_start) FROM holders), (SELECT min(prepared) FROM prepared))),
    (SELECT count(*) FROM prepared),
    NOT EXISTS (SELECT FROM bad_triggers), NOT EXISTS (SELECT FROM open_tables), NOT EXISTS (SELECT FROM bad_guard),
    coalesce(current_setting('immutable.allow_ddl', true) = 'on', false),
    coalesce(current_setting('immutable.restore', true) = 'on', false),
    coalesce((SELECT CASE WHEN i.indisvalid THEN 'valid' ELSE 'invalid' END FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
      WHERE i.indrelid = (SELECT oid FROM events) AND c.relname = 'events_search'), 'missing'),
    pg_is_in_recovery(),
    (SELECT clock_timestamp() - since FROM longest_writing),
    (SELECT size FROM note), (SELECT signed_at FROM note), (SELECT size FROM cosigned), (SELECT at FROM cosigned),
    (SELECT since FROM uncovered),
    (SELECT coalesce(array_agg(p.problem ORDER BY p.place, p.problem COLLATE "C"), '{}') FROM problem p);
END;

COMMENT ON FUNCTION immutable.status() IS
'Returns the state of the log in one row, within milliseconds however long the log is.
It does not verify the log: immutable.verify_chain() does.
- version: version of the extension.
- settings: settings that matter to the log, as a JSON object.
- estimated_events, total_bytes: events, by the planner''s statistics, and size of the tables with
  their indexes.
- chains, chains_relation: the number of lanes, exact up to 1,000 ("eq"), beyond that at least so
  many ("gte").
- last_event_id, last_event_at: the event that was recorded last.
- lanes_in_use, longest_lane_hold, prepared_transactions: lanes that are locked now, for how long
  the oldest of these transactions has run, and how many of them are prepared.
- triggers_enabled, row_security_enabled, guard_enabled: whether these protections are what they
  should be.
- allow_ddl, restore: these settings in this session.
- search_index: "valid", "invalid" or "missing", which is no problem.
- is_standby: whether this server is a standby.
- changes_held_for: for how long the oldest writing transaction of the cluster has held back
  changes() over all tenants; NULL if there is none, and on a standby.
- checkpoint_size, checkpoint_at: how many events the newest checkpoint covers, and when it was
  signed; NULL if there is none.
- cosigned_size, cosigned_at: the same of the newest checkpoint that a witness cosigned; the time is
  the witness''s.
- uncovered_since: when the oldest event was recorded that no checkpoint covers; NULL if there is
  none, or if there is no checkpoint. Nothing shows that such an event was deleted.
- problems: what is wrong and what to do about it; {} if nothing is.
Raises no error of its own.';

-- The privileges of what is new.

REVOKE ALL ON FUNCTION immutable.add_checkpoint(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.add_cosignature(bigint, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.add_log_key(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.add_witness(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.begin_incarnation(text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.consistency_proof(bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.export_tree(bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.guard_tree() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.inclusion_proof(uuid, text, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.rebuild_tiles() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.receipt(uuid, text, text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.recorded_late(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.remove_witness(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.report_checkpoint(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.resume(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.rotate_log_key(integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.status() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.tree_head() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.verifier_key() FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.verify(timestamptz, timestamptz, integer, double precision) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.verify_breaks(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, bigint, boolean, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.verify_chain(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, integer, boolean, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION immutable.witness_request(bigint, bigint) FROM PUBLIC;
REVOKE ALL ON PROCEDURE immutable.checkpoint(text) FROM PUBLIC;
REVOKE ALL ON immutable.checkpoints FROM PUBLIC;
REVOKE ALL ON immutable.log_keys FROM PUBLIC;
REVOKE ALL ON immutable.log_secrets FROM PUBLIC;
REVOKE ALL ON immutable.tree FROM PUBLIC;
REVOKE ALL ON immutable.tree_chunks FROM PUBLIC;
REVOKE ALL ON immutable.tree_cosignatures FROM PUBLIC;
REVOKE ALL ON immutable.tree_notes FROM PUBLIC;
REVOKE ALL ON immutable.tree_pending FROM PUBLIC;
REVOKE ALL ON immutable.tree_position FROM PUBLIC;
REVOKE ALL ON immutable.tree_runs FROM PUBLIC;
REVOKE ALL ON immutable.tree_tiles FROM PUBLIC;
REVOKE ALL ON immutable.witnesses FROM PUBLIC;
GRANT EXECUTE ON FUNCTION immutable.status() TO immutable_auditor, pg_monitor;
GRANT EXECUTE ON FUNCTION immutable.verify_chain(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, integer, boolean, text), immutable.verify_breaks(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, bigint, boolean, text), immutable.recorded_late(text), immutable.export_tree(bigint), immutable.verify(timestamptz, timestamptz, integer, double precision) TO immutable_auditor;
GRANT EXECUTE ON FUNCTION immutable.inclusion_proof(uuid, text, bigint), immutable.consistency_proof(bigint, bigint), immutable.receipt(uuid, text, text[]) TO immutable_auditor;
GRANT INSERT ON immutable.tree, immutable.tree_runs, immutable.tree_tiles, immutable.tree_chunks, immutable.tree_notes,
  immutable.tree_cosignatures, immutable.witnesses, immutable.log_keys TO immutable_restorer;
GRANT USAGE ON SCHEMA immutable TO immutable_maintainer;
GRANT EXECUTE ON PROCEDURE immutable.checkpoint(text) TO immutable_maintainer;
GRANT EXECUTE ON FUNCTION immutable.tree_head(), immutable.verifier_key() TO immutable_maintainer, immutable_auditor;
GRANT EXECUTE ON FUNCTION immutable.add_checkpoint(text), immutable.report_checkpoint(text) TO immutable_maintainer;
GRANT SELECT ON immutable.checkpoints TO immutable_maintainer, immutable_auditor;
GRANT EXECUTE ON FUNCTION immutable.witness_request(bigint, bigint), immutable.add_cosignature(bigint, text) TO immutable_maintainer;
