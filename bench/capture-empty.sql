-- For bench/capture.py: a trigger that gets the old and the new rows of each UPDATE, and does nothing. No way that looks at the
-- rows of a whole statement costs less.
CREATE FUNCTION look_at_nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER look_at_nothing AFTER UPDATE ON invoice REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION look_at_nothing();
