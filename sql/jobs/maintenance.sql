-- What a scheduler calls each minute.

CREATE TABLE immutable.maintenance_position (
  system_identifier bigint NOT NULL,
  timeline integer NOT NULL,
  database oid NOT NULL,
  noted_at timestamptz NOT NULL,
  ran_at timestamptz,
  failed jsonb,
  usage_mark text COLLATE "C",
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
COMMENT ON TABLE immutable.maintenance_position IS
  'Where maintenance goes on: one row, or none before the first call and after a restore. Anywhere else '
  'its steps pause until immutable.resume_maintenance() is called. No dump contains this table.';
COMMENT ON COLUMN immutable.maintenance_position.system_identifier IS
  'The cluster, as pg_control_system() gives it';
COMMENT ON COLUMN immutable.maintenance_position.timeline IS 'The cluster''s timeline';
COMMENT ON COLUMN immutable.maintenance_position.database IS 'OID of the database';
COMMENT ON COLUMN immutable.maintenance_position.noted_at IS 'When maintenance began here, or was resumed';
COMMENT ON COLUMN immutable.maintenance_position.ran_at IS
  'When run_maintenance() ran last, to five minutes';
COMMENT ON COLUMN immutable.maintenance_position.failed IS
  'The steps that failed in the last call, with their SQLSTATE; NULL if none did';
COMMENT ON COLUMN immutable.maintenance_position.usage_mark IS
  'How far the events are counted in api_key_usage: a mark of the feed';
COMMENT ON COLUMN immutable.maintenance_position.singleton IS 'Always true, so that there is one row at most';
ALTER TABLE immutable.maintenance_position ENABLE ROW LEVEL SECURITY;
-- A replication must not bring another server's position.
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.maintenance_position FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.maintenance_position ENABLE REPLICA TRIGGER "~immutable_apply";

CREATE PROCEDURE immutable.run_maintenance(INOUT did jsonb DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_run_maintenance';
COMMENT ON PROCEDURE immutable.run_maintenance(jsonb) IS
'Does what a scheduler has to do each minute: checkpoint, alerts, exports, use of API keys and more.
Each step has transactions of its own and takes at most about ten seconds; what is left is done by the
next call. A step that fails is reported in the answer and as a WARNING, and the others go on. A step
that another session does at the same time is skipped.
- did: pass NULL; returns what each step did, as a JSON object. null is nothing. On a standby and in a
  copy that a replication feeds it is {"state": "standby"} and {"state": "copy"}: there is nothing to do.
Raises 25001 in a transaction block and above READ COMMITTED, 25006 in a read-only transaction, and 57014
if it is cancelled.';

CREATE FUNCTION immutable.resume_maintenance()
RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_resume_maintenance';
COMMENT ON FUNCTION immutable.resume_maintenance() IS
'Lets alerts, deliveries, exports and the use of API keys go on here, after a restore or a promotion.
They go on with the events that are recorded from now on. It is recorded as immutable.maintenance_resumed.
It has nothing to do with signing: immutable.resume() resumes that.
Returns whether they were paused; if not, nothing is changed and recorded.
Raises 25006 on a standby, in a read-only transaction and in a copy that a replication feeds.';
