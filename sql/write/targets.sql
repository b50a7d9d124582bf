-- The rows of event_targets, which follow from the events.

CREATE FUNCTION immutable.derive_targets() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_targets';
COMMENT ON FUNCTION immutable.derive_targets() IS
'Trigger that writes the targets of an event into immutable.event_targets.
It runs AFTER INSERT on immutable.events.
Raises 55000 if no table of targets refers to the table of events.';

CREATE TRIGGER "~immutable_targets" AFTER INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.derive_targets();
