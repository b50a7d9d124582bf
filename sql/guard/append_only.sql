-- The triggers. PostgreSQL runs triggers of one kind in the order of their names: `~` sorts last.

CREATE FUNCTION immutable.chain() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_chain';
COMMENT ON FUNCTION immutable.chain() IS
  'BEFORE INSERT trigger of events: validates the event, holds a bound role to its tenant, sorts its targets, appends it to a lane of its tenant''s chain and sets the chain''s columns. Fills in what the session''s settings say for what is left out or NULL. Raises 23502, 22023, 22001, 22021, 22008, 54000, 42501 or 428C9 for an event it does not take, 55000 if a trigger would run after it';

CREATE FUNCTION immutable.derive_targets() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_targets';
COMMENT ON FUNCTION immutable.derive_targets() IS 'AFTER INSERT trigger of events: fills event_targets';

CREATE FUNCTION immutable.guard_event() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_guard_event';
COMMENT ON FUNCTION immutable.guard_event() IS
  'BEFORE UPDATE trigger of events: lets an erasure through that leaves the event''s hash as it is, raises 42501 for anything else';

CREATE FUNCTION immutable.guard_target() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_guard_target';
COMMENT ON FUNCTION immutable.guard_target() IS
  'BEFORE INSERT OR UPDATE trigger of event_targets: lets through what equals the event''s target at that position, raises 42501 for anything else';

CREATE FUNCTION immutable.refuse() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_refuse';
COMMENT ON FUNCTION immutable.refuse() IS 'Trigger of append-only tables: raises 42501';

CREATE FUNCTION immutable.guard_log() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_guard_log';
COMMENT ON FUNCTION immutable.guard_log() IS
  'BEFORE INSERT trigger of log: lets a dump''s row through with immutable.restore, raises 42501 otherwise';

CREATE FUNCTION immutable.replicate() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_replicate';
COMMENT ON FUNCTION immutable.replicate() IS
  'Trigger of events, event_targets, log and cluster for the workers of a replication (a subscription, or a session that replays a replication origin): takes the publisher''s events as they are, with xact of the subscriber, and its identity, and leaves cluster as it is; raises 42501 for a change that is no erasure, a deletion or a truncation, which stops the replication. In any other session whose session_replication_role is replica it sets xact and no more';

-- The policy of writers.
CREATE FUNCTION immutable.is_own(xact xid8, tenant_id text, lane smallint, seq bigint)
RETURNS boolean LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'immutable_is_own';
COMMENT ON FUNCTION immutable.is_own(xid8, text, smallint, bigint) IS
  'Whether the transaction that runs has recorded this event itself. Raises nothing';

CREATE FUNCTION immutable.record_restore(reason text)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_record_restore';
COMMENT ON FUNCTION immutable.record_restore(text) IS
  'Records immutable.restored by hand, without tenant, with who called it as actor: for what the log cannot notice itself, such as a volume put back from a snapshot. reason: at most 4,096 bytes, kept in metadata, where it can be erased. Returns the event''s id. Raises 22004, 22023 or 22001 for a reason that is NULL, empty or too long, 25006 on a standby or a subscriber, and what immutable.chain() does';

CREATE TRIGGER "~immutable_chain" BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.chain();
CREATE TRIGGER "~immutable_targets" AFTER INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.derive_targets();
CREATE TRIGGER "~immutable_update" BEFORE UPDATE ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.guard_event();
CREATE TRIGGER "~immutable_delete" BEFORE DELETE ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.events FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

CREATE TRIGGER "~immutable_target" BEFORE INSERT OR UPDATE ON immutable.event_targets FOR EACH ROW EXECUTE FUNCTION immutable.guard_target();
CREATE TRIGGER "~immutable_delete" BEFORE DELETE ON immutable.event_targets FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.event_targets FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

CREATE TRIGGER "~immutable_insert" BEFORE INSERT ON immutable.log FOR EACH ROW EXECUTE FUNCTION immutable.guard_log();
CREATE TRIGGER "~immutable_write" BEFORE UPDATE OR DELETE ON immutable.log FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.log FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.cluster FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.cluster FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

-- These fire where session_replication_role is replica, which is where the others do not: in a subscription's workers.
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
CREATE TRIGGER "~immutable_apply_truncate" BEFORE TRUNCATE ON immutable.events FOR EACH STATEMENT EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.events ENABLE REPLICA TRIGGER "~immutable_apply";
ALTER TABLE immutable.events ENABLE REPLICA TRIGGER "~immutable_apply_truncate";
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.log FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
CREATE TRIGGER "~immutable_apply_truncate" BEFORE TRUNCATE ON immutable.log FOR EACH STATEMENT EXECUTE FUNCTION immutable.replicate();
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.cluster FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
CREATE TRIGGER "~immutable_apply" BEFORE DELETE ON immutable.event_targets FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
CREATE TRIGGER "~immutable_apply_truncate" BEFORE TRUNCATE ON immutable.event_targets FOR EACH STATEMENT EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.event_targets ENABLE REPLICA TRIGGER "~immutable_apply";
ALTER TABLE immutable.event_targets ENABLE REPLICA TRIGGER "~immutable_apply_truncate";
ALTER TABLE immutable.log ENABLE REPLICA TRIGGER "~immutable_apply";
ALTER TABLE immutable.log ENABLE REPLICA TRIGGER "~immutable_apply_truncate";
ALTER TABLE immutable.cluster ENABLE REPLICA TRIGGER "~immutable_apply";
