-- What CREATE EXTENSION makes, that everything has a comment, and that it can be dropped and created again.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)

-- Starts from nothing, whichever files of this directory ran before.
SET client_min_messages = warning;
SET immutable.allow_ddl = on;
DROP EXTENSION IF EXISTS immutable;
RESET immutable.allow_ddl;
RESET client_min_messages;
CREATE EXTENSION immutable;
SELECT extversion, extrelocatable, extowner::regrole::text = current_user AS ours
FROM pg_extension WHERE extname = 'immutable';

-- Everything that belongs to it. (Types follow from the tables, and which are listed depends on the version.)
SELECT pg_describe_object(classid, objid, objsubid) COLLATE "C" AS object
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid <> 'pg_type'::regclass
  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'immutable')
ORDER BY object;

-- Nothing else is in its schema.
SELECT c.relkind, c.relname FROM pg_class c
WHERE c.relnamespace = 'immutable'::regnamespace AND c.relkind <> 'i'
ORDER BY c.relname COLLATE "C";
SELECT count(*) AS functions_of_others FROM pg_proc p
WHERE p.pronamespace = 'immutable'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                  AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass);

-- The columns, in the order of the contract.
SELECT a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type,
       CASE WHEN a.attnotnull THEN 'NOT NULL' END AS "null?",
       CASE WHEN a.attcollation <> t.typcollation THEN (SELECT collname FROM pg_collation c WHERE c.oid = a.attcollation) END AS collation,
       pg_get_expr(d.adbin, d.adrelid) AS "default"
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = 'immutable.events'::regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;
SELECT a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type,
       CASE WHEN a.attnotnull THEN 'NOT NULL' END AS "null?",
       CASE WHEN a.attcollation <> t.typcollation THEN (SELECT collname FROM pg_collation c WHERE c.oid = a.attcollation) END AS collation
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = 'immutable.event_targets'::regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;

-- Keys: every unique key of the two tables contains tenant_id.
SELECT conrelid::regclass AS "table", conname, pg_get_constraintdef(oid) AS definition
FROM pg_constraint
WHERE connamespace = 'immutable'::regnamespace AND contype IN ('p', 'u', 'f')
ORDER BY conrelid::regclass::text COLLATE "C", conname COLLATE "C";
SELECT i.indexrelid::regclass AS unique_key_without_tenant
FROM pg_index i
WHERE i.indrelid IN ('immutable.events'::regclass, 'immutable.event_targets'::regclass) AND i.indisunique
  AND NOT EXISTS (SELECT FROM pg_attribute a
                  WHERE a.attrelid = i.indrelid AND a.attname = 'tenant_id' AND a.attnum = ANY (i.indkey));

SELECT tgrelid::regclass AS "table", pg_get_triggerdef(oid) AS trigger
FROM pg_trigger
WHERE NOT tgisinternal AND tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'immutable'::regnamespace)
ORDER BY tgrelid::regclass::text COLLATE "C", tgname COLLATE "C";

-- Functions that run with rights other than the caller's, and the settings of all functions.
SELECT p.oid::regprocedure AS "security definer" FROM pg_proc p
WHERE p.pronamespace = 'immutable'::regnamespace AND p.prosecdef ORDER BY 1;
SELECT p.proname AS function, p.provolatile AS volatile, p.proparallel AS parallel, p.proisstrict AS strict, p.proconfig AS settings
FROM pg_proc p WHERE p.pronamespace = 'immutable'::regnamespace
ORDER BY p.proname COLLATE "C", p.pronargs, pg_catalog.oidvectortypes(p.proargtypes) COLLATE "C";

-- Everything has a comment: tables, columns, functions, policies, the schema, the extension, the roles.
SELECT a.attrelid::regclass AS "table", a.attname AS column_without_comment
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'immutable'::regnamespace AND c.relkind IN ('r', 'v') AND a.attnum > 0
  AND coalesce(col_description(a.attrelid, a.attnum), '') = '';
SELECT c.oid::regclass AS table_without_comment FROM pg_class c
WHERE c.relnamespace = 'immutable'::regnamespace AND c.relkind IN ('r', 'v')
  AND coalesce(obj_description(c.oid, 'pg_class'), '') = '';
SELECT p.oid::regprocedure AS function_without_comment FROM pg_proc p
WHERE p.pronamespace = 'immutable'::regnamespace AND coalesce(obj_description(p.oid, 'pg_proc'), '') = '';
SELECT p.polrelid::regclass AS "table", p.polname AS policy_without_comment FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
WHERE c.relnamespace = 'immutable'::regnamespace AND coalesce(obj_description(p.oid, 'pg_policy'), '') = '';
SELECT t.typname AS type_without_comment FROM pg_type t
WHERE t.typnamespace = 'immutable'::regnamespace AND t.typrelid = 0 AND t.typelem = 0 AND coalesce(obj_description(t.oid, 'pg_type'), '') = '';
SELECT e.evtname AS event_trigger_without_comment FROM pg_event_trigger e
WHERE e.evtname LIKE 'immutable\_%' AND coalesce(obj_description(e.oid, 'pg_event_trigger'), '') = '';
SELECT pg_describe_object(d.classid, d.objid, 0) AS cast_or_rule_without_comment FROM pg_depend d
WHERE d.refobjid = 'immutable.day_or_time'::regtype AND d.classid = 'pg_cast'::regclass AND obj_description(d.objid, 'pg_cast') IS NULL
UNION ALL SELECT r.rulename FROM pg_rewrite r
WHERE r.ev_class = 'immutable.viewer_key_import'::regclass AND obj_description(r.oid, 'pg_rewrite') IS NULL;
-- A function's says first, in one line, what it does, and last which errors it raises: docs/reference.md is made of them.
SELECT p.oid::regprocedure AS function_of_another_form FROM pg_proc p
WHERE p.pronamespace = 'immutable'::regnamespace AND obj_description(p.oid, 'pg_proc') !~ E'^[A-Z][^\n]{10,110}[.]\n(.*\n)?Raises [^\n]+(\n[^\n]+)*[.]$';
SELECT obj_description('immutable'::regnamespace, 'pg_namespace') AS schema_comment;
SELECT obj_description(oid, 'pg_extension') AS extension_comment FROM pg_extension WHERE extname = 'immutable';
SELECT rolname, rolcanlogin, rolsuper, rolinherit, rolcreaterole, rolbypassrls, shobj_description(oid, 'pg_authid') AS comment
FROM pg_roles WHERE rolname LIKE 'immutable\_%' ORDER BY rolname COLLATE "C";

-- Every setting has a description, and who may set it.
SELECT name, vartype, context, boot_val, min_val, max_val, short_desc <> '' AS described
FROM pg_settings WHERE name LIKE 'immutable.%' ORDER BY name COLLATE "C";

-- What a dump holds.
SELECT unnest(extconfig)::regclass AS dumped FROM pg_extension WHERE extname = 'immutable';

-- The log has no identity before its first event, and one after.
SELECT count(*) FROM immutable.log;
SELECT valid, events_checked, chains_checked, events_erased, breaks, breaks_found, tenants_checked, complete, log_id
FROM immutable.verify_chain();
SELECT * FROM immutable.heads();
SELECT immutable.get_events();
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('install-a', 'a', 'b');
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('install-b', 'a', 'b');
SELECT count(*), bool_and(l.log_id IS NOT NULL AND l.singleton AND l.created_at <= now() + interval '1 hour') FROM immutable.log l;
SELECT count(*) AS first_events, bool_and(e.log_id = l.log_id) AS of_this_log
FROM immutable.events e CROSS JOIN immutable.log l;
SELECT v.valid, v.events_checked, v.log_id = l.log_id AS of_this_log FROM immutable.verify_chain() v CROSS JOIN immutable.log l;

-- A database in another encoding is refused; a second one of the same cluster, where the roles are there, is not.
\set first :DBNAME
CREATE DATABASE regression_immutable_latin1 TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C';
\c regression_immutable_latin1
CREATE EXTENSION immutable;
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) AS left_behind FROM pg_namespace WHERE nspname = 'immutable';
\c :first
DROP DATABASE regression_immutable_latin1;
CREATE DATABASE regression_immutable_second TEMPLATE template0 ENCODING 'UTF8';
\c regression_immutable_second
-- A schema of this name that exists already may contain anything, so it is refused.
CREATE SCHEMA immutable;
CREATE EXTENSION immutable;
\echo :LAST_ERROR_SQLSTATE
DROP SCHEMA immutable;
CREATE EXTENSION immutable SCHEMA public;
\echo :LAST_ERROR_SQLSTATE
CREATE EXTENSION immutable;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('install-a', 'a', 'b');
SELECT valid, events_checked FROM immutable.verify_chain();
-- It is dropped without a trace, except for the roles, which belong to the cluster, and created again. A log with events is not dropped by mistake.
DROP EXTENSION immutable;
\echo :LAST_ERROR_SQLSTATE
SET immutable.allow_ddl = on;
DROP EXTENSION immutable;
RESET immutable.allow_ddl;
SELECT count(*) AS left_behind FROM pg_namespace WHERE nspname = 'immutable';
SELECT count(*) AS roles FROM pg_roles WHERE rolname IN ('immutable_writer', 'immutable_auditor', 'immutable_viewer', 'immutable_eraser');
CREATE EXTENSION immutable;
SELECT count(*) FROM immutable.events;
\c :first
DROP DATABASE regression_immutable_second;

-- Parts of it cannot be dropped.
DROP TABLE immutable.event_targets;
\echo :LAST_ERROR_SQLSTATE
DROP FUNCTION immutable.verify_chain(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, integer, boolean, text);
\echo :LAST_ERROR_SQLSTATE
