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
