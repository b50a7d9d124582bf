-- What happens when an event is inserted. PostgreSQL runs triggers of one kind in the order of
-- their names, and `~` sorts last: the chain runs after all other triggers, so that nothing changes
-- an event that is already hashed.

CREATE FUNCTION immutable.chain() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_chain';
COMMENT ON FUNCTION immutable.chain() IS
'Trigger that validates an event, appends it to a lane of its tenant''s chain and computes its hash.
It runs BEFORE INSERT on immutable.events. It fills in the session''s settings for columns that are
left out or NULL, sorts the targets, and sets the columns that belong to the chain. With
immutable.restore = on it takes the events of a dump as they are, if they match their hash.
Raises 23514 for an event that does not fit the action schemas, and for a tenant that belongs to another
shard than the table, where the log is distributed; 23502 for a column that is missing,
22023 for a value of the wrong form, 22001 for a text that is too long, 22021 for a setting that is
not UTF-8, 22008 for a time outside the years 0001 to 9999, 54000 for an event that is larger than
the limits, 42501 for a reserved name or a tenant that the role may not record for, 428C9 for a
value in a column of the chain, 25006 where a subscription feeds the log, 55P03 if lock_timeout runs
out while it waits for a lane, 55000 if a trigger would run after it, if the table was altered, or
if nothing can be recorded while immutable.restore is on, and XX001 for an event of a dump that does
not match its hash.';

CREATE TRIGGER "~immutable_chain" BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.chain();
