-- The triggers that keep the tables append-only. PostgreSQL runs triggers of one kind in the order
-- of their names, and `~` sorts last.

CREATE FUNCTION immutable.guard_event() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_guard_event';
COMMENT ON FUNCTION immutable.guard_event() IS
'Trigger that lets an UPDATE of an event through if it is an erasure that leaves the event''s hash as it is.
It runs BEFORE UPDATE on immutable.events.
Raises 42501 for any other change, and 25006 where a subscription feeds the log.';

CREATE FUNCTION immutable.guard_target() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_guard_target';
COMMENT ON FUNCTION immutable.guard_target() IS
'Trigger that lets a row of event_targets through if it equals the event''s target at that position.
It runs BEFORE INSERT OR UPDATE on immutable.event_targets.
Raises 42501 for any other row.';

CREATE FUNCTION immutable.refuse() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_refuse';
COMMENT ON FUNCTION immutable.refuse() IS
'Trigger that refuses a command on an append-only table.
Raises 42501 always.';

CREATE TRIGGER "~immutable_update" BEFORE UPDATE ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.guard_event();
CREATE TRIGGER "~immutable_delete" BEFORE DELETE ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.events FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

CREATE TRIGGER "~immutable_target" BEFORE INSERT OR UPDATE ON immutable.event_targets FOR EACH ROW EXECUTE FUNCTION immutable.guard_target();
CREATE TRIGGER "~immutable_delete" BEFORE DELETE ON immutable.event_targets FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.event_targets FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

CREATE TRIGGER "~immutable_write" BEFORE UPDATE OR DELETE ON immutable.log FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.log FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.cluster FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.cluster FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.segments FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.segments FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
