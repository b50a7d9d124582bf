-- The event triggers that keep DDL away from the extension's objects. Each has a list of commands,
-- so that a missing library stops no other command. They are ENABLE ALWAYS, so that
-- session_replication_role does not switch them off.

CREATE FUNCTION immutable.guard_ddl() RETURNS event_trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_guard_ddl';
COMMENT ON FUNCTION immutable.guard_ddl() IS
'Event trigger function that refuses DDL on the extension''s objects.
It refuses commands that change the extension''s tables, triggers, policies, rules, views, types or
functions, and DROP EXTENSION once there are events. With immutable.allow_ddl = on it lets them
through and records an event immutable.ddl.
Raises 42501 for a command that is refused, 55000 for one that would go unrecorded while
immutable.restore is on, and 0A000 for DROP INDEX CONCURRENTLY, which cannot be recorded.';

CREATE EVENT TRIGGER immutable_ddl_start ON ddl_command_start
  WHEN TAG IN ('DROP EXTENSION', 'DROP OWNED', 'DROP TRIGGER', 'DROP POLICY', 'DROP RULE', 'DROP INDEX',
    'ALTER EXTENSION',
    'ALTER TABLE', 'ALTER FOREIGN TABLE', 'ALTER VIEW', 'ALTER INDEX', 'ALTER SCHEMA', 'ALTER TRIGGER',
    'ALTER POLICY', 'ALTER RULE', 'ALTER TYPE', 'ALTER FUNCTION', 'ALTER PROCEDURE', 'ALTER ROUTINE', 'ALTER AGGREGATE',
    'CREATE TABLE', 'CREATE FOREIGN TABLE', 'CREATE INDEX', 'CREATE VIEW', 'CREATE SCHEMA', 'CREATE TRIGGER',
    'CREATE POLICY', 'CREATE RULE', 'CREATE FUNCTION', 'CREATE PROCEDURE', 'CREATE AGGREGATE')
  EXECUTE FUNCTION immutable.guard_ddl();
CREATE EVENT TRIGGER immutable_ddl_end ON ddl_command_end
  WHEN TAG IN ('ALTER TABLE', 'ALTER FOREIGN TABLE', 'ALTER VIEW', 'ALTER INDEX', 'ALTER SCHEMA', 'ALTER TRIGGER',
    'ALTER POLICY', 'ALTER RULE', 'ALTER TYPE', 'ALTER FUNCTION', 'ALTER PROCEDURE', 'ALTER ROUTINE', 'ALTER AGGREGATE',
    'CREATE TABLE', 'CREATE FOREIGN TABLE', 'CREATE INDEX', 'CREATE VIEW', 'CREATE SCHEMA', 'CREATE TRIGGER',
    'CREATE POLICY', 'CREATE RULE', 'CREATE FUNCTION', 'CREATE PROCEDURE', 'CREATE AGGREGATE')
  EXECUTE FUNCTION immutable.guard_ddl();
CREATE EVENT TRIGGER immutable_ddl_drop ON sql_drop
  WHEN TAG IN ('DROP TRIGGER', 'DROP POLICY', 'DROP RULE', 'DROP OWNED', 'DROP SCHEMA', 'DROP EXTENSION')
  EXECUTE FUNCTION immutable.guard_ddl();
-- PostgreSQL keeps the extension's tables from being dropped, but not the shards that Citus makes of them. Only
-- distribute() enables this trigger, so that a missing library stops DROP TABLE in no other database.
CREATE EVENT TRIGGER immutable_ddl_shard ON ddl_command_start WHEN TAG IN ('DROP TABLE')
  EXECUTE FUNCTION immutable.guard_ddl();
ALTER EVENT TRIGGER immutable_ddl_start ENABLE ALWAYS;
ALTER EVENT TRIGGER immutable_ddl_end ENABLE ALWAYS;
ALTER EVENT TRIGGER immutable_ddl_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER immutable_ddl_shard DISABLE;
COMMENT ON EVENT TRIGGER immutable_ddl_start IS
  'Refuses to drop the extension or its owner''s objects, and records a command that immutable.allow_ddl '
  'lets through before it runs';
COMMENT ON EVENT TRIGGER immutable_ddl_end IS
  'Refuses commands that have changed the extension''s objects, and inheritance';
COMMENT ON EVENT TRIGGER immutable_ddl_drop IS 'Refuses to drop the extension''s triggers, policies and rules';
COMMENT ON EVENT TRIGGER immutable_ddl_shard IS 'Refuses to drop a shard that holds events; immutable.distribute() enables it';
