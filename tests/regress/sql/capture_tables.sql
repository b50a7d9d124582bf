-- Which tables are tracked, and what is recorded of them: the arguments of track_table(), its errors, and who may call it.
\set SHOW_CONTEXT never
\set VERBOSITY default
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
-- Other tests have tables of the same names.
SELECT clock_timestamp() AS begun \gset
DROP ROLE IF EXISTS regress_tracker, regress_owner, regress_auditor, regress_nobody;
RESET client_min_messages;
CREATE ROLE regress_tracker;
CREATE ROLE regress_owner;
CREATE ROLE regress_auditor;
CREATE ROLE regress_nobody;
GRANT immutable_tracker TO regress_tracker;
GRANT immutable_auditor TO regress_auditor;
CREATE SCHEMA app AUTHORIZATION regress_owner;
CREATE SEQUENCE app.a_sequence;
GRANT USAGE ON SCHEMA app TO PUBLIC;

-- Runs a statement that must be refused, and shows the error.
CREATE FUNCTION public.refused(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  message text; detail text; hint text;
BEGIN
  BEGIN
    EXECUTE statement;
    RAISE EXCEPTION 'NOT REFUSED';
  EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN NEXT SQLSTATE || ': ' || message;
    IF detail <> '' THEN RETURN NEXT '  DETAIL: ' || detail; END IF;
    IF hint <> '' THEN RETURN NEXT '  HINT: ' || hint; END IF;
  END;
END $$;
-- The capturing triggers of a table.
CREATE FUNCTION public.triggers(relation regclass) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT tgenabled::text || ' ' || pg_catalog.pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = relation AND NOT tgisinternal
  ORDER BY tgname COLLATE "C" $$;
-- What is known of tracked tables, without what depends on the run.
CREATE VIEW public.stored AS
  SELECT schema_name, table_name, relation = (quote_ident(schema_name) || '.' || quote_ident(table_name))::regclass AS found,
    attributes, numbers, tracked_by FROM immutable.tracking ORDER BY 1, 2;
GRANT SELECT ON public.stored TO PUBLIC;

SET ROLE regress_owner;
CREATE TABLE app.persons (person integer PRIMARY KEY, name text);
CREATE TABLE app.invoices (region text, number integer, org text, iban text, amount numeric, person integer REFERENCES app.persons,
  search tsvector, "Mixed Case" text, PRIMARY KEY (region, number));
ALTER TABLE app.invoices DROP COLUMN org, ADD COLUMN org text;
RESET ROLE;

\echo '-- Defaults: the name, the primary key, all columns and operations.'
SET ROLE regress_tracker;
SELECT immutable.track_table('app.invoices');
SELECT relation, resource_type, id_columns, columns, exclude, mask, tenant_column, subject_columns, operations, condition,
  tracked_by, problem FROM immutable.tracked_tables \gx
RESET ROLE;
SELECT * FROM public.triggers('app.invoices');
SELECT * FROM public.stored;

\echo '-- A further call replaces all of it.'
SET ROLE regress_tracker;
SELECT immutable.track_table('app.invoices', resource_type => 'invoice', id_columns => '{number}', exclude => '{search,person}',
  mask => '{iban,"Mixed Case"}', tenant_column => 'org', subject_columns => '{person}', operations => '{delete,insert}');
SELECT relation, resource_type, id_columns, columns, exclude, mask, tenant_column, subject_columns, operations, condition,
  tracked_by, problem FROM immutable.tracked_tables \gx
RESET ROLE;
SELECT * FROM public.triggers('app.invoices');
SELECT * FROM public.stored;
SELECT immutable.track_table('app.invoices', columns => '{amount,iban}', mask => '{iban}', id_columns => '{}');
SELECT id_columns, columns, mask FROM immutable.tracked_tables;
SELECT action, resource_type, resource_id, actor_id, metadata - 'condition' FROM immutable.events
WHERE action = 'immutable.table_tracked' AND resource_id = 'app.invoices' ORDER BY lane, seq;

\echo '-- untrack_table() takes all of it back, once.'
SET ROLE regress_tracker;
SELECT immutable.untrack_table('app.invoices') AS was_tracked, immutable.untrack_table('app.invoices') AS is_tracked_again;
RESET ROLE;
SELECT count(*) FROM public.triggers('app.invoices');
SELECT count(*) FROM immutable.tracking;
SELECT action, resource_id, metadata FROM immutable.events WHERE action = 'immutable.table_untracked' AND resource_id = 'app.invoices';

\echo '-- What is rolled back was not.'
BEGIN;
SELECT immutable.track_table('app.invoices');
SAVEPOINT s;
SELECT immutable.untrack_table('app.invoices');
ROLLBACK TO s;
SELECT count(*) FROM public.triggers('app.invoices');
ROLLBACK;
SELECT count(*) FROM public.triggers('app.invoices');
SELECT count(*) FROM immutable.tracking;

\echo '-- Arguments of the wrong form.'
SELECT public.refused($$SELECT immutable.track_table(NULL)$$);
SELECT public.refused($$SELECT immutable.untrack_table(NULL)$$);
SELECT public.refused($$SELECT immutable.track_table('app.nothing')$$);
SELECT public.refused($$SELECT immutable.track_table(4294967295::oid)$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', '')$$);
SELECT public.refused(format('SELECT immutable.track_table(''app.invoices'', %L)', repeat('é', 101)));
SELECT public.refused($$SELECT immutable.track_table('app.invoices', 'immutable')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', 'immutable.events')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', id_columns => '{nothing}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', columns => '{nothing}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', exclude => '{"mixed case"}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', mask => '{"\"Mixed Case\""}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', tenant_column => 'ctid')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', subject_columns => '{tableoid}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', exclude => '{........pg.dropped.3........}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', exclude => '{search,search}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', exclude => '{NULL}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', columns => '{}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', columns => '{iban}', exclude => '{iban}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', mask => '{iban}', exclude => '{iban}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', columns => '{amount}', mask => '{iban}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', mask => '{number}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', exclude => '{region}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', mask => '{person}', subject_columns => '{person}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', mask => '{org}', tenant_column => 'org')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', operations => '{}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', operations => NULL)$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', operations => '{insert,select}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', operations => '{INSERT}')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices', operations => '{insert,NULL}')$$);
\echo '-- exclude, mask and subject_columns that are NULL are empty.'
SELECT immutable.track_table('app.invoices', exclude => NULL, mask => NULL, subject_columns => NULL, id_columns => NULL);
SELECT id_columns, columns, exclude, mask, subject_columns FROM immutable.tracked_tables;
SELECT immutable.untrack_table('app.invoices');

\echo '-- Conditions: one boolean expression on one row.'
SELECT public.refused(format('SELECT immutable.track_table(''app.invoices'', condition => %L)', condition)) FROM (VALUES
  (1, ''), (2, 'amount'), (3, 'nothing > 1'), (4, 'amount > 1; DROP TABLE app.persons'),
  (5, 'true) IS TRUE; DROP TABLE app.persons; SELECT (true'), (6, 'true) FROM app.persons --'), (7, 'true, false'),
  (8, 'amount > 1 FROM app.persons'), (9, 'true WHERE false'), (10, 'true AS other'), (11, 'true /*'),
  (12, 'EXISTS (SELECT FROM app.persons)'), (13, 'amount > (SELECT 1)'),
  (14, 'EXISTS (WITH w AS (DELETE FROM app.persons RETURNING 1) SELECT FROM w)'),
  (15, 'count(*) > 0'), (16, 'row_number() OVER () > 0'), (17, 'generate_series(1, 2) > 0'), (18, 'random() > 0.5'),
  (19, 'nextval(''app.a_sequence'') > 0'), (20, 'pg_temp.f(amount)'), (21, 'U&"pg\005ftemp".f(amount)'), (22, 'amount::pg_temp.t > 1'),
  (23, 'ctid IS NULL'), (24, 'invoices.amount > 1'), (25, 'invoices IS NOT NULL'), (26, 'immutable_row IS NOT NULL'),
  (27, '$1 IS NULL'), (28, '(immutable_row).*'), (29, 'true UNION SELECT true'), (30, 'set_config(''a.b'', ''c'', false) = ''c'''),
  (31, 'true LIMIT 1'), (32, 'VALUES (true)'), (33, 'my_function(amount)')
) c (n, condition) ORDER BY n;
SELECT count(*) AS tracked FROM immutable.tracking;
SELECT immutable.track_table('app.invoices', condition => $$amount > 100 AND "Mixed Case" <> 'a''b' OR immutable_row.org = '-- no comment' -- a comment$$);
SELECT condition, problem FROM immutable.tracked_tables;
SELECT metadata -> 'condition' FROM immutable.events WHERE action = 'immutable.table_tracked' AND resource_id = 'app.invoices' AND metadata -> 'condition' <> 'null';
SELECT immutable.untrack_table('app.invoices');

\echo '-- Relations of other kinds.'
CREATE VIEW app.a_view AS SELECT 1 AS a;
CREATE MATERIALIZED VIEW app.a_matview AS SELECT 1 AS a;
CREATE TYPE app.a_type AS (a integer);
CREATE UNLOGGED TABLE app.an_unlogged (a integer);
CREATE TEMPORARY TABLE a_temporary (a integer);
CREATE TABLE app.toasted (a text);
CREATE TABLE app.immutable (a integer);
CREATE TABLE app."immutable.x" (a integer);
SELECT public.refused($$SELECT immutable.track_table('app.a_view')$$);
SELECT public.refused($$SELECT immutable.track_table('app.a_matview')$$);
SELECT public.refused($$SELECT immutable.track_table('app.a_sequence')$$);
SELECT public.refused($$SELECT immutable.track_table('app.a_type')$$);
SELECT public.refused($$SELECT immutable.track_table('app.invoices_pkey')$$);
SELECT public.refused($$SELECT immutable.track_table('app.an_unlogged')$$);
SELECT regexp_replace(public.refused($$SELECT immutable.track_table('a_temporary')$$), 'pg_temp_\d+', 'pg_temp_N');
SELECT regexp_replace(public.refused(format('SELECT immutable.track_table(%s::oid)', reltoastrelid)), 'toast_\d+', 'toast_N')
FROM pg_class WHERE oid = 'app.toasted'::regclass;
SELECT public.refused($$SELECT immutable.track_table('pg_catalog.pg_class')$$);
SELECT public.refused($$SELECT immutable.track_table('information_schema.sql_features')$$);
SELECT public.refused($$SELECT immutable.track_table('immutable.events')$$);
SELECT public.refused($$SELECT immutable.track_table('immutable.tracking')$$);
SELECT public.refused($$SELECT immutable.track_table('immutable.tracked_tables')$$);
SELECT public.refused($$SELECT immutable.track_table('app.immutable')$$);
SELECT public.refused($$SELECT immutable.track_table('app."immutable.x"')$$);
SELECT immutable.track_table('app.immutable', 'app_immutable');
INSERT INTO app.immutable VALUES (1);
SELECT action, resource_type FROM immutable.events WHERE resource_type = 'app_immutable';
SELECT immutable.untrack_table('app.immutable');

\echo '-- Partitions have triggers of their own. The root is tracked, and nothing else of the tree.'
CREATE TABLE app.parted (a integer, b integer, c text, PRIMARY KEY (a, b)) PARTITION BY LIST (a);
CREATE TABLE app.parted_1 PARTITION OF app.parted FOR VALUES IN (1) PARTITION BY LIST (b);
CREATE TABLE app.parted_1_1 (c text, gone text, b integer NOT NULL, a integer NOT NULL);
ALTER TABLE app.parted_1_1 DROP COLUMN gone;
ALTER TABLE app.parted_1 ATTACH PARTITION app.parted_1_1 FOR VALUES IN (1);
SELECT public.refused($$SELECT immutable.track_table('app.parted_1')$$);
SELECT public.refused($$SELECT immutable.track_table('app.parted_1_1')$$);
SELECT immutable.track_table('app.parted', tenant_column => 'c');
SELECT relation, id_columns FROM immutable.tracked_tables;
SELECT * FROM public.triggers('app.parted');
SELECT * FROM public.triggers('app.parted_1');
SELECT * FROM public.triggers('app.parted_1_1');
SELECT public.refused($$SELECT immutable.track_table('app.parted_1_1')$$);
SELECT public.refused($$SELECT immutable.untrack_table('app.parted_1_1')$$);
INSERT INTO app.parted_1_1 (a, b, c) VALUES (1, 1, 'T');
SELECT action, tenant_id, resource_id, metadata FROM immutable.events WHERE resource_type = 'parted' AND created_at > :'begun';
SELECT immutable.untrack_table('app.parted');
SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~immutable_capture_%';

\echo '-- With inheritance, triggers fire for each row: a parent has no columns of its children.'
CREATE TABLE app.parent (a integer PRIMARY KEY, b text);
CREATE TABLE app.child (c text) INHERITS (app.parent);
CREATE TABLE app.other_parent (d text);
CREATE TABLE app.grandchild () INHERITS (app.child, app.other_parent);
SELECT immutable.track_table('app.child', id_columns => '{a}');
SELECT * FROM public.triggers('app.grandchild');
SELECT count(*) FROM public.triggers('app.parent');
SELECT public.refused($$SELECT immutable.track_table('app.parent')$$);
SELECT public.refused($$SELECT immutable.track_table('app.other_parent')$$);
SELECT public.refused($$SELECT immutable.track_table('app.grandchild')$$);
SELECT public.refused($$SELECT immutable.untrack_table('app.grandchild')$$);
SELECT immutable.untrack_table('app.child');
SELECT immutable.track_table('app.parent', mask => '{b}');
SELECT * FROM public.triggers('app.child');
INSERT INTO app.grandchild (a, b, c, d) VALUES (1, 'secret', 'c', 'd');
UPDATE app.parent SET b = 'more';
SELECT action, resource_id, metadata FROM immutable.events WHERE resource_type = 'parent' AND created_at > :'begun' ORDER BY tenant_id, lane, seq;
SELECT immutable.untrack_table('app.parent');

\echo '-- Foreign tables have no transition tables, and neither has a tree with one of them.'
CREATE FOREIGN DATA WRAPPER regress_wrapper;
CREATE SERVER regress_server FOREIGN DATA WRAPPER regress_wrapper;
CREATE FOREIGN TABLE app.foreign_table (a integer, b text) SERVER regress_server;
SELECT immutable.track_table('app.foreign_table', operations => '{insert,update,delete}');
SELECT * FROM public.triggers('app.foreign_table');
SELECT immutable.untrack_table('app.foreign_table');
SELECT immutable.track_table('app.parted', operations => '{insert}');
SELECT immutable.untrack_table('app.parted');
ALTER TABLE app.parted DROP CONSTRAINT parted_pkey;
CREATE FOREIGN TABLE app.parted_2 PARTITION OF app.parted FOR VALUES IN (2) SERVER regress_server;
SELECT immutable.track_table('app.parted', operations => '{insert}');
SELECT * FROM public.triggers('app.parted');
SELECT * FROM public.triggers('app.parted_1_1');
SELECT * FROM public.triggers('app.parted_2');
DROP FOREIGN TABLE app.parted_2;
SELECT immutable.track_table('app.parted', operations => '{insert,truncate}');
SELECT * FROM public.triggers('app.parted');
SELECT * FROM public.triggers('app.parted_1_1');
SELECT immutable.untrack_table('app.parted');
DROP FOREIGN TABLE app.foreign_table;
DROP SERVER regress_server;
DROP FOREIGN DATA WRAPPER regress_wrapper;

\echo '-- A further call repairs what was done to the triggers.'
SELECT immutable.track_table('app.toasted');
ALTER TABLE app.toasted DISABLE TRIGGER "~immutable_capture_insert";
ALTER TABLE app.toasted ENABLE REPLICA TRIGGER "~immutable_capture_update";
DROP TRIGGER "~immutable_capture_delete" ON app.toasted;
CREATE FUNCTION app.nothing() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
CREATE TRIGGER "~immutable_capture_delete" AFTER DELETE ON app.toasted FOR EACH STATEMENT EXECUTE FUNCTION app.nothing();
DROP TRIGGER "~immutable_capture_truncate" ON app.toasted;
CREATE TRIGGER "~immutable_capture_truncate" BEFORE TRUNCATE ON app.toasted EXECUTE FUNCTION immutable.capture();
SELECT immutable.track_table('app.toasted');
SELECT * FROM public.triggers('app.toasted');
SELECT immutable.untrack_table('app.toasted');
SELECT count(*) FROM public.triggers('app.toasted');

\echo '-- The types of subjects: the referenced table''s resource_type or name, or the column''s name.'
SELECT immutable.track_table('app.invoices', id_columns => '{number}', subject_columns => '{person,org}', columns => '{amount}');
INSERT INTO app.persons VALUES (7, 'Ada');
INSERT INTO app.invoices (region, number, person, org, amount) VALUES ('eu', 1, 7, 'acme', 1);
SELECT immutable.track_table('app.persons', 'human');
UPDATE app.invoices SET amount = 2;
SELECT action, resource_id, targets FROM immutable.events WHERE resource_type = 'invoices' ORDER BY tenant_id, lane, seq;
SELECT immutable.untrack_table('app.persons'), immutable.untrack_table('app.invoices');

\echo '-- The configuration follows new names. If a name is gone, no value is recorded.'
SELECT immutable.track_table('app.invoices', 'bill', '{number}', exclude => '{search}', mask => '{iban}', tenant_column => 'org');
ALTER TABLE app.invoices RENAME COLUMN iban TO account;
ALTER TABLE app.invoices RENAME COLUMN org TO tenant;
ALTER TABLE app.invoices RENAME COLUMN number TO no;
ALTER TABLE app.invoices RENAME TO bills;
UPDATE app.bills SET account = 'DE1', amount = 3;
SELECT tenant_id, resource_id, metadata FROM immutable.events WHERE action = 'bill.updated' ORDER BY tenant_id, lane, seq;
ALTER TABLE app.bills DROP COLUMN account;
UPDATE app.bills SET amount = 4, search = 'a';
SELECT tenant_id, resource_id, metadata FROM immutable.events WHERE action = 'bill.updated' AND metadata -> 'amount' ->> 'new' = '4';
ALTER TABLE app.bills DROP COLUMN tenant;
SELECT problem FROM immutable.tracked_tables;
UPDATE app.bills SET amount = 4.5;
SELECT tenant_id, resource_id, metadata FROM immutable.events WHERE action = 'bill.updated' AND metadata -> 'amount' -> 'new' IS NULL;
SELECT immutable.track_table('app.bills', 'bill', '{no}');
UPDATE app.bills SET amount = 5;
SELECT metadata FROM immutable.events WHERE action = 'bill.updated' AND metadata -> 'amount' ->> 'new' = '5';

\echo '-- Who may: members of immutable_tracker, and for a condition whoever may create triggers.'
SET ROLE regress_nobody;
SELECT public.refused($$SELECT immutable.track_table('app.bills')$$);
SELECT public.refused($$SELECT immutable.untrack_table('app.bills')$$);
SELECT public.refused($$TABLE immutable.tracked_tables$$);
SET ROLE regress_owner;
SELECT public.refused($$SELECT immutable.track_table('app.bills')$$);
SELECT public.refused($$CREATE TRIGGER t AFTER INSERT ON app.bills FOR EACH STATEMENT EXECUTE FUNCTION immutable.capture()$$);
SET ROLE regress_auditor;
SELECT relation FROM immutable.tracked_tables;
SELECT table_name FROM immutable.tracking;
SELECT public.refused($$SELECT immutable.track_table('app.bills')$$);
SET ROLE regress_tracker;
SELECT relation FROM immutable.tracked_tables;
SELECT table_name FROM immutable.tracking;
SELECT public.refused($$DELETE FROM immutable.tracking$$);
SELECT public.refused($$UPDATE immutable.tracked_tables SET resource_type = 'x'$$);
SELECT public.refused($$SELECT immutable.track_table('app.bills', condition => 'amount > 1')$$);
SELECT immutable.track_table('app.bills', exclude => '{amount}');
RESET ROLE;
GRANT TRIGGER ON app.bills TO regress_tracker;
SET ROLE regress_tracker;
SELECT immutable.track_table('app.bills', condition => 'amount > 1');
RESET ROLE;
GRANT immutable_tracker TO regress_owner;
SET ROLE regress_owner;
SELECT immutable.track_table('app.bills', condition => 'amount > 2');
SELECT immutable.untrack_table('app.bills');
RESET ROLE;
BEGIN READ ONLY;
SELECT public.refused($$SELECT immutable.track_table('app.bills')$$);
SELECT public.refused($$SELECT immutable.untrack_table('app.bills')$$);
COMMIT;

\echo '-- What conditions do.'
CREATE FUNCTION app.fails(integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN 1 / ($1 - 3) > 0; END$$;
CREATE TABLE app.conditions (a integer, b text, gone text, c text);
ALTER TABLE app.conditions DROP COLUMN gone;
SELECT immutable.track_table('app.conditions', condition => 'a > 1 AND c IS NOT NULL');
INSERT INTO app.conditions (a, b, c) VALUES (1, 'no', 'c'), (2, 'yes', 'c'), (2, 'no', NULL);
UPDATE app.conditions SET a = 1 WHERE b = 'yes';
UPDATE app.conditions SET a = 0;
ALTER TABLE app.conditions ALTER COLUMN a TYPE bigint;
INSERT INTO app.conditions (a, b, c) VALUES (10000000000, 'yes, big', 'c');
SELECT action, metadata -> 'a' AS a, metadata -> 'b' AS b FROM immutable.events WHERE resource_type = 'conditions' ORDER BY tenant_id, lane, seq;
\echo '-- An error in it counts as true, and so does a column or a function that is gone.'
TRUNCATE app.conditions;
ALTER TABLE app.conditions ALTER COLUMN a TYPE integer;
SELECT immutable.track_table('app.conditions', 'failing', condition => 'app.fails(a)');
INSERT INTO app.conditions (a, b) VALUES (1, 'no'), (3, 'yes, it fails'), (4, 'yes');
ALTER FUNCTION app.fails RENAME TO fails_no_more;
INSERT INTO app.conditions (a, b) VALUES (1, 'yes, no function');
ALTER FUNCTION app.fails_no_more RENAME TO fails;
ALTER TABLE app.conditions RENAME a TO z;
INSERT INTO app.conditions (z, b) VALUES (1, 'yes, no column');
ALTER TABLE app.conditions RENAME z TO a;
INSERT INTO app.conditions (a, b) VALUES (1, 'no again');
SELECT metadata -> 'b' -> 'new' AS b FROM immutable.events WHERE resource_type = 'failing' AND action = 'failing.created'
ORDER BY tenant_id, lane, seq;
SELECT immutable.untrack_table('app.conditions');

SELECT count(*) FROM immutable.verify_breaks();
SET client_min_messages = warning;
DROP SCHEMA app CASCADE;
DROP FUNCTION public.refused(text), public.triggers(regclass);
DROP VIEW public.stored;
DROP ROLE regress_tracker, regress_owner, regress_auditor, regress_nobody;
SELECT count(*) FROM immutable.tracking;
