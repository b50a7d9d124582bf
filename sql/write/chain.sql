-- What happens when an event is inserted. Triggers of one kind run in the order of their names, and `~` sorts last: the
-- chain comes after all others, so that nothing changes an event once it is hashed.

CREATE FUNCTION immutable.chain() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_chain';
COMMENT ON FUNCTION immutable.chain() IS
  'BEFORE INSERT trigger of events: validates the event, holds a bound role to its tenant, sorts its targets, appends it to a lane of its tenant''s chain and sets the chain''s columns. Fills in what the session''s settings say for what is left out or NULL. Raises 23502, 22023, 22001, 22021, 22008, 54000, 42501 or 428C9 for an event it does not take, 55000 if a trigger would run after it';

CREATE FUNCTION immutable.derive_targets() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_targets';
COMMENT ON FUNCTION immutable.derive_targets() IS 'AFTER INSERT trigger of events: fills event_targets';

CREATE TRIGGER "~immutable_chain" BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.chain();
CREATE TRIGGER "~immutable_targets" AFTER INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.derive_targets();
