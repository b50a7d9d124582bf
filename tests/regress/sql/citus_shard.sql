-- The same triggers and functions on tables of other names, as on the shards of a distributed table: everything is found through the relation itself.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
DROP ROLE IF EXISTS regress_shard_writer;
RESET client_min_messages;
-- Runs a statement that must be refused, and shows the error.
CREATE FUNCTION pg_temp.refused(statement text, with_detail boolean DEFAULT true) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  message text; detail text; hint text;
BEGIN
  BEGIN
    EXECUTE statement;
    RAISE EXCEPTION 'NOT REFUSED';
  EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN NEXT SQLSTATE || ': ' || message;
    IF with_detail AND detail <> '' THEN RETURN NEXT 'DETAIL: ' || detail; END IF;
    IF hint <> '' THEN RETURN NEXT 'HINT: ' || hint; END IF;
  END;
END
$$;

CREATE SCHEMA regress_shard;
CREATE TABLE regress_shard.events_102008 (LIKE immutable.events INCLUDING ALL);
CREATE TABLE regress_shard.event_targets_102040 (LIKE immutable.event_targets INCLUDING ALL);
ALTER TABLE regress_shard.event_targets_102040 ADD FOREIGN KEY (event_id, tenant_id) REFERENCES regress_shard.events_102008 (id, tenant_id);
-- As a shard's triggers are called: with the shard's number.
CREATE TRIGGER "~immutable_chain_102008" BEFORE INSERT ON regress_shard.events_102008 FOR EACH ROW EXECUTE FUNCTION immutable.chain();
CREATE TRIGGER "~immutable_targets_102008" AFTER INSERT ON regress_shard.events_102008 FOR EACH ROW EXECUTE FUNCTION immutable.derive_targets();
CREATE TRIGGER "~immutable_update_102008" BEFORE UPDATE ON regress_shard.events_102008 FOR EACH ROW EXECUTE FUNCTION immutable.guard_event();
CREATE TRIGGER "~immutable_delete_102008" BEFORE DELETE ON regress_shard.events_102008 FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate_102008" BEFORE TRUNCATE ON regress_shard.events_102008 FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_target_102040" BEFORE INSERT OR UPDATE ON regress_shard.event_targets_102040 FOR EACH ROW EXECUTE FUNCTION immutable.guard_target();
CREATE TRIGGER "~immutable_delete_102040" BEFORE DELETE ON regress_shard.event_targets_102040 FOR EACH ROW EXECUTE FUNCTION immutable.refuse();
CREATE TRIGGER "~immutable_truncate_102040" BEFORE TRUNCATE ON regress_shard.event_targets_102040 FOR EACH STATEMENT EXECUTE FUNCTION immutable.refuse();

-- A chain of its own for each table: the same tenant's begins at 1 in each.
INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('shard', 'a', 'main', '[{"type":"main"}]') RETURNING seq;
INSERT INTO regress_shard.events_102008 (tenant_id, actor_id, action, targets) VALUES ('shard', 'a', 'one', '[{"type":"b","id":"2","name":"n","metadata":{"k":1.10}},{"type":"a"}]'), ('shard', 'a', 'two', '[]'), ('shard-2', 'a', 'three', '[{"type":"c"}]')
RETURNING tenant_id, action, lane, seq, previous_event_hash IS NULL AS first, targets;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('shard', 'a', 'main too') RETURNING seq;
BEGIN;
INSERT INTO regress_shard.events_102008 (tenant_id, actor_id, action) VALUES ('shard', 'a', 'four') RETURNING seq;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('shard', 'a', 'main three') RETURNING seq;
SAVEPOINT s;
INSERT INTO regress_shard.events_102008 (tenant_id, actor_id, action) VALUES ('shard', 'a', 'gone') RETURNING seq;
ROLLBACK TO s;
INSERT INTO regress_shard.events_102008 (tenant_id, actor_id, action) VALUES ('shard', 'a', 'five') RETURNING seq;
-- Locks are the tables' own as well.
SELECT classid::regclass AS relation, count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'object' AND mode = 'ExclusiveLock' AND classid IN ('immutable.events'::regclass, 'regress_shard.events_102008'::regclass) GROUP BY 1 ORDER BY min(classid::regclass::text COLLATE "C");
COMMIT;
SELECT tenant_id, seq, action, sha256(convert_to(immutable.canonical(e), 'UTF8')) = e.event_hash AS hashes, previous_event_hash IS NOT DISTINCT FROM lag(event_hash) OVER w AS linked,
       e.log_id = l.log_id AS log_id, e.created_at > lag(e.created_at) OVER w AS later, recorded_by = session_user AS recorded_by
FROM regress_shard.events_102008 e CROSS JOIN immutable.log l WINDOW w AS (PARTITION BY tenant_id, lane ORDER BY seq) ORDER BY tenant_id, seq;
-- Targets went to the companion table, and to no other.
SELECT e.action, t.position, t.target_type, t.target_id, t.target_name, t.target_metadata, t.created_at = e.created_at AS same_time FROM regress_shard.event_targets_102040 t JOIN regress_shard.events_102008 e ON e.tenant_id = t.tenant_id AND e.id = t.event_id ORDER BY e.tenant_id, e.seq, t.position;
SELECT target_type FROM immutable.event_targets WHERE tenant_id IN ('shard', 'shard-2');
SELECT valid, events_checked FROM immutable.verify_chain('shard');
-- Each is verified by itself.
SELECT valid, events_checked, chains_checked, breaks FROM immutable.verify_shard('regress_shard.events_102008');

-- The same validation, defaults, keys and guards.
SELECT pg_temp.refused($$INSERT INTO regress_shard.events_102008 (tenant_id, action) VALUES ('shard', 'x')$$);
SELECT pg_temp.refused($$INSERT INTO regress_shard.events_102008 (tenant_id, actor_id, action, seq) VALUES ('shard', 'a', 'x', 1)$$);
SELECT pg_temp.refused($$INSERT INTO regress_shard.events_102008 (tenant_id, actor_id, action) VALUES ('shard', 'a', 'immutable.event_erased')$$);
BEGIN;
SET LOCAL immutable.tenant_id = 'shard-2';
SET LOCAL immutable.actor_id = 'session';
INSERT INTO regress_shard.events_102008 (action, idempotency_key) VALUES ('defaults', 'k') RETURNING tenant_id, actor_id, seq;
INSERT INTO regress_shard.events_102008 (action, idempotency_key) VALUES ('dup', 'k') ON CONFLICT (tenant_id, idempotency_key) DO NOTHING RETURNING seq;
INSERT INTO regress_shard.events_102008 (action) VALUES ('after') RETURNING seq;
COMMIT;
SELECT pg_temp.refused($$UPDATE regress_shard.events_102008 SET action = 'x' WHERE seq = 1$$);
SELECT pg_temp.refused($$DELETE FROM regress_shard.events_102008$$);
SELECT pg_temp.refused($$TRUNCATE regress_shard.events_102008, regress_shard.event_targets_102040$$);
SELECT pg_temp.refused($$UPDATE regress_shard.event_targets_102040 SET target_name = 'x'$$);
SELECT pg_temp.refused($$DELETE FROM regress_shard.event_targets_102040$$);
SELECT pg_temp.refused($$INSERT INTO regress_shard.event_targets_102040 SELECT tenant_id, id, 7, 't', NULL, NULL, NULL, created_at FROM regress_shard.events_102008 WHERE tenant_id = 'shard' AND seq = 1$$);
-- A target of an event in one table is not a target in the other.
SELECT pg_temp.refused($$INSERT INTO immutable.event_targets SELECT * FROM regress_shard.event_targets_102040$$);
SELECT pg_temp.refused($$INSERT INTO regress_shard.event_targets_102040 SELECT * FROM immutable.event_targets WHERE tenant_id = 'shard'$$);
-- An erasure is accepted there as well.
UPDATE regress_shard.events_102008 e SET actor_id = NULL, salt = NULL, erased = jsonb_build_object('salts', '{}'::jsonb, 'commitments', jsonb_build_object('actor_id',
  encode(sha256(convert_to('["' || encode(substr(sha256(e.salt || convert_to('actor_id', 'UTF8')), 1, 16), 'hex') || '","actor_id","a"]', 'UTF8')), 'hex'))) WHERE tenant_id = 'shard' AND seq = 2;
SELECT actor_id, erased IS NOT NULL AS erased, sha256(convert_to(immutable.canonical(e), 'UTF8')) = e.event_hash AS hashes FROM regress_shard.events_102008 e WHERE tenant_id = 'shard' AND seq = 2;
-- The shard has no record of the erasure, so verification reports it.
SELECT valid, events_erased, breaks #>> '{0,type}' AS type FROM immutable.verify_shard('regress_shard.events_102008');
-- And a trigger that would run after the chain's is refused.
SELECT pg_temp.refused($x$
  CREATE FUNCTION regress_shard.change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.actor_name := ''changed''; RETURN NEW; END';
  CREATE TRIGGER "~z_102008" BEFORE INSERT ON regress_shard.events_102008 FOR EACH ROW EXECUTE FUNCTION regress_shard.change();
  INSERT INTO regress_shard.events_102008 (tenant_id, actor_id, action) VALUES ('shard', 'a', 'x')$x$);

-- A companion table that needs the executor (here, a trigger), written by somebody who has no right to it.
CREATE ROLE regress_shard_writer LOGIN;
GRANT USAGE ON SCHEMA regress_shard, immutable TO regress_shard_writer;
GRANT INSERT, SELECT ON regress_shard.events_102008 TO regress_shard_writer;
CREATE FUNCTION regress_shard.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
SET SESSION AUTHORIZATION regress_shard_writer;
INSERT INTO regress_shard.events_102008 (tenant_id, actor_id, action, targets) VALUES ('shard', 'a', 'six', '[{"type":"plain"}]') RETURNING seq, recorded_by;
RESET SESSION AUTHORIZATION;
CREATE TRIGGER a_regress AFTER INSERT ON regress_shard.event_targets_102040 FOR EACH ROW EXECUTE FUNCTION regress_shard.nothing();
SET SESSION AUTHORIZATION regress_shard_writer;
INSERT INTO regress_shard.events_102008 (tenant_id, actor_id, action, targets) VALUES ('shard', 'a', 'seven', '[{"type":"executor"},{"type":"executor","id":"2"}]') RETURNING seq, recorded_by;
SELECT pg_temp.refused($$INSERT INTO regress_shard.event_targets_102040 DEFAULT VALUES$$);
RESET SESSION AUTHORIZATION;
SELECT target_type, target_id FROM regress_shard.event_targets_102040 WHERE target_type IN ('plain', 'executor') ORDER BY 1 DESC, 2 NULLS FIRST;

-- Columns in another order, dropped ones between them, and strangers: they are found by name.
CREATE TABLE regress_shard.mixed (stranger int, xact xid8, dropped text, recorded_by text, log_id uuid, erased jsonb, salt bytea, event_hash bytea, previous_event_hash bytea, seq bigint, lane smallint, created_at timestamptz, occurred_at timestamptz, version integer, user_agent text,
  ip_city text, ip_country text, ip_address inet, idempotency_key text COLLATE "C", session_id text, metadata jsonb DEFAULT '{}', targets jsonb DEFAULT '[]', resource_name text, resource_id text, resource_type text, dropped_too int, action_category text, action text, actor_type text,
  actor_name text, actor_id text, tenant_id text COLLATE "C" DEFAULT '', id uuid, other text DEFAULT 'x', PRIMARY KEY (id, tenant_id), UNIQUE (tenant_id, lane, seq));
ALTER TABLE regress_shard.mixed DROP COLUMN dropped, DROP COLUMN dropped_too;
CREATE TRIGGER "~immutable_chain" BEFORE INSERT ON regress_shard.mixed FOR EACH ROW EXECUTE FUNCTION immutable.chain();
CREATE TRIGGER "~immutable_targets" AFTER INSERT ON regress_shard.mixed FOR EACH ROW EXECUTE FUNCTION immutable.derive_targets();
INSERT INTO regress_shard.mixed (actor_id, action, stranger, ip_address, metadata) SELECT 'a', 'b', n, '::1', '{"k":[1.10]}' FROM generate_series(1, 3) n;
SELECT stranger, other, seq, sha256(convert_to(immutable.canonical(e), 'UTF8')) = e.event_hash AS hashes FROM regress_shard.mixed e ORDER BY seq;
SELECT pg_temp.refused($$INSERT INTO regress_shard.mixed (actor_id, action, targets) VALUES ('a', 'b', '[{"type":"t"}]')$$);
SELECT pg_temp.refused($$SELECT * FROM immutable.verify_shard('regress_shard.mixed')$$);
-- Tables that do not hold events are refused.
SELECT w, pg_temp.refused(format('%s; INSERT INTO regress_shard.mixed (actor_id, action) VALUES (''a'', ''b'')', w)) FROM unnest(ARRAY['ALTER TABLE regress_shard.mixed DROP COLUMN user_agent', 'ALTER TABLE regress_shard.mixed ALTER seq TYPE int', 'ALTER TABLE regress_shard.mixed DROP CONSTRAINT mixed_tenant_id_lane_seq_key',
  'ALTER TABLE regress_shard.mixed DROP CONSTRAINT mixed_pkey', 'ALTER TABLE regress_shard.mixed DROP CONSTRAINT mixed_tenant_id_lane_seq_key, ADD UNIQUE (tenant_id, lane, seq) DEFERRABLE']) w;
-- A unique index with more columns, or a partial one, does not count as the key.
SELECT pg_temp.refused($x$ALTER TABLE regress_shard.mixed DROP CONSTRAINT mixed_tenant_id_lane_seq_key; CREATE UNIQUE INDEX ON regress_shard.mixed (tenant_id, lane, seq) WHERE seq > 0;
  INSERT INTO regress_shard.mixed (actor_id, action) VALUES ('a', 'b')$x$);
SELECT pg_temp.refused($x$ALTER TABLE regress_shard.mixed DROP CONSTRAINT mixed_tenant_id_lane_seq_key; CREATE UNIQUE INDEX ON regress_shard.mixed (tenant_id, seq, lane);
  INSERT INTO regress_shard.mixed (actor_id, action) VALUES ('a', 'b')$x$);
SELECT pg_temp.refused($x$ALTER TABLE regress_shard.mixed DROP CONSTRAINT mixed_tenant_id_lane_seq_key; CREATE UNIQUE INDEX ON regress_shard.mixed (tenant_id, lane, (seq + 0));
  INSERT INTO regress_shard.mixed (actor_id, action) VALUES ('a', 'b')$x$);

-- Partitions are tables too; a partitioned table has each partition's triggers.
CREATE TABLE regress_shard.parted (LIKE immutable.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS, PRIMARY KEY (id, tenant_id), UNIQUE (tenant_id, lane, seq)) PARTITION BY HASH (tenant_id);
CREATE TABLE regress_shard.parted_0 PARTITION OF regress_shard.parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE regress_shard.parted_1 PARTITION OF regress_shard.parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TRIGGER "~immutable_chain" BEFORE INSERT ON regress_shard.parted FOR EACH ROW EXECUTE FUNCTION immutable.chain();
INSERT INTO regress_shard.parted (tenant_id, actor_id, action) SELECT 'shard-' || n % 4, 'a', 'b' FROM generate_series(1, 40) n;
SELECT tenant_id, count(*), min(seq), max(seq), bool_and(sha256(convert_to(immutable.canonical(e), 'UTF8')) = e.event_hash) AS hashes, count(DISTINCT e.tableoid) AS partitions FROM regress_shard.parted e GROUP BY 1 ORDER BY 1;

SET client_min_messages = warning;
DROP OWNED BY regress_shard_writer;
DROP ROLE regress_shard_writer;
DROP SCHEMA regress_shard CASCADE;
-- The log's own tables are unchanged.
SELECT valid, events_checked FROM immutable.verify_chain('shard');
