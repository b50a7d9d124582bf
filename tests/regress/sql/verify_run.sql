-- Verification of sound chains: the arguments and the answers. (Tampering has its own tests; a few kinds are here, for the columns.)
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
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

INSERT INTO immutable.events (tenant_id, actor_id, action, targets, version) SELECT 'verify-a', 'a', 'b', '[{"type":"t","id":"1","metadata":{"n":1.10}},{"type":"u"}]', n FROM generate_series(1, 10) n;
INSERT INTO immutable.events (tenant_id, actor_id, action, version) SELECT 'verify-b', 'a', 'b', n FROM generate_series(1, 5) n;
INSERT INTO immutable.events (id, tenant_id, actor_id, action, version) VALUES ('00000000-0000-4000-8000-0000000000b6', 'verify-b', 'a', 'b', 6);
SELECT min(created_at) AS first, max(created_at) AS last FROM immutable.events WHERE tenant_id IN ('verify-a', 'verify-b') \gset
SELECT created_at AS a3 FROM immutable.events WHERE tenant_id = 'verify-a' AND seq = 3 \gset
SELECT created_at AS a5 FROM immutable.events WHERE tenant_id = 'verify-a' AND seq = 5 \gset

-- One row, whatever is asked.
SELECT v.valid, v.events_checked, v.chains_checked, v.events_erased, v.breaks, v.breaks_found, v.tenants_checked, v.complete, v.log_id = l.log_id AS log_id FROM immutable.verify_chain('verify-a') v, immutable.log l;
SELECT count(*) AS rows FROM immutable.verify_chain('verify-a');
SELECT valid, events_checked, chains_checked, tenants_checked, complete, log_id IS NOT NULL AS log_id FROM immutable.verify_chain('verify-nothing');
SELECT valid, events_checked FROM immutable.verify_chain('verify%');
SELECT count(*) AS breaks FROM immutable.verify_breaks('verify-a');
SELECT valid, events_checked >= 16 AS all_of_them, tenants_checked >= 2 AS tenants, complete FROM immutable.verify_chain(from_date => :'first', to_date => :'last');
-- The columns' names and types.
SELECT proname, pg_get_function_result(oid) FROM pg_proc WHERE pronamespace = 'immutable'::regnamespace AND proname IN ('verify_chain', 'verify_breaks', 'verify', 'heads') ORDER BY proname COLLATE "C";

-- A range of created_at, both ends included; its first event is linked to the stored one before it.
SELECT valid, events_checked, chains_checked, complete FROM immutable.verify_chain('verify-a', from_date => :'a3');
SELECT valid, events_checked, chains_checked, complete FROM immutable.verify_chain('verify-a', to_date => :'a3');
SELECT valid, events_checked, chains_checked, complete FROM immutable.verify_chain('verify-a', :'a3', :'a5');
SELECT valid, events_checked, chains_checked, complete FROM immutable.verify_chain('verify-a', :'a3', :'a3');
SELECT valid, events_checked, chains_checked, complete FROM immutable.verify_chain('verify-a', :'a5', :'a3');
SELECT valid, events_checked FROM immutable.verify_chain(from_date => :'a3', to_date => :'a5');
-- The first N events, in the order of tenant, lane and seq. A run that left nothing out is complete.
SELECT m, valid, events_checked, chains_checked, complete FROM unnest(ARRAY[1, 9, 10, 11, 9223372036854775807]) m, LATERAL immutable.verify_chain('verify-a', max_events => m) ORDER BY m;
SELECT valid, events_checked, tenants_checked, complete FROM immutable.verify_chain(from_date => :'first', to_date => :'last', max_events => 12);
SELECT count(*) FROM immutable.verify_breaks('verify-a', max_events => 3);
SELECT m, pg_temp.refused(format('SELECT * FROM immutable.verify_chain(max_events => %s)', m)) FROM unnest(ARRAY[0, -1]) m;
SELECT pg_temp.refused('SELECT * FROM immutable.verify_breaks(max_events => 0)');

-- verify(): the service's answer.
SELECT immutable.verify(:'first', :'last') #- '{data,events_checked}' #- '{data,events_total}' AS answer;
SELECT (immutable.verify(:'a3', :'a5') #>> '{data,events_checked}')::int AS in_range, (immutable.verify(:'first', :'last', 4) #>> '{data,events_checked}')::int AS limited, (immutable.verify(from_date => :'first', to_date => :'last', "limit" => 16) #>> '{data,events_checked}')::int AS named,
       (immutable.verify(:'first', :'last', NULL) #>> '{data,events_checked}')::int AS limit_null, immutable.verify('infinity') #- '{data,events_total}' AS nothing;
SELECT l, pg_temp.refused(format('SELECT immutable.verify("limit" => %s)', l)) FROM unnest(ARRAY[0, -1]) l;

-- Heads.
SELECT tenant_id, lane, seq, event_hash = (SELECT e.event_hash FROM immutable.events e WHERE e.tenant_id = h.tenant_id AND e.lane = h.lane AND e.seq = h.seq) AS hash FROM immutable.heads() h WHERE tenant_id LIKE 'verify-%' ORDER BY 1, 2;
SELECT tenant_id, lane, seq FROM immutable.heads('verify-b');
SELECT tenant_id, lane, seq FROM immutable.heads('verify-nothing');
SELECT tenant_id, lane, seq FROM immutable.heads(tenant_id => 'verify-a');
SELECT count(*) > 0 AS every_lane, count(*) = count(DISTINCT (tenant_id, lane)) AS once FROM immutable.heads();
SELECT bool_and(seq = most) AS are_last, count(*) = (SELECT count(DISTINCT (e.tenant_id, e.lane)) FROM immutable.events e) AS complete FROM immutable.heads() h JOIN (SELECT tenant_id, lane, max(seq) AS most FROM immutable.events GROUP BY 1, 2) m USING (tenant_id, lane);
SELECT jsonb_agg(h) AS heads FROM immutable.heads() h WHERE tenant_id LIKE 'verify-%' \gset
SELECT valid, breaks_found FROM immutable.verify_chain('verify-a', heads => :'heads');
SELECT valid, breaks_found FROM immutable.verify_chain(from_date => :'first', to_date => :'last', heads => :'heads');
SELECT valid FROM immutable.verify_chain('verify-a', heads => '[]');
SELECT valid FROM immutable.verify_chain('verify-a', heads => NULL);
-- Older heads stay true while the log grows; the hash may be written without its prefix, other members are left alone.
INSERT INTO immutable.events (tenant_id, actor_id, action, version) VALUES ('verify-a', 'a', 'b', 11);
SELECT valid FROM immutable.verify_chain('verify-a', heads => :'heads');
SELECT valid FROM immutable.verify_chain('verify-a', heads => (SELECT jsonb_agg(to_jsonb(h) || jsonb_build_object('event_hash', encode(h.event_hash, 'hex'), 'note', 'x')) FROM immutable.heads('verify-a') h));
-- Heads that are missing or differ. A head of a tenant that was not asked for is ignored.
SELECT tenant_id, lane, seq, event_id, type, octet_length(expected_hash) AS expected, octet_length(actual_hash) AS actual, detail
FROM immutable.verify_breaks('verify-b', heads => jsonb_build_array(
  jsonb_build_object('tenant_id', 'verify-b', 'lane', 0, 'seq', 6, 'event_hash', repeat('0', 64)), jsonb_build_object('tenant_id', 'verify-b', 'lane', 0, 'seq', 7, 'event_hash', repeat('0', 64)),
  jsonb_build_object('tenant_id', 'verify-b', 'lane', 3, 'seq', 1, 'event_hash', repeat('0', 64)), jsonb_build_object('tenant_id', 'verify-gone', 'lane', 0, 'seq', 1, 'event_hash', repeat('0', 64)))) ORDER BY lane, seq;
SELECT tenant_id, lane, seq, event_id, type, octet_length(expected_hash) AS expected, octet_length(actual_hash) AS actual, detail
FROM immutable.verify_breaks(from_date => 'infinity', heads => jsonb_build_array(jsonb_build_object('tenant_id', 'verify-gone', 'lane', 0, 'seq', 1, 'event_hash', repeat('0', 64))));
-- Invalid heads.
SELECT h, pg_temp.refused(format('SELECT * FROM immutable.verify_chain(heads => %L)', h)) FROM unnest(ARRAY['{}', '"heads"', 'null', '1', '[1]', '[[]]', '[null]', '[{}]', '[{"tenant_id":"a","lane":0,"seq":1}]', '[{"tenant_id":"a","lane":0,"event_hash":"00"}]',
  '[{"tenant_id":null,"lane":0,"seq":1,"event_hash":"' || repeat('0', 64) || '"}]', '[{"tenant_id":"a","lane":"0","seq":1,"event_hash":"' || repeat('0', 64) || '"}]', '[{"tenant_id":"a","lane":0.5,"seq":1,"event_hash":"' || repeat('0', 64) || '"}]',
  '[{"tenant_id":"a","lane":99999,"seq":1,"event_hash":"' || repeat('0', 64) || '"}]', '[{"tenant_id":"a","lane":0,"seq":1e30,"event_hash":"' || repeat('0', 64) || '"}]', '[{"tenant_id":"a","lane":0,"seq":1,"event_hash":"' || repeat('0', 63) || '"}]',
  '[{"tenant_id":"a","lane":0,"seq":1,"event_hash":"\\x' || repeat('0', 62) || 'zz"}]', '[{"tenant_id":"a","lane":0,"seq":1,"event_hash":7}]']) h;

-- In a read-only transaction, at any isolation level, without a transaction id.
BEGIN READ ONLY;
SELECT valid, events_checked FROM immutable.verify_chain('verify-a');
SELECT count(*) FROM immutable.verify_breaks('verify-a');
SELECT immutable.verify(:'first', :'a3') #> '{data,valid}' AS valid;
SELECT count(*) FROM immutable.heads('verify-a');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
SELECT valid, events_checked FROM immutable.verify_chain('verify-a');
COMMIT;
BEGIN;
SELECT valid FROM immutable.verify_chain('verify-a', heads => :'heads');
SELECT immutable.verify(:'first', :'a3') IS NOT NULL AS verified;
SELECT immutable.get_events(tenant_id => 'verify-a') IS NOT NULL AS got;
SELECT pg_current_xact_id_if_assigned() AS transaction;
COMMIT;
-- It sees the transaction's own events, and the snapshot of the others.
BEGIN;
INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('verify-a', 'a', 'b', '[{"type":"t"}]');
SELECT valid, events_checked FROM immutable.verify_chain('verify-a');
ROLLBACK;
SELECT valid, events_checked FROM immutable.verify_chain('verify-a');
-- As relations like any other.
SELECT t, v.valid, v.events_checked FROM unnest(ARRAY['verify-a', 'verify-b']) t, LATERAL immutable.verify_chain(t) v ORDER BY t;
SELECT (immutable.verify_chain('verify-b')).events_checked;
SELECT valid FROM immutable.verify_chain('verify-b') LIMIT 1;
SELECT (SELECT count(*) FROM immutable.verify_breaks('verify-a')) AS breaks;

-- The contents of a break. (With triggers off, and rolled back.)
CREATE FUNCTION pg_temp.breaks(tenant text) RETURNS TABLE (lane smallint, seq bigint, event text, type text, expected text, actual text, detail text) LANGUAGE sql AS $$
  SELECT b.lane, b.seq, CASE WHEN b.event_id IS NOT NULL THEN CASE WHEN e.version IS NULL THEN 'unknown' ELSE 'version ' || e.version END END, b.type,
         CASE WHEN b.expected_hash IS NULL THEN NULL WHEN EXISTS (SELECT FROM immutable.events p WHERE p.event_hash = b.expected_hash) THEN 'hash of seq ' || (SELECT p.seq FROM immutable.events p WHERE p.event_hash = b.expected_hash)
              WHEN b.expected_hash = sha256(convert_to(immutable.canonical(e), 'UTF8')) THEN 'recomputed' ELSE 'another' END,
         CASE WHEN b.actual_hash IS NULL THEN NULL WHEN b.type = 'chain_break' AND b.actual_hash = e.previous_event_hash THEN 'stored previous' WHEN b.actual_hash = e.event_hash THEN 'stored' ELSE 'another' END, b.detail
  FROM immutable.verify_breaks(tenant) b LEFT JOIN immutable.events e ON e.id = b.event_id AND e.tenant_id = b.tenant_id ORDER BY 1, 2, 4, 7
$$;
BEGIN;
SET LOCAL session_replication_role = replica;
SAVEPOINT s;
UPDATE immutable.events SET action = 'forged' WHERE tenant_id = 'verify-a' AND seq = 4;
SELECT * FROM pg_temp.breaks('verify-a');
SELECT valid, events_checked, breaks_found, jsonb_array_length(breaks) AS listed, (SELECT array_agg(k ORDER BY k COLLATE "C") FROM jsonb_object_keys(breaks -> 0) k) AS members FROM immutable.verify_chain('verify-a');
SELECT b ->> 'type' AS type, (b ->> 'event_id')::uuid = e.id AS event_id, b ->> 'actual_hash' = encode(e.event_hash, 'hex') AS actual, b ->> 'expected_hash' = encode(sha256(convert_to(immutable.canonical(e), 'UTF8')), 'hex') AS expected,
       (SELECT array_agg(k ORDER BY k COLLATE "C") FROM jsonb_object_keys(b) k) AS members
FROM jsonb_array_elements(immutable.verify(:'first', :'last') #> '{data,breaks}') b, immutable.events e WHERE e.tenant_id = 'verify-a' AND e.seq = 4;
-- A break outside the range, or beyond the first N events, is not found.
SELECT valid FROM immutable.verify_chain('verify-a', from_date => :'a5');
SELECT valid FROM immutable.verify_chain('verify-a', max_events => 3);
SELECT valid FROM immutable.verify_chain('verify-b');
ROLLBACK TO s;
UPDATE immutable.events SET previous_event_hash = sha256('') WHERE tenant_id = 'verify-a' AND seq = 4;
SELECT * FROM pg_temp.breaks('verify-a');
ROLLBACK TO s;
DELETE FROM immutable.events WHERE tenant_id = 'verify-a' AND seq = 4;
DELETE FROM immutable.event_targets t WHERE tenant_id = 'verify-a' AND NOT EXISTS (SELECT FROM immutable.events e WHERE e.tenant_id = t.tenant_id AND e.id = t.event_id);
SELECT * FROM pg_temp.breaks('verify-a');
-- A range that begins after the hole finds it.
SELECT type, seq, detail FROM immutable.verify_breaks('verify-a', from_date => :'a5');
ROLLBACK TO s;
DELETE FROM immutable.event_targets WHERE tenant_id = 'verify-a' AND position = 1 AND event_id = (SELECT id FROM immutable.events WHERE tenant_id = 'verify-a' AND seq = 2);
UPDATE immutable.event_targets SET target_metadata = '{"n":1.1}' WHERE tenant_id = 'verify-a' AND position = 0 AND event_id = (SELECT id FROM immutable.events WHERE tenant_id = 'verify-a' AND seq = 3);
INSERT INTO immutable.event_targets SELECT tenant_id, event_id, 2, target_type, target_id, target_name, target_metadata, created_at FROM immutable.event_targets WHERE tenant_id = 'verify-a' AND position = 0 AND event_id = (SELECT id FROM immutable.events WHERE tenant_id = 'verify-a' AND seq = 5);
SELECT * FROM pg_temp.breaks('verify-a');
ROLLBACK TO s;
-- The end of a lane, and a whole tenant: found against saved heads, and not without.
DELETE FROM immutable.events WHERE tenant_id = 'verify-b' AND seq = 6;
SELECT valid FROM immutable.verify_chain('verify-b');
SELECT tenant_id, lane, seq, event_id, type, octet_length(expected_hash) AS expected, actual_hash, detail FROM immutable.verify_breaks('verify-b', heads => :'heads');
DELETE FROM immutable.events WHERE tenant_id = 'verify-b';
SELECT valid FROM immutable.verify_chain('verify-b');
SELECT tenant_id, lane, seq, event_id, type, detail FROM immutable.verify_breaks('verify-b', heads => :'heads');
ROLLBACK TO s;
-- More breaks than are listed are counted all the same.
INSERT INTO immutable.events (tenant_id, actor_id, action, id, occurred_at, created_at, lane, seq, previous_event_hash, event_hash, salt, recorded_by, xact)
SELECT 'verify-many', 'a', 'b', gen_random_uuid(), now(), now() + interval '1 microsecond' * n, 0, n, sha256(''), sha256(''), substr(sha256(''), 1, 16), 'x', pg_current_xact_id() FROM generate_series(2, 1501) n;
SELECT valid, events_checked, breaks_found > 1000 AS found, jsonb_array_length(breaks) AS listed FROM immutable.verify_chain('verify-many');
SELECT count(*) = (SELECT breaks_found FROM immutable.verify_chain('verify-many')) AS all_of_them FROM immutable.verify_breaks('verify-many');
-- A log that has lost its identity.
ROLLBACK TO s;
DELETE FROM immutable.log;
SELECT valid, log_id FROM immutable.verify_chain('verify-b');
SELECT * FROM immutable.verify_breaks('verify-b') WHERE type = 'missing_event';
ROLLBACK;
SELECT valid, events_checked FROM immutable.verify_chain('verify-a');
