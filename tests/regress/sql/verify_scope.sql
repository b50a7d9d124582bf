-- Verification of a part, or of nothing, as an auditor asks for it: the answer never looks like that of the whole.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
CREATE ROLE regress_parts_auditor IN ROLE immutable_auditor;
RESET client_min_messages;
INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'parts-a', 'a', 'b' FROM generate_series(1, 10);
INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'parts-z', 'a', 'b' FROM generate_series(1, 5);
SELECT max(created_at) AS a, now() AS now FROM immutable.events WHERE tenant_id = 'parts-a' \gset
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE immutable.events SET action = 'forged' WHERE tenant_id = 'parts-z' AND seq = 4;
SET LOCAL session_replication_role = origin;
SET LOCAL ROLE regress_parts_auditor;

-- One row, with what was not looked at.
SELECT valid, complete, events_checked, events_total, heads_checked, breaks_found FROM immutable.verify_chain('parts-z');
SELECT valid, complete, events_checked, events_total, heads_checked FROM immutable.verify_chain('parts-z', max_events => 3);
SELECT valid, complete, events_checked, events_total, heads_checked FROM immutable.verify_chain('parts-z', to_date => :'a');
SELECT valid, complete, events_checked, events_total, heads_checked FROM immutable.verify_chain('parts-a');
SELECT valid, complete, events_checked, events_total, heads_checked FROM immutable.verify_chain('parts-a', max_events => 10);
SELECT valid, complete, events_checked, events_total, heads_checked FROM immutable.verify_chain('parts-a', targets => false);
SELECT valid, complete, events_checked, events_total, heads_checked FROM immutable.verify_chain('parts-a', from_date => :'a');
SELECT jsonb_agg(h) AS heads FROM immutable.heads('parts-z') h \gset
SELECT valid, complete, events_checked, events_total, heads_checked FROM immutable.verify_chain('parts-z', since => :'heads');
SELECT valid, complete, events_checked, events_total, heads_checked FROM immutable.verify_chain('parts-a', heads => :'heads');

-- The service's call: everything, unless a part is asked for.
SELECT d ->> 'valid' AS valid, d ->> 'complete' AS complete, d -> 'events_checked' = d -> 'events_total' AS all, jsonb_array_length(d -> 'breaks') AS breaks,
       (SELECT array_agg(k ORDER BY k COLLATE "C") FROM jsonb_object_keys(d) k) AS members FROM (SELECT immutable.verify() -> 'data' AS d) v;
SELECT d ->> 'valid' AS valid, d ->> 'complete' AS complete, d -> 'events_checked' AS checked, (d ->> 'events_total')::int >= 15 AS total FROM (SELECT immutable.verify("limit" => 7) -> 'data' AS d) v;
SELECT d ->> 'valid' AS valid, d ->> 'complete' AS complete, (d ->> 'events_checked')::int < (d ->> 'events_total')::int AS part FROM (SELECT immutable.verify(to_date => :'a') -> 'data' AS d) v;

-- Nothing was verified: `valid` is NULL, so a caller that asks whether it IS NOT TRUE finds it.
SELECT valid, complete, events_checked, events_total, heads_checked, breaks FROM immutable.verify_chain('parts-typo');
SELECT valid, complete, events_checked, events_total, heads_checked FROM immutable.verify_chain('parts-typo', heads => :'heads');
SELECT valid, complete, events_checked, events_total, heads_checked FROM immutable.verify_chain('parts-typo', heads => '[]');
SELECT valid, complete, events_checked, events_total, heads_checked FROM immutable.verify_chain('parts-a', from_date => 'infinity');
SELECT count(*) AS breaks FROM immutable.verify_breaks('parts-typo');
SELECT immutable.verify(from_date => 'infinity') #- '{data,events_total}' AS nothing;
SELECT t FROM unnest(ARRAY['parts-a', 'parts-typo', 'parts-z']) t, immutable.verify_chain(t) v WHERE v.valid IS NOT TRUE ORDER BY t;
-- Without heads, or with an empty list of heads, nothing is compared.
SELECT valid, heads_checked FROM immutable.verify_chain('parts-a', heads => NULL);
SELECT valid, heads_checked FROM immutable.verify_chain('parts-a', heads => '[]');
SELECT valid, heads_checked FROM immutable.verify_chain('parts-a', since => '[]');
ROLLBACK;
DROP ROLE regress_parts_auditor;
