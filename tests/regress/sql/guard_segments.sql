-- What is said to those who would change a segment. (tests/server/test_guard_segments.py has all the commands.)
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
SET client_min_messages = warning;
SET immutable.allow_ddl = on;
DROP EXTENSION IF EXISTS immutable;
RESET immutable.allow_ddl;
CREATE EXTENSION immutable;
RESET client_min_messages;
INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('s', 'a', 'one', '[{"type":"t"}]'), ('s', 'a', 'two', '[]');
CALL immutable.seal('infinity');
SELECT segment, state, events, targets FROM immutable.segments;
UPDATE immutable.events SET action = 'forged';
DELETE FROM immutable.events;
INSERT INTO immutable.events_1 SELECT * FROM immutable.events_1;
COPY immutable.event_targets_1 FROM STDIN;
\.
UPDATE immutable.event_targets_1 SET target_id = 'forged';
TRUNCATE immutable.events, immutable.event_targets;
TRUNCATE immutable.event_targets_1;
UPDATE immutable.segments SET events = 0;
DELETE FROM immutable.segments;
ALTER TABLE immutable.events_1 NO INHERIT immutable.events;
CREATE TABLE immutable.events_2 () INHERITS (immutable.events);
CREATE TABLE child () INHERITS (immutable.events_1);
CREATE TRIGGER a BEFORE INSERT ON immutable.events_1 FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
DROP TRIGGER "~immutable_delete" ON immutable.events_1;
ALTER EXTENSION immutable DROP TABLE immutable.events_1;
DROP TABLE immutable.events_1 CASCADE;
SELECT count(*) FROM immutable.events;
-- Other tests begin with a log that has none.
SET client_min_messages = warning;
SET immutable.allow_ddl = on;
DROP EXTENSION immutable;
RESET immutable.allow_ddl;
CREATE EXTENSION immutable;
