-- The triggers. PostgreSQL runs triggers of one kind in the order of their names: `~` sorts last.

CREATE FUNCTION immutable.chain() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_chain';
COMMENT ON FUNCTION immutable.chain() IS
  'BEFORE INSERT trigger of events: validates the event, holds a bound role to its tenant, sorts its targets, appends it to a lane of its tenant''s chain and sets the chain''s columns. Raises 23502, 22023, 22001, 22008, 54000, 42501 or 428C9 for an event it does not take, 55000 if a trigger would run after it';

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

CREATE TRIGGER "~immutable_chain" BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.chain();
CREATE TRIGGER "~immutable_targets" AFTER INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.derive_targets();
CREATE TRIGGER "~immutable_update" BEFORE UPDATE ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.guard_event();
CREATE TRIGGER "~immutable_delete" BEFORE DELETE ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.events FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

CREATE TRIGGER "~immutable_target" BEFORE INSERT OR UPDATE ON immutable.event_targets FOR EACH ROW EXECUTE FUNCTION immutable.guard_target();
CREATE TRIGGER "~immutable_delete" BEFORE DELETE ON immutable.event_targets FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.event_targets FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

CREATE TRIGGER "~immutable_write" BEFORE INSERT OR UPDATE OR DELETE ON immutable.log FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate" BEFORE TRUNCATE ON immutable.log FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
