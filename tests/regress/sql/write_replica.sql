-- Sessions that bring in what another server has recorded without being PostgreSQL's own workers: pglogical's and the like
-- replay a replication origin, loaders set session_replication_role and nothing else.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = error;
SET immutable.allow_ddl = on;
DROP EXTENSION IF EXISTS immutable;
RESET immutable.allow_ddl;
CREATE EXTENSION immutable;
SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin WHERE roname LIKE 'regress%';
CREATE ROLE regress_replica_app LOGIN;
CREATE ROLE regress_replica_feed LOGIN;
GRANT immutable_writer, immutable_eraser TO regress_replica_app;
RESET client_min_messages;

-- What the publisher has: two tenants, an erasure, a number of its own in xact.
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata, targets)
SELECT t, 'u' || n, 'a', '{"k": 1.00}', '[{"type": "x"}]' FROM generate_series(1, 3) n, unnest(ARRAY['one', 'two']) t;
CREATE TABLE regress_log AS SELECT * FROM immutable.log;
CREATE TABLE regress_events AS SELECT * FROM immutable.events;
UPDATE regress_events SET xact = '9000000000000000000';
CREATE TABLE regress_targets AS SELECT * FROM immutable.event_targets;
SELECT count(*) FROM immutable.erase_subject('one', 'u2', 'asked to');
CREATE TABLE regress_erased AS SELECT * FROM immutable.events WHERE erased IS NOT NULL;
CREATE TABLE regress_record AS SELECT * FROM immutable.events WHERE action LIKE 'immutable.%';
CREATE TABLE regress_record_targets AS SELECT t.* FROM immutable.event_targets t JOIN regress_record r ON r.id = t.event_id;
SET immutable.allow_ddl = on;
DROP EXTENSION immutable;
RESET immutable.allow_ddl;
CREATE EXTENSION immutable;

-- The identity alone: from then on the log is fed, and status() says what is missing.
SELECT pg_replication_origin_create('regress feed''s') IS NOT NULL AS made;
SELECT pg_replication_origin_session_setup('regress feed''s');
SET session_replication_role = replica;
INSERT INTO immutable.log SELECT * FROM regress_log;
RESET session_replication_role;
SELECT pg_replication_origin_session_reset();
SELECT fed_by FROM immutable.cluster;
SELECT unnest(problems) AS problem FROM immutable.status();
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('one', 'local', 'a');

-- The rows, by a session that had looked at the log before.
SELECT pg_replication_origin_session_setup('regress feed''s');
SET session_replication_role = replica;
INSERT INTO immutable.events SELECT * FROM regress_events;
INSERT INTO immutable.event_targets SELECT * FROM regress_targets;
INSERT INTO immutable.events SELECT * FROM regress_record;
INSERT INTO immutable.event_targets SELECT * FROM regress_record_targets;
UPDATE immutable.events e SET actor_id = r.actor_id, metadata = r.metadata, targets = r.targets, salt = r.salt, erased = r.erased, xact = '9000000000000000000'
FROM regress_erased r WHERE r.id = e.id;
-- A change that is not the log's own stops the copy.
UPDATE immutable.events SET action = 'forged' WHERE tenant_id = 'two' AND seq = 1;
DELETE FROM immutable.events WHERE tenant_id = 'two';
SET client_min_messages = warning;
TRUNCATE immutable.events CASCADE;
RESET client_min_messages;
DELETE FROM immutable.event_targets;
TRUNCATE immutable.event_targets;
UPDATE immutable.log SET log_id = gen_random_uuid();
DELETE FROM immutable.log;
TRUNCATE immutable.log;
-- immutable.cluster says where the log is written. Each server keeps its own row.
INSERT INTO immutable.cluster VALUES (1, 1, 1, now());
UPDATE immutable.cluster SET timeline = 77;
DELETE FROM immutable.cluster;
-- A copy of the table that keeps nothing; and no key comes that way.
COPY immutable.viewer_key_import FROM STDIN;
\.
COPY immutable.viewer_key_import FROM STDIN;
a secret of the publisher, of more than 32 bytes
\.
SELECT count(*) AS keys FROM immutable.viewer_keys;
-- Grants come with names, and are the roles' of these names here.
INSERT INTO immutable.tenant_grants VALUES ('regress_replica_feed', 'read', 'one', (SELECT oid FROM pg_roles WHERE rolname = 'regress_replica_app'), now(), 'there');
UPDATE immutable.tenant_grants SET tenant_id = 'two', role_oid = 1;
SELECT role_oid = 'regress_replica_feed'::regrole AS own FROM immutable.tenant_grants;
RESET session_replication_role;
SELECT pg_replication_origin_session_reset();
SELECT count(*), count(*) FILTER (WHERE xact >= pg_snapshot_xmax(pg_current_snapshot())) AS foreign_xact, count(erased) AS erased FROM immutable.events;
SELECT valid, breaks FROM immutable.verify_chain();
SELECT fed_by, timeline <> 77 AS own FROM immutable.cluster;
SELECT problems FROM immutable.status();
-- xact is this server's, so that the feed has the events.
SELECT jsonb_array_length(immutable.changes() -> 'data') AS changes;

-- Meanwhile nobody can record, erase or restore anything here.
SET SESSION AUTHORIZATION regress_replica_app;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('one', 'local', 'a');
SELECT immutable.track('u', 'a');
SELECT immutable.erase_subject('two', 'u1', 'asked to');
RESET SESSION AUTHORIZATION;
SELECT immutable.record_restore('by hand');
SET immutable.restore = on;
INSERT INTO immutable.events SELECT * FROM regress_events;
INSERT INTO immutable.log SELECT * FROM regress_log;
RESET immutable.restore;
-- DDL with allow_ddl is still possible, and is noted in the server's log.
SET immutable.allow_ddl = on;
ALTER TABLE immutable.viewer_key_import DISABLE TRIGGER "~immutable_store";
ALTER TABLE immutable.viewer_key_import ENABLE ALWAYS TRIGGER "~immutable_store";
RESET immutable.allow_ddl;
-- So are decisions about access, since a token may have leaked.
SELECT immutable.revoke_viewer_token('a-jti');
SELECT immutable.revoke_viewer_tokens('one');
SELECT immutable.rotate_viewer_key();
SET client_min_messages = error;
SELECT immutable.revoke_tenant('regress_replica_feed');
RESET client_min_messages;
SELECT jti, tenant_id FROM immutable.revocations ORDER BY 1;
-- A position that is ahead of the copy is no error.
SELECT immutable.changes('one', '{"0": "77:0123456789abcdef"}');
-- Whoever replays nothing may not add to it either.
SET session_replication_role = replica;
INSERT INTO immutable.events SELECT * FROM regress_events;
RESET session_replication_role;

-- To go on here: what the hint says.
SELECT pg_replication_origin_drop('regress feed''s');
SELECT immutable.changes('one', '{"0": "77:0123456789abcdef"}');
SET SESSION AUTHORIZATION regress_replica_app;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('one', 'local', 'a') RETURNING lane, seq;
RESET SESSION AUTHORIZATION;
SELECT actor_type, metadata -> 'from' AS "from" FROM immutable.events WHERE action = 'immutable.restored';
SELECT fed_by FROM immutable.cluster;
SELECT valid, breaks FROM immutable.verify_chain();

-- A loader without an origin: no transaction ID of another server, and the log says that it went on from elsewhere.
SET session_replication_role = replica;
DELETE FROM immutable.event_targets;
DELETE FROM immutable.events;
INSERT INTO immutable.events SELECT * FROM regress_events;
INSERT INTO immutable.event_targets SELECT * FROM regress_targets;
RESET session_replication_role;
SELECT count(*), count(*) FILTER (WHERE xact >= pg_snapshot_xmax(pg_current_snapshot())) AS foreign_xact FROM immutable.events;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('one', 'local', 'a') RETURNING lane, seq;
SELECT actor_type, metadata -> 'from' AS "from" FROM immutable.events WHERE action = 'immutable.restored';
SELECT valid, breaks FROM immutable.verify_chain();

-- Rows that are there with the number that a writer's transaction gets: it sees its own and no other.
BEGIN;
SET LOCAL client_min_messages = error;
SET LOCAL immutable.allow_ddl = on;
ALTER TABLE immutable.events DISABLE TRIGGER ALL;
UPDATE immutable.events SET xact = pg_current_xact_id();
ALTER TABLE immutable.events ENABLE TRIGGER ALL;
ALTER TABLE immutable.events ENABLE REPLICA TRIGGER "~immutable_apply";
ALTER TABLE immutable.events ENABLE REPLICA TRIGGER "~immutable_apply_truncate";
SET LOCAL ROLE regress_replica_app;
SELECT count(*) FROM immutable.events;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('one', 'own', 'a'), ('three', 'own', 'a') RETURNING tenant_id, seq;
SAVEPOINT s;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('one', 'gone', 'a') RETURNING tenant_id, seq;
ROLLBACK TO s;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('one', 'after', 'a') RETURNING tenant_id, seq;
SELECT tenant_id, actor_id, seq FROM immutable.events ORDER BY tenant_id, seq;
ROLLBACK;
BEGIN;
SET LOCAL client_min_messages = error;
SET LOCAL immutable.allow_ddl = on;
ALTER TABLE immutable.events DISABLE TRIGGER ALL;
UPDATE immutable.events SET xact = '9000000000000000000' WHERE tenant_id = 'two';
ALTER TABLE immutable.events ENABLE TRIGGER ALL;
ALTER TABLE immutable.events ENABLE REPLICA TRIGGER "~immutable_apply";
ALTER TABLE immutable.events ENABLE REPLICA TRIGGER "~immutable_apply_truncate";
SET LOCAL immutable.allow_ddl = off;
SELECT unnest(problems) AS problem FROM immutable.status();
ROLLBACK;
DROP TABLE regress_log, regress_events, regress_targets, regress_erased, regress_record, regress_record_targets;
DROP OWNED BY regress_replica_app, regress_replica_feed;
DROP ROLE regress_replica_app, regress_replica_feed;
SET client_min_messages = error;
SET immutable.allow_ddl = on;
DROP EXTENSION immutable;
CREATE EXTENSION immutable;
