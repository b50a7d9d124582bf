-- What the functions about witnesses say of what they refuse. (What they store: tests/server/test_evidence_witness.py.)
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
DROP ROLE IF EXISTS regress_evidence_maintainer, regress_evidence_viewer;
RESET client_min_messages;
CREATE ROLE regress_evidence_maintainer LOGIN IN ROLE immutable_maintainer;
CREATE ROLE regress_evidence_viewer LOGIN IN ROLE immutable_viewer;
BEGIN;
SELECT immutable.add_witness('witness.example/w1+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X');
SELECT name, vkey, added_by = session_user AS by_me FROM immutable.witnesses;
SELECT action, resource_type, resource_id, metadata FROM immutable.events WHERE action ~ 'witness' ORDER BY seq DESC LIMIT 1;
SAVEPOINT known;
SELECT immutable.add_witness('witness.example/w1+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X');
ROLLBACK TO known;
SELECT immutable.remove_witness('witness.example/w1+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X');
SELECT count(*) FROM immutable.witnesses;
SELECT immutable.remove_witness('witness.example/w1+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X');
ROLLBACK;
-- Keys that are none of a witness: another id, another type, a name with a space, no base64, nothing at all.
SELECT immutable.add_witness('witness.example/w2+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X');
SELECT immutable.add_witness('immutable.example/7f3e1c52-9d0b-4a86-b6f4-2f8f5d1c0e9a+76930b31+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4');
SELECT immutable.add_witness('witness example+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X');
SELECT immutable.add_witness('witness.example/w1+20324abe+???');
SELECT immutable.add_witness('');
SELECT immutable.add_witness(NULL);
SELECT immutable.remove_witness('x');
-- Lines that are none.
SELECT immutable.add_cosignature(1, 'nonsense');
SELECT immutable.add_cosignature(1, NULL);
SELECT immutable.add_cosignature(NULL, 'nonsense');
SELECT immutable.witness_request(NULL);
-- A maintainer carries text, and decides nothing.
SET SESSION AUTHORIZATION regress_evidence_maintainer;
SELECT immutable.add_cosignature(1, 'nonsense');
SELECT immutable.add_witness('x');
SELECT immutable.remove_witness('x');
SELECT immutable.receipt(gen_random_uuid());
SELECT immutable.consistency_proof(0);
SELECT * FROM immutable.witnesses;
-- A viewer gets neither.
SET SESSION AUTHORIZATION regress_evidence_viewer;
SELECT immutable.receipt(gen_random_uuid());
SELECT immutable.inclusion_proof(gen_random_uuid());
SELECT immutable.witness_request();
SELECT immutable.add_cosignature(1, 'nonsense');
RESET SESSION AUTHORIZATION;
DROP ROLE regress_evidence_maintainer, regress_evidence_viewer;
