-- Recording events with plain SQL, in every way PostgreSQL can put a row into a table.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
DROP ROLE IF EXISTS "regress_insert ""quoted"" é";
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

-- What an event of this file looks like, without what differs from run to run.
CREATE FUNCTION pg_temp.sound(tenant text) RETURNS TABLE (events bigint, lanes text, seqs text, sound boolean)
LANGUAGE sql AS $$
  SELECT x.events, x.lanes, x.seqs, x.hashed AND v.valid AND v.events_checked = x.events
  FROM (SELECT count(*) AS events, string_agg(DISTINCT e.lane::text, ',') AS lanes, min(e.seq) || '..' || max(e.seq) AS seqs,
               bool_and(sha256(convert_to(immutable.canonical(e), 'UTF8')) = e.event_hash) AS hashed
        FROM immutable.events e WHERE e.tenant_id = tenant) x
  CROSS JOIN immutable.verify_chain(tenant) v
$$;

-- The smallest event.
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-least', 'user_1', 'document.created');
SELECT id IS NOT NULL AS id, tenant_id, actor_id, actor_name, actor_type, action, action_category, resource_type,
       resource_id, resource_name, targets, metadata, session_id, idempotency_key, ip_address, ip_country, ip_city,
       user_agent, version, occurred_at = created_at AS occurred_when_created, lane, seq, previous_event_hash,
       octet_length(event_hash) AS event_hash, octet_length(salt) AS salt, erased, recorded_by = session_user AS recorded_by
FROM immutable.events WHERE tenant_id = 'insert-least';
SELECT e.created_at BETWEEN now() - interval '1 minute' AND clock_timestamp() AS created_just_now,
       e.log_id = l.log_id AS has_log_id, e.xact < pg_current_xact_id() AS has_xact,
       substr(e.id::text, 15, 1) AS uuid_version, substr(e.id::text, 20, 1) IN ('8', '9', 'a', 'b') AS uuid_variant
FROM immutable.events e CROSS JOIN immutable.log l WHERE e.tenant_id = 'insert-least';
SELECT * FROM pg_temp.sound('insert-least');
-- Any reader can check the hash and read the document.
SELECT sha256(convert_to(immutable.canonical(e), 'UTF8')) = e.event_hash AS matches,
       d - 'id' - 'log_id' - 'created_at' - 'occurred_at' - 'recorded_by' - 'commitments' AS document,
       d ->> 'id' = e.id::text AS id, d ->> 'created_at' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$' AS created_at,
       (d ->> 'created_at')::timestamptz = e.created_at AS same_time, d ->> 'recorded_by' = e.recorded_by AS recorded_by,
       d -> 'commitments' ->> 'actor_id' = encode(sha256(convert_to('["' || encode(substr(sha256(e.salt || 'actor_id'), 1, 16), 'hex')
         || '","actor_id","user_1"]', 'UTF8')), 'hex') AS commitment
FROM immutable.events e CROSS JOIN LATERAL (SELECT immutable.canonical(e)::jsonb AS d) c
WHERE e.tenant_id = 'insert-least';

-- An event with a value in every column.
INSERT INTO immutable.events (id, tenant_id, actor_id, actor_name, actor_type, action, action_category, resource_type,
  resource_id, resource_name, targets, metadata, session_id, idempotency_key, ip_address, ip_country, ip_city, user_agent,
  version, occurred_at)
VALUES ('00000000-0000-4000-8000-000000000001', 'insert-most', 'user_1', 'Sarah Chen', 'user', 'document.shared', 'documents',
  'document', 'doc_1', 'Q4 Financial Report', '[{"type":"team","id":"team_1"}]', '{"via":"link","n":1.10}', 'sess_1', 'key_1',
  '203.0.113.7/24', 'US', 'San Francisco', 'Mozilla/5.0', 0, '2026-03-15 14:32:18.8473126+02')
RETURNING id, tenant_id, actor_id, actor_name, actor_type, action, action_category, resource_type, resource_id, resource_name,
  targets, metadata, session_id, idempotency_key, ip_address, ip_country, ip_city, user_agent, version,
  occurred_at AT TIME ZONE 'UTC' AS occurred_at, lane, seq, previous_event_hash IS NULL AS first, event_hash IS NOT NULL AS hashed;
SELECT (immutable.canonical(e)::jsonb) - 'log_id' - 'created_at' - 'recorded_by' - 'commitments' AS document,
       (SELECT string_agg(k || ' ' || jsonb_typeof(v), ', ' ORDER BY k COLLATE "C") FROM jsonb_each(immutable.canonical(e)::jsonb -> 'commitments') c(k, v)) AS commitments
FROM immutable.events e WHERE tenant_id = 'insert-most';
SELECT tenant_id, event_id, position, target_type, target_id, target_name, target_metadata
FROM immutable.event_targets WHERE tenant_id = 'insert-most';
SELECT * FROM pg_temp.sound('insert-most');

-- The document's text itself: sorted, without spaces, times in UTC whatever the session's zone.
SET TimeZone = 'Asia/Kathmandu';
SELECT regexp_replace(regexp_replace(immutable.canonical(e), '[0-9a-f]{64}', '<hash>', 'g'),
         '"(created_at|log_id|recorded_by)":"[^"]*"', '"\1":"<\1>"', 'g')
FROM immutable.events e WHERE tenant_id = 'insert-most';
RESET TimeZone;
-- It does not depend on the order of the columns, on other columns, or on how the session prints anything.
SET bytea_output = 'escape'; SET DateStyle = 'SQL, DMY'; SET extra_float_digits = -15;
SELECT immutable.canonical(r) = immutable.canonical(e) AS same
FROM immutable.events e,
     LATERAL (SELECT 42 AS stranger, e.xact, e.log_id, e.recorded_by, e.erased, e.salt, e.event_hash, e.previous_event_hash,
       e.seq, e.lane, e.created_at, e.occurred_at, e.version, e.user_agent, e.ip_city, e.ip_country, e.ip_address,
       e.idempotency_key, e.session_id, e.metadata, e.targets, e.resource_name, e.resource_id, e.resource_type,
       e.action_category, e.action, e.actor_type, e.actor_name, e.actor_id, e.tenant_id, e.id) r
WHERE e.tenant_id = 'insert-most';
RESET bytea_output; RESET DateStyle; RESET extra_float_digits;
-- A record that is not an event is an error; a row that cannot have a document gives NULL.
SELECT * FROM pg_temp.refused($$SELECT immutable.canonical(t) FROM immutable.event_targets t$$);
SELECT * FROM pg_temp.refused($$SELECT immutable.canonical(ROW(1, 2))$$);
SELECT immutable.canonical(NULL::immutable.events) AS of_null,
       immutable.canonical(jsonb_populate_record(NULL::immutable.events, '{"actor_id": "x"}')) AS of_half_a_row;

-- Only the chain sets its columns. NULL counts as left out.
SELECT c.name, r.* FROM (VALUES (1, 'created_at', 'now()'), (2, 'lane', '0'), (3, 'seq', '1'),
  (4, 'previous_event_hash', 'sha256('''')'), (5, 'event_hash', 'sha256('''')'), (6, 'salt', '''0123456789abcdef'''),
  (7, 'erased', '''{}'''), (8, 'recorded_by', '''me'''), (9, 'log_id', 'gen_random_uuid()'), (10, 'xact', 'pg_current_xact_id()')) c(n, name, value),
  LATERAL pg_temp.refused(format('INSERT INTO immutable.events (tenant_id, actor_id, action, %I) VALUES (''insert-chain'', ''a'', ''b'', %s)', c.name, c.value)) r
ORDER BY c.n;
INSERT INTO immutable.events (tenant_id, actor_id, action, created_at, lane, seq, previous_event_hash, event_hash, salt, erased, recorded_by, log_id, xact)
VALUES ('insert-chain', 'a', 'b', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT * FROM pg_temp.sound('insert-chain');
-- For required columns too, NULL counts as left out.
INSERT INTO immutable.events (id, tenant_id, actor_id, action, targets, metadata, occurred_at)
VALUES (NULL, NULL, 'insert-nulls', 'b', NULL, NULL, NULL)
RETURNING id IS NOT NULL AS id, tenant_id, targets, metadata, occurred_at = created_at AS occurred_at;

-- recorded_by is the role that connected, whatever role it has set; a role's name may be any text.
CREATE ROLE "regress_insert ""quoted"" é" SUPERUSER;
BEGIN;
SET LOCAL ROLE "regress_insert ""quoted"" é";
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-role', 'a', 'b')
RETURNING recorded_by = session_user AS recorded_by;
COMMIT;
SET SESSION AUTHORIZATION "regress_insert ""quoted"" é";
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-role', 'a', 'b') RETURNING recorded_by;
RESET SESSION AUTHORIZATION;
SELECT * FROM pg_temp.sound('insert-role');
DROP ROLE "regress_insert ""quoted"" é";

-- Targets are normalised: null members dropped, sorted by type, then id (none first), then canonical text, by UTF-8 bytes.
INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('insert-targets', 'a', 'order', '[
  {"type":"b","id":"1"}, {"type":"a","id":"10"}, {"type":"a","id":"9"}, {"type":"a","id":"é"}, {"type":"a","id":"Z"},
  {"type":"a","id":"z"}, {"type":"a","id":""}, {"type":"a"}, {"type":"é"}, {"type":"Z"},
  {"type":"u","id":"\ud800\udc00"}, {"type":"u","id":"\uff5e"}]')
RETURNING (SELECT string_agg(t ->> 'type' || ':' || coalesce(t ->> 'id', '-'), ' ' ORDER BY n) FROM jsonb_array_elements(targets) WITH ORDINALITY x(t, n)) AS stored;
INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('insert-targets', 'a', 'null members',
  '[{"type":"a","id":null,"name":null,"metadata":null}, {"type":"a","id":"1","name":null}, {"type":"a","metadata":{"k":null}}]')
RETURNING targets;
-- Ties: {"id","metadata"...} is before {"id","name"...}, and equal ones stay, each in its place.
INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('insert-targets', 'a', 'ties',
  '[{"type":"a","id":"1","name":"y"}, {"type":"a","id":"1"}, {"type":"a","id":"1","name":"x"}, {"type":"a","id":"1","metadata":{"m":2}},
    {"type":"a","id":"1","metadata":{"m":10}}, {"type":"a","id":"1"}]')
RETURNING targets;
INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('insert-targets', 'a', 'none', '[]') RETURNING targets;
-- Numbers keep every digit.
INSERT INTO immutable.events (tenant_id, actor_id, action, targets, metadata) VALUES ('insert-targets', 'a', 'numbers',
  '[{"type":"b"}, {"type":"a","metadata":{"n":1.10,"e":1e400,"d":123456789012345678901234567890.123456789,"z":-0,"s":1e-7}}]',
  '{"n":1.10,"d":123456789012345678901234567890.123456789,"z":-0,"s":1e-7}')
RETURNING (targets -> 0 -> 'metadata') - 'e' AS target, length(targets -> 0 -> 'metadata' ->> 'e') AS digits, metadata;
SELECT e.action, t.position, t.target_type, t.target_id, t.target_name, t.target_metadata - 'e' AS target_metadata, t.created_at = e.created_at AS same_time
FROM immutable.events e JOIN immutable.event_targets t ON t.tenant_id = e.tenant_id AND t.event_id = e.id
WHERE e.tenant_id = 'insert-targets' ORDER BY e.seq, t.position;
SELECT * FROM pg_temp.sound('insert-targets');

-- Several rows in one statement: one after the other, created_at strictly increasing.
INSERT INTO immutable.events (tenant_id, actor_id, action, targets)
SELECT 'insert-many', 'a', 'b.' || n, jsonb_build_array(jsonb_build_object('type', 't', 'id', n::text)) FROM generate_series(1, 500) n;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-many', 'a', 'x'), ('insert-many-2', 'a', 'y'), ('insert-many', 'a', 'z');
SELECT * FROM pg_temp.sound('insert-many');
SELECT * FROM pg_temp.sound('insert-many-2');
SELECT count(*) FILTER (WHERE NOT increases) AS not_increasing, count(*) FILTER (WHERE NOT linked) AS not_linked, count(*) FILTER (WHERE NOT dense) AS not_dense
FROM (SELECT created_at > lag(created_at) OVER w AS increases, previous_event_hash = lag(event_hash) OVER w AS linked,
             seq = lag(seq) OVER w + 1 AS dense FROM immutable.events WHERE tenant_id = 'insert-many' WINDOW w AS (ORDER BY lane, seq)) x;
SELECT count(*) AS rows, count(DISTINCT event_id) AS events FROM immutable.event_targets WHERE tenant_id = 'insert-many';
-- A statement that fails in the middle leaves nothing, and no hole.
SELECT * FROM pg_temp.refused($$INSERT INTO immutable.events (tenant_id, actor_id, action)
  SELECT 'insert-many', CASE WHEN n < 50 THEN 'a' END, 'b' FROM generate_series(1, 100) n$$);
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-many', 'a', 'after') RETURNING seq;

-- INSERT of what it reads itself, and within a query.
INSERT INTO immutable.events (tenant_id, actor_id, action, metadata)
SELECT 'insert-select', e.actor_id, 'copy.' || e.action, jsonb_build_object('of', e.seq) FROM immutable.events e
WHERE e.tenant_id = 'insert-many' AND e.seq <= 3 ORDER BY e.seq;
WITH recorded AS (INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-select', 'a', 'b') RETURNING seq, action)
SELECT * FROM recorded;
SELECT * FROM pg_temp.sound('insert-select');

-- COPY.
COPY immutable.events (tenant_id, actor_id, action, targets, metadata, version) FROM STDIN;
insert-copy	a	b	[{"type":"z"},{"type":"a"}]	{"n":1}	\N
insert-copy	a	c	\N	\N	7
insert-copy-2	a	d	[]	{}	\N
\.
COPY immutable.events (tenant_id, actor_id, action) FROM STDIN (FORMAT csv);
insert-copy,a,e
insert-copy,a,f
\.
SELECT action, targets, metadata, version, lane, seq FROM immutable.events WHERE tenant_id IN ('insert-copy', 'insert-copy-2') ORDER BY tenant_id, seq;
SELECT position, target_type FROM immutable.event_targets WHERE tenant_id = 'insert-copy' ORDER BY position;
SELECT * FROM pg_temp.sound('insert-copy');
COPY immutable.events (tenant_id, actor_id, action) FROM STDIN;
insert-copy	a	g
insert-copy	\N	h
\.
\set VERBOSITY sqlstate
COPY immutable.events (tenant_id, actor_id, action) FROM STDIN (FORMAT csv);
insert-copy,a,""
\.
\set VERBOSITY default
SELECT * FROM pg_temp.sound('insert-copy');

-- ON CONFLICT, named and not: what is not inserted leaves no hole, also inside one statement.
INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) VALUES ('insert-conflict', 'a', 'one', 'k1'), ('insert-conflict', 'a', 'two', NULL);
INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key, targets) VALUES ('insert-conflict', 'a', 'dup', 'k1', '[{"type":"t"}]'),
  ('insert-conflict', 'a', 'three', 'k3', '[]'), ('insert-conflict', 'a', 'dup', 'k3', '[]'), ('insert-conflict', 'a', 'four', NULL, '[]')
ON CONFLICT (tenant_id, idempotency_key) DO NOTHING RETURNING action, seq;
INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) VALUES ('insert-conflict', 'a', 'dup', 'k1'), ('insert-conflict', 'a', 'five', 'k5')
ON CONFLICT DO NOTHING RETURNING action, seq;
INSERT INTO immutable.events (id, tenant_id, actor_id, action) SELECT id, tenant_id, 'a', 'dup' FROM immutable.events WHERE tenant_id = 'insert-conflict'
ON CONFLICT (id, tenant_id) DO NOTHING RETURNING action, seq;
-- A key is the tenant's; without a key nothing is a duplicate.
INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) VALUES ('insert-conflict-2', 'a', 'one', 'k1') ON CONFLICT (tenant_id, idempotency_key) DO NOTHING RETURNING action, seq;
SELECT * FROM pg_temp.refused($$INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) VALUES ('insert-conflict', 'a', 'dup', 'k1')$$);
-- DO UPDATE is an update.
SELECT * FROM pg_temp.refused($$INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) VALUES ('insert-conflict', 'a', 'dup', 'k1')
  ON CONFLICT (tenant_id, idempotency_key) DO UPDATE SET action = 'changed'$$);
SELECT action, seq FROM immutable.events WHERE tenant_id = 'insert-conflict' ORDER BY seq;
SELECT count(*) AS targets FROM immutable.event_targets WHERE tenant_id = 'insert-conflict';
SELECT * FROM pg_temp.sound('insert-conflict');
-- The same id in two tenants is two events.
INSERT INTO immutable.events (id, tenant_id, actor_id, action) VALUES ('00000000-0000-4000-8000-000000000002', 'insert-id', 'a', 'b'), ('00000000-0000-4000-8000-000000000002', 'insert-id-2', 'a', 'b');
SELECT * FROM pg_temp.refused($$INSERT INTO immutable.events (id, tenant_id, actor_id, action) VALUES ('00000000-0000-4000-8000-000000000002', 'insert-id', 'a', 'b')$$);

-- MERGE.
MERGE INTO immutable.events e
USING (VALUES ('k1', 'one'), ('k2', 'two'), ('k3', 'three')) s(key, action) ON e.tenant_id = 'insert-merge' AND e.idempotency_key = s.key
WHEN NOT MATCHED THEN INSERT (tenant_id, actor_id, action, idempotency_key, targets) VALUES ('insert-merge', 'a', s.action, s.key, '[{"type":"t"}]');
MERGE INTO immutable.events e
USING (VALUES ('k3', 'again'), ('k4', 'four')) s(key, action) ON e.tenant_id = 'insert-merge' AND e.idempotency_key = s.key
WHEN MATCHED THEN DO NOTHING
WHEN NOT MATCHED THEN INSERT (tenant_id, actor_id, action, idempotency_key) VALUES ('insert-merge', 'a', s.action, s.key);
SELECT count(*) AS targets FROM immutable.event_targets WHERE tenant_id = 'insert-merge';
SELECT * FROM pg_temp.sound('insert-merge');
SELECT * FROM pg_temp.refused($$MERGE INTO immutable.events e USING (SELECT) s ON e.tenant_id = 'insert-merge' WHEN MATCHED THEN DELETE$$);

-- Through a view, with the table's defaults.
CREATE VIEW regress_insert_view AS SELECT tenant_id, actor_id, action, targets FROM immutable.events WHERE tenant_id = 'insert-view' WITH CHECK OPTION;
INSERT INTO regress_insert_view VALUES ('insert-view', 'a', 'b', '[{"type":"t"}]');
INSERT INTO regress_insert_view (tenant_id, action, actor_id) VALUES ('insert-view', 'c', 'a');
SELECT * FROM regress_insert_view ORDER BY action;
SELECT * FROM pg_temp.sound('insert-view');
DROP VIEW regress_insert_view;

-- From a function, a prepared statement, and another table's trigger.
CREATE TABLE regress_insert_documents (id int, title text);
CREATE FUNCTION regress_insert_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO immutable.events (tenant_id, actor_id, action, resource_type, resource_id, metadata)
  VALUES ('insert-trigger', 'a', 'document.' || lower(TG_OP), 'document', NEW.id::text, to_jsonb(NEW) - 'id');
  RETURN NULL;
END
$$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON regress_insert_documents FOR EACH ROW EXECUTE FUNCTION regress_insert_audit();
INSERT INTO regress_insert_documents VALUES (1, 'one'), (2, 'two');
UPDATE regress_insert_documents SET title = upper(title);
SELECT action, resource_id, metadata, seq FROM immutable.events WHERE tenant_id = 'insert-trigger' ORDER BY seq;
DROP TABLE regress_insert_documents;
DROP FUNCTION regress_insert_audit;
PREPARE record(text) AS INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-trigger', 'a', $1) RETURNING seq;
EXECUTE record('x'); EXECUTE record('y');
DEALLOCATE record;
SELECT * FROM pg_temp.sound('insert-trigger');

-- Savepoints: what is rolled back leaves no hole, and the next event takes its number.
BEGIN;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-savepoint', 'a', 'one') RETURNING seq;
SAVEPOINT s;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-savepoint', 'a', 'gone'), ('insert-savepoint', 'a', 'gone') RETURNING seq;
ROLLBACK TO s;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-savepoint', 'a', 'two') RETURNING seq;
SAVEPOINT t;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-savepoint', 'a', 'three'), ('insert-savepoint-2', 'a', 'gone');
RELEASE t;
SAVEPOINT u;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-savepoint-3', 'a', 'gone');
ROLLBACK TO u;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-savepoint-3', 'a', 'first') RETURNING lane, seq, previous_event_hash;
-- The locks of a transaction are visible to everybody: one for each lane it appended to.
SELECT count(*) AS locks, count(DISTINCT objid) AS tenants, min(objsubid) AS lane FROM pg_locks
WHERE pid = pg_backend_pid() AND locktype = 'object' AND classid = 'immutable.events'::regclass AND mode = 'ExclusiveLock';
COMMIT;
BEGIN;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-savepoint', 'a', 'gone') RETURNING seq;
ROLLBACK;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-savepoint', 'a', 'four') RETURNING seq;
SELECT * FROM pg_temp.sound('insert-savepoint');
SELECT * FROM pg_temp.sound('insert-savepoint-3');
-- The same with errors that a function catches, and with commits in a procedure.
DO $$
BEGIN
  FOR n IN 1..10 LOOP
    BEGIN
      INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-savepoint-4', 'a', 'n.' || n);
      IF n % 3 = 0 THEN RAISE 'no'; END IF;
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
    IF n % 4 = 0 THEN COMMIT; END IF;
    IF n = 9 THEN ROLLBACK; END IF;
  END LOOP;
END
$$;
SELECT string_agg(action, ' ' ORDER BY seq) FROM immutable.events WHERE tenant_id = 'insert-savepoint-4';
SELECT * FROM pg_temp.sound('insert-savepoint-4');
-- Under the other isolation levels too.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM immutable.events WHERE tenant_id = 'insert-isolation';
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-isolation', 'a', 'b');
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-isolation', 'a', 'c');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-isolation', 'a', 'd');
SAVEPOINT s;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-isolation', 'a', 'gone');
ROLLBACK TO s;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-isolation', 'a', 'e');
COMMIT;
SELECT * FROM pg_temp.sound('insert-isolation');
-- Not in a read-only transaction.
BEGIN READ ONLY;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-isolation', 'a', 'b');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- How many chains a transaction locks one by one is bounded, before the shared lock table is full. Beyond that it appends
-- to a lane of imports, which has one lock for all tenants; with one strict chain a tenant, one lock on the log stands for all.
BEGIN;
SET LOCAL immutable.max_chains_per_transaction = 3;
INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'insert-chains-' || n % 3, 'a', 'b' FROM generate_series(1, 30) n;
INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'insert-chains-' || n, 'a', 'b' FROM generate_series(3, 6) n, generate_series(1, 2) RETURNING tenant_id, lane, seq;
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'object' AND classid = 'immutable.events'::regclass;
SET LOCAL immutable.lanes = 1;
INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'insert-chains-' || n, 'a', 'b' FROM generate_series(7, 9) n, generate_series(1, 2) RETURNING tenant_id, lane, seq;
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'object' AND classid = 'immutable.events'::regclass;
SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'immutable.events'::regclass AND mode LIKE 'Share%';
-- It can still append to the chains it has locked; rolling back a savepoint frees the places taken since.
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-chains-1', 'a', 'b') RETURNING seq;
ROLLBACK;
BEGIN;
SET LOCAL immutable.max_chains_per_transaction = 1;
SAVEPOINT s;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-chains-1', 'a', 'b') RETURNING seq;
ROLLBACK TO s;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-chains-2', 'a', 'b') RETURNING seq;
COMMIT;

-- Texts of every kind hash as they are: no normalisation, no trimming.
INSERT INTO immutable.events (tenant_id, actor_id, actor_name, action, resource_name, metadata, user_agent) VALUES
  ('insert-text', E'tab\tnewline\nquote"backslash\\', E'\u00e9 and e\u0301', ' spaces ', E'\x01\x1f\x7f', '{"": "empty key", "a.b": 1, "\u00e9": 2, "e\u0301": 3, "nul": null}', E'\U0001F600');
SELECT actor_id, length(actor_name), action, resource_name = E'\x01\x1f\x7f' AS resource_name, metadata -> '' AS empty_key, user_agent FROM immutable.events WHERE tenant_id = 'insert-text';
SELECT * FROM pg_temp.sound('insert-text');

-- After the greatest seq or time there is nothing more. (A row put there with triggers off, and rolled back.)
CREATE FUNCTION pg_temp.last_of_all(change text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  SET LOCAL session_replication_role = replica;
  CREATE TEMPORARY TABLE last AS SELECT * FROM immutable.events WHERE tenant_id = 'insert-many' ORDER BY seq DESC LIMIT 1;
  EXECUTE 'UPDATE last SET id = gen_random_uuid(), tenant_id = ''insert-last'', ' || change;
  INSERT INTO immutable.events SELECT * FROM last;
  SET LOCAL session_replication_role = origin;
  DROP TABLE last;
  RETURN QUERY SELECT pg_temp.refused($x$INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-last', 'a', 'b')$x$);
END
$$;
BEGIN;
SELECT pg_temp.last_of_all('seq = 9223372036854775807');
ROLLBACK;
BEGIN;
SELECT pg_temp.last_of_all('created_at = ''9999-12-31 23:59:59.999999+00''');
ROLLBACK;
BEGIN;
SELECT pg_temp.last_of_all('created_at = ''infinity''');
ROLLBACK;
-- After an event with a time in the future, the next event is later still.
BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO immutable.events SELECT (jsonb_populate_record(e, '{"tenant_id":"insert-last","created_at":"2999-01-01 00:00:00+00"}')).* FROM immutable.events e WHERE tenant_id = 'insert-many' AND seq = 503;
SET LOCAL session_replication_role = origin;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('insert-last', 'a', 'b') RETURNING seq, created_at = '2999-01-01 00:00:00.000001+00' AS one_microsecond_later;
ROLLBACK;
