-- The triggers that keep the tables append-only. PostgreSQL runs triggers of one kind in the order of their names, and `~`
-- sorts last.

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
