-- Attacks on the recording of row changes, by the owner of a tracked table, by whoever gives a condition, by values, and by
-- damage to immutable.tracking.
\set SHOW_CONTEXT never
\set VERBOSITY default
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
DROP ROLE IF EXISTS regress_attacker, regress_condition_giver;
RESET client_min_messages;
CREATE ROLE regress_attacker;
CREATE ROLE regress_condition_giver;
GRANT immutable_tracker TO regress_condition_giver;
CREATE SCHEMA app AUTHORIZATION regress_attacker;
GRANT USAGE, CREATE ON SCHEMA app TO regress_condition_giver;
CREATE VIEW public.recorded AS
  SELECT actor_id, action, resource_id, targets, metadata, occurred_at, seq FROM immutable.events;

-- The owner of a tracked table has no right to the log's schema. It has its own tables nevertheless.
SET ROLE regress_attacker;
CREATE TABLE app.parted (id integer, part integer, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE app.parent (id integer PRIMARY KEY);
RESET ROLE;
SELECT immutable.track_table('app.parted'), immutable.track_table('app.parent') \g /dev/null
SET ROLE regress_attacker;
CREATE TABLE app.parted_1 PARTITION OF app.parted FOR VALUES IN (1);
CREATE TABLE app.parted_2 (LIKE app.parted INCLUDING ALL);
ALTER TABLE app.parted ATTACH PARTITION app.parted_2 FOR VALUES IN (2);
ALTER TABLE app.parted DETACH PARTITION app.parted_2;
CREATE TABLE app.child (more text) INHERITS (app.parent);
ALTER TABLE app.child DISABLE TRIGGER USER;
ALTER TABLE app.child ENABLE TRIGGER USER;
ALTER TRIGGER "~immutable_capture_insert" ON app.child RENAME TO other;
INSERT INTO app.parted_1 VALUES (1, 1);
INSERT INTO app.child VALUES (2);
INSERT INTO app.parted_2 VALUES (3, 2);
-- Another trigger in the place of the log's.
CREATE FUNCTION app.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE OR REPLACE TRIGGER "~immutable_capture_insert" AFTER INSERT ON app.parted_1 EXECUTE FUNCTION app.nothing();
INSERT INTO app.parted_1 VALUES (4, 1);
RESET ROLE;
SELECT actor_id, action, resource_id, metadata FROM public.recorded
WHERE actor_id = 'regress_attacker' ORDER BY occurred_at, seq;
SELECT relation, problem FROM immutable.tracked_tables WHERE problem IS NOT NULL;

-- What a condition sets does not change how values are recorded, and does not stay.
SET ROLE regress_condition_giver;
CREATE FUNCTION app.sets(id integer) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  PERFORM set_config('DateStyle', 'German', false), set_config('TimeZone', 'Asia/Tokyo', false),
    set_config('extra_float_digits', '-10', false), set_config('IntervalStyle', 'sql_standard', false);
  RETURN true;
END $$;
CREATE TABLE app.sets (id integer PRIMARY KEY, d date, t timestamptz, f float8, i interval);
SELECT immutable.track_table('app.sets', condition => 'app.sets(id)');
INSERT INTO app.sets VALUES (1, '2020-12-31', '2020-12-31 00:00+00', 1.0 / 3, '1 day 2 hours'),
  (2, '2020-12-31', '2020-12-31 00:00+00', 1.0 / 3, '1 day 2 hours');
RESET ROLE;
SELECT metadata - 'id' AS metadata FROM public.recorded WHERE action = 'sets.created' ORDER BY resource_id;
SELECT current_setting('DateStyle') LIKE 'German%' AS date_style_stays;

-- What a condition changes in another table is recorded if that table's condition is true, whatever the first one has set.
SET ROLE regress_condition_giver;
CREATE FUNCTION app.abs(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 0';
CREATE TABLE app.watched (id integer PRIMARY KEY);
CREATE FUNCTION app.writes(id integer) RETURNS boolean LANGUAGE plpgsql VOLATILE AS
  'BEGIN INSERT INTO app.watched VALUES (-50 - id); RETURN true; END';
CREATE FUNCTION app.hides(id integer) RETURNS boolean LANGUAGE plpgsql STABLE SET search_path = app, pg_catalog AS
  'BEGIN RETURN writes(id); END';
CREATE TABLE app.hiding (id integer PRIMARY KEY);
SELECT immutable.track_table('app.hiding', condition => 'app.hides(id)'),
  immutable.track_table('app.watched', condition => 'abs(id) > 10') \g /dev/null
INSERT INTO app.hiding VALUES (1), (2);
RESET ROLE;
SELECT action, resource_id FROM public.recorded WHERE action ~ '^(hiding|watched)' ORDER BY action, resource_id;

-- The text of rows within rows doubles its quotes at each level, up to more than PostgreSQL can hold.
DO $$
BEGIN
  CREATE TYPE app.nested_0 AS (a text);
  FOR i IN 1..34 LOOP EXECUTE format('CREATE TYPE app.nested_%s AS (a app.nested_%s)', i, i - 1); END LOOP;
END $$;
CREATE TABLE app.nested (id integer PRIMARY KEY, a app.nested_34);
SELECT immutable.track_table('app.nested') \g /dev/null
DO $$
DECLARE
  value text := 'ROW(''"'')::app.nested_0';
BEGIN
  FOR i IN 1..34 LOOP value := format('ROW(%s)::app.nested_%s', value, i); END LOOP;
  EXECUTE format('INSERT INTO app.nested VALUES (1, %s)', value);
END $$;
SELECT action, metadata FROM public.recorded WHERE action LIKE 'nested.%';

-- The blanks at the end of a char(n) mean nothing in a key, a tenant or a person.
CREATE TABLE app.padded (id char(8) PRIMARY KEY, org char(6), person char(4));
SELECT immutable.track_table('app.padded', tenant_column => 'org', subject_columns => '{person}') \g /dev/null
INSERT INTO app.padded VALUES ('a', 'org', 'p');
SELECT '[' || tenant_id || ']' AS tenant_id, '[' || resource_id || ']' AS resource_id, targets, metadata
FROM immutable.events WHERE action = 'padded.created';

-- Many long names of columns do not fit into the event that says what is tracked.
DO $$
BEGIN
  EXECUTE (SELECT 'CREATE TABLE app.wide (id integer PRIMARY KEY,'
    || string_agg(format('%s_%s integer DEFAULT 1', rpad('c', 50, 'c'), i), ',') || ')' FROM generate_series(1, 1590) i);
END $$;
SELECT immutable.track_table('app.wide', mask => (
  SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = 'app.wide'::regclass AND attname LIKE 'cc%'));
INSERT INTO app.wide VALUES (1);
SELECT action, left(metadata::text, 60) AS metadata, metadata -> 'mask' -> 'count' AS masked
FROM immutable.events WHERE action = 'wide.created' OR resource_id = 'app.wide' ORDER BY action;

-- A resource_type that no event can have, written by hand.
CREATE TABLE app.edited (id integer PRIMARY KEY);
SELECT immutable.track_table('app.edited') \g /dev/null
UPDATE immutable.tracking SET resource_type = 'immutable' WHERE table_name = 'edited';
INSERT INTO app.edited VALUES (1);
UPDATE immutable.tracking SET resource_type = '' WHERE table_name = 'edited';
INSERT INTO app.edited VALUES (2);
UPDATE immutable.tracking SET resource_type = repeat('x', 300) WHERE table_name = 'edited';
INSERT INTO app.edited VALUES (3);
SELECT action, resource_type, resource_id FROM immutable.events WHERE action LIKE '%edited.created' ORDER BY resource_id;
SELECT problem FROM immutable.tracked_tables WHERE relation = 'app.edited';

SELECT valid, breaks_found FROM immutable.verify_chain();

SET client_min_messages = warning;
DROP SCHEMA app CASCADE;
DROP VIEW public.recorded;
DROP OWNED BY regress_attacker, regress_condition_giver;
DROP ROLE regress_attacker, regress_condition_giver;
