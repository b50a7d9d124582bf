-- Row changes of one's own tables, as events of the same chain. docs/row-changes.md is the guide.

CREATE TABLE immutable.tracking (
  schema_name name NOT NULL,
  table_name name NOT NULL,
  relation oid NOT NULL DEFAULT 0,
  database oid NOT NULL DEFAULT 0,
  resource_type text COLLATE "C" NOT NULL,
  id_columns name[] NOT NULL,
  columns name[],
  exclude name[] NOT NULL,
  mask name[] NOT NULL,
  tenant_column name,
  subject_columns name[] NOT NULL,
  operations text[] NOT NULL,
  condition text,
  attributes name[] NOT NULL DEFAULT '{}',
  numbers smallint[] NOT NULL DEFAULT '{}',
  tracked_at timestamptz NOT NULL,
  tracked_by text NOT NULL,
  PRIMARY KEY (schema_name, table_name)
);
COMMENT ON TABLE immutable.tracking IS
  'The tables whose row changes are recorded, and what is recorded of them. immutable.track_table() writes it; '
  'immutable.tracked_tables shows it.';
COMMENT ON COLUMN immutable.tracking.schema_name IS 'The schema of the table';
COMMENT ON COLUMN immutable.tracking.table_name IS 'The table, or the root of a partitioned table';
COMMENT ON COLUMN immutable.tracking.relation IS 'The table''s OID in this database';
COMMENT ON COLUMN immutable.tracking.database IS
  'The OID of the database that the OID belongs to. A row from a dump has another one, and its table is found by name';
COMMENT ON COLUMN immutable.tracking.resource_type IS 'What events.resource_type and the actions begin with';
COMMENT ON COLUMN immutable.tracking.id_columns IS 'The columns that resource_id is made of; empty if there are none';
COMMENT ON COLUMN immutable.tracking.columns IS 'The columns that are recorded; NULL for all';
COMMENT ON COLUMN immutable.tracking.exclude IS 'The columns that are not recorded';
COMMENT ON COLUMN immutable.tracking.mask IS 'The columns of which only that they changed is recorded';
COMMENT ON COLUMN immutable.tracking.tenant_column IS 'The column that holds the tenant; NULL if there is none';
COMMENT ON COLUMN immutable.tracking.subject_columns IS 'The columns whose values become targets';
COMMENT ON COLUMN immutable.tracking.operations IS 'What is recorded: insert, update, delete, truncate';
COMMENT ON COLUMN immutable.tracking.condition IS 'An SQL condition on a row; rows for which it is not true are not recorded';
COMMENT ON COLUMN immutable.tracking.attributes IS 'The names of all columns that the row names, as they were last seen';
COMMENT ON COLUMN immutable.tracking.numbers IS 'The numbers of these columns in the table, which a new name does not change';
COMMENT ON COLUMN immutable.tracking.tracked_at IS 'When immutable.track_table() was last called';
COMMENT ON COLUMN immutable.tracking.tracked_by IS 'Who called it, as events.recorded_by names it';
ALTER TABLE immutable.tracking ENABLE ROW LEVEL SECURITY;
CREATE POLICY tracker_select ON immutable.tracking FOR SELECT TO immutable_auditor, immutable_tracker USING (true);
COMMENT ON POLICY tracker_select ON immutable.tracking IS 'Auditors and whoever tracks tables see what is tracked';
SELECT pg_catalog.pg_extension_config_dump('immutable.tracking', '');

CREATE FUNCTION immutable.resolve_tracking() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_resolve_tracking';
COMMENT ON FUNCTION immutable.resolve_tracking() IS
'Trigger of immutable.tracking that finds the table and the columns of a row, which a dump may have brought.
It sets relation, database, attributes and numbers by the names in the row. If the table is not there, relation is 0,
the table is looked up by its name whenever the row is read, and immutable.tracked_tables names a problem. After a statement
it has every session read the rows anew.
Raises no error of its own.';
CREATE TRIGGER "~immutable_resolve" BEFORE INSERT ON immutable.tracking
  FOR EACH ROW EXECUTE FUNCTION immutable.resolve_tracking();
ALTER TABLE immutable.tracking ENABLE ALWAYS TRIGGER "~immutable_resolve";
CREATE TRIGGER "~immutable_tracking" AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON immutable.tracking
  FOR EACH STATEMENT EXECUTE FUNCTION immutable.resolve_tracking();
ALTER TABLE immutable.tracking ENABLE ALWAYS TRIGGER "~immutable_tracking";

CREATE FUNCTION immutable.capture() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_capture';
COMMENT ON FUNCTION immutable.capture() IS
'Trigger that records row changes of a tracked table. immutable.track_table() creates the triggers.
It runs AFTER the statement, or after each row of a foreign table and of a table with inheritance, with the rights of
the role that changes the rows. It keeps the changes until the transaction commits, when they are recorded as events.
Only the log''s owner may use it in a trigger.
Raises 54000 if the changes of one transaction exceed immutable.max_capture_size.';

CREATE FUNCTION immutable.track_table(
  relation regclass, resource_type text DEFAULT NULL, id_columns text[] DEFAULT NULL, columns text[] DEFAULT NULL,
  exclude text[] DEFAULT '{}', mask text[] DEFAULT '{}', tenant_column text DEFAULT NULL,
  subject_columns text[] DEFAULT '{}', operations text[] DEFAULT '{insert,update,delete,truncate}',
  condition text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_track_table';
COMMENT ON FUNCTION immutable.track_table(regclass, text, text[], text[], text[], text[], text, text[], text[], text) IS
'Records the row changes of a table from now on, in the transactions that make them.
A change of one row becomes an event <resource_type>.created, .updated or .deleted, and TRUNCATE one event .truncated.
Its metadata has one key for each column that changed, {"old": ..., "new": ...}. The call creates triggers on the table
and on its partitions and children, for which it locks them (SHARE ROW EXCLUSIVE, and ACCESS EXCLUSIVE where it drops a
trigger), and is recorded as immutable.table_tracked. A further call for the same table replaces what the call before
said. What is recorded follows new names of the table and of its columns. If a name can no longer be followed, only that
columns changed is recorded, until the function is called again.
- relation: a table, a partitioned table, a foreign table, or a table with its children. Partitions and children are
  tracked with it. Before PostgreSQL 16, TRUNCATE of a foreign table is not recorded.
- resource_type: events.resource_type, 1 to 200 bytes; NULL for the table''s name.
- id_columns: the columns that events.resource_id is made of; NULL for those of the primary key, empty for none. They
  cannot be in exclude or mask.
- columns: the columns to record; NULL for all, also those that are added later.
- exclude: columns not to record. A change of these alone records nothing.
- mask: columns of which the event says only that they changed, or the HMAC of their values where
  immutable.mask_key_file is set. It cannot name columns whose values are recorded elsewhere in the event.
- tenant_column: the column that holds the tenant; without it, events have the tenant of a trusted session, or none.
- subject_columns: columns that refer to persons. Their values become targets, so that immutable.erase_subject() finds
  them. The type of the target is the referenced table''s resource_type or name, or the column''s name.
- operations: which of insert, update, delete and truncate to record.
- condition: an SQL condition on the columns of one row. A change is recorded if it is true for the old row or the new
  one, and where it raises an error. It is evaluated with the rights of the role that changes the row, with search_path
  pg_catalog and other settings that do not depend on the session. It is one boolean expression without a subquery, an
  aggregate, a set, a volatile function, a temporary object, a system column or the name of the table.
Names of columns are taken as they are in the catalog, without quotes.
Returns nothing.
Raises 42809 for a relation of another kind, for a temporary and for an unlogged table, for a partition, and for a table
whose parents or children are tracked, 42501 for a table of the log or of PostgreSQL, for a reserved resource_type and,
where condition is given, for a caller without the TRIGGER privilege on the table, 42P01 for a table and 42703 for a
column that is not there, 22023 for an argument of the wrong form, for columns that two arguments name and for a
condition that is none, 22001 for a resource_type that is too long, 22004 for a relation, operations or an element of a
list that is NULL, 25006 on a standby, in a read-only transaction and in a copy of a log, and 0A000 where the log or
the table is distributed.';

CREATE FUNCTION immutable.untrack_table(relation regclass)
RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_untrack_table';
COMMENT ON FUNCTION immutable.untrack_table(regclass) IS
'Ends the recording of a table''s row changes, and records that as immutable.table_untracked.
It drops the triggers, for which it locks the table with its partitions and children (ACCESS EXCLUSIVE).
- relation: the table that was given to immutable.track_table().
Returns whether it was tracked.
Raises 22004 if relation is NULL, 42809 for a partition or a child of a tracked table, 25006 on a standby, in a
read-only transaction and in a copy of a log, and 0A000 where the log is distributed.';

CREATE FUNCTION immutable.capture_problem(relation oid) RETURNS text
LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_capture_problem';
COMMENT ON FUNCTION immutable.capture_problem(oid) IS
'Says what keeps row changes of a tracked table from being recorded as they should be.
- relation: the OID of a table in immutable.tracking.
Returns what is wrong, as a sentence without a full stop, or NULL.
Raises no error.';

CREATE VIEW immutable.tracked_tables AS
  SELECT pg_catalog.format('%I.%I', t.schema_name, t.table_name) AS relation, t.resource_type, t.id_columns, t.columns,
    t.exclude, t.mask, t.tenant_column, t.subject_columns, t.operations, t.condition, t.tracked_at, t.tracked_by,
    immutable.capture_problem(t.relation) AS problem
  FROM immutable.tracking t;
COMMENT ON VIEW immutable.tracked_tables IS
  'The tables whose row changes are recorded, what is recorded of them, and what keeps it from being recorded';
COMMENT ON COLUMN immutable.tracked_tables.relation IS 'The table, with its schema';
COMMENT ON COLUMN immutable.tracked_tables.resource_type IS 'events.resource_type of its changes';
COMMENT ON COLUMN immutable.tracked_tables.id_columns IS 'The columns that events.resource_id is made of';
COMMENT ON COLUMN immutable.tracked_tables.columns IS 'The columns that are recorded; NULL for all';
COMMENT ON COLUMN immutable.tracked_tables.exclude IS 'The columns that are not recorded';
COMMENT ON COLUMN immutable.tracked_tables.mask IS 'The columns of which only that they changed is recorded';
COMMENT ON COLUMN immutable.tracked_tables.tenant_column IS 'The column that holds the tenant';
COMMENT ON COLUMN immutable.tracked_tables.subject_columns IS 'The columns whose values become targets';
COMMENT ON COLUMN immutable.tracked_tables.operations IS 'What is recorded: insert, update, delete, truncate';
COMMENT ON COLUMN immutable.tracked_tables.condition IS 'A condition on the rows that are recorded';
COMMENT ON COLUMN immutable.tracked_tables.tracked_at IS 'When immutable.track_table() was last called';
COMMENT ON COLUMN immutable.tracked_tables.tracked_by IS 'Who called it';
COMMENT ON COLUMN immutable.tracked_tables.problem IS 'What keeps changes from being recorded as they should be; NULL if nothing does';

-- It is C code, and takes what it does with the owner's rights in itself.
CREATE FUNCTION immutable.capture_ddl() RETURNS event_trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_capture_ddl';
COMMENT ON FUNCTION immutable.capture_ddl() IS
'Event trigger function that keeps the recording of row changes in step with DDL.
New names of tables and columns go into immutable.tracking, new partitions and children get their triggers, and what
changes rows past the triggers or switches them off is recorded as an event of the log.
Raises no error of its own.';
-- A list of commands each, so that a missing library stops no other command. What can drop a column with CASCADE is in it.
CREATE EVENT TRIGGER immutable_capture_end ON ddl_command_end
  WHEN TAG IN ('ALTER TABLE', 'ALTER FOREIGN TABLE', 'ALTER INDEX', 'ALTER SCHEMA', 'ALTER TRIGGER', 'ALTER TYPE', 'CREATE TABLE',
    'CREATE FOREIGN TABLE', 'CREATE SCHEMA', 'CREATE TRIGGER', 'IMPORT FOREIGN SCHEMA')
  EXECUTE FUNCTION immutable.capture_ddl();
CREATE EVENT TRIGGER immutable_capture_drop ON sql_drop
  WHEN TAG IN ('ALTER TABLE', 'ALTER FOREIGN TABLE', 'ALTER TYPE', 'ALTER EXTENSION', 'CREATE EXTENSION', 'DROP TABLE', 'DROP FOREIGN TABLE',
    'DROP TRIGGER', 'DROP SCHEMA', 'DROP OWNED', 'DROP FUNCTION', 'DROP PROCEDURE', 'DROP ROUTINE', 'DROP AGGREGATE', 'DROP CAST',
    'DROP COLLATION', 'DROP LANGUAGE', 'DROP OPERATOR', 'DROP OPERATOR CLASS', 'DROP OPERATOR FAMILY', 'DROP ACCESS METHOD',
    'DROP TYPE', 'DROP DOMAIN', 'DROP VIEW', 'DROP MATERIALIZED VIEW', 'DROP EXTENSION', 'DROP SERVER',
    'DROP FOREIGN DATA WRAPPER')
  EXECUTE FUNCTION immutable.capture_ddl();
CREATE EVENT TRIGGER immutable_capture_rewrite ON table_rewrite EXECUTE FUNCTION immutable.capture_ddl();
ALTER EVENT TRIGGER immutable_capture_end ENABLE ALWAYS;
ALTER EVENT TRIGGER immutable_capture_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER immutable_capture_rewrite ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER immutable_capture_end IS 'Keeps the recording of row changes in step with tables, names, partitions and triggers';
COMMENT ON EVENT TRIGGER immutable_capture_drop IS 'Notes what is dropped of tracked tables';
COMMENT ON EVENT TRIGGER immutable_capture_rewrite IS 'Records that a tracked table was rewritten, past its triggers';
