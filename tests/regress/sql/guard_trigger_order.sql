-- The order of triggers: the chain's comes last among the BEFORE triggers, so that what is hashed is what is stored.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
\pset null (null)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS immutable;
DROP ROLE IF EXISTS regress_trigger_writer;
RESET client_min_messages;
-- The guard would refuse these triggers, so it is switched off here.
ALTER EVENT TRIGGER immutable_ddl_start DISABLE;
ALTER EVENT TRIGGER immutable_ddl_end DISABLE;
ALTER EVENT TRIGGER immutable_ddl_drop DISABLE;
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

CREATE FUNCTION regress_trigger_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.actor_name := coalesce(NEW.actor_name, '') || '<' || TG_NAME || '>'; RETURN NEW; END $$;

-- A trigger that sorts before the chain's works, and its change is hashed.
CREATE TRIGGER a_regress BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_trigger_change();
CREATE TRIGGER "zzz_regress" BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_trigger_change();
CREATE TRIGGER "~immutabl" BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_trigger_change();
INSERT INTO immutable.events (tenant_id, actor_id, actor_name, action) VALUES ('trigger-order', 'a', 'n', 'b') RETURNING actor_name;
SELECT immutable.track(actor_id => 'a', action => 'b', tenant_id => 'trigger-order') ->> 'status' AS status;
SELECT actor_name, sha256(convert_to(immutable.canonical(e), 'UTF8')) = e.event_hash AS hashes FROM immutable.events e WHERE tenant_id = 'trigger-order' ORDER BY seq;
DROP TRIGGER a_regress ON immutable.events;
DROP TRIGGER "zzz_regress" ON immutable.events;
DROP TRIGGER "~immutabl" ON immutable.events;

-- A trigger that sorts after it: nothing is recorded while it exists, whatever calls it.
SELECT n, pg_temp.refused(format($x$
  CREATE TRIGGER %I BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_trigger_change();
  INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('trigger-order', 'a', 'refused')$x$, n))
FROM unnest(ARRAY['~z', '~immutable_chain2', '~immutable_d', '~~', '~immutable_targets2', 'é', U&'\FFFD']) n;
-- Also one that only sometimes does something, or does it on UPDATE too.
SELECT w, pg_temp.refused(format($x$
  CREATE TRIGGER "~z" %s EXECUTE FUNCTION regress_trigger_change();
  INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('trigger-order', 'a', 'refused')$x$, w))
FROM unnest(ARRAY['BEFORE INSERT OR UPDATE ON immutable.events FOR EACH ROW', 'BEFORE INSERT ON immutable.events FOR EACH ROW WHEN (NEW.action = ''other'')', 'BEFORE INSERT OR DELETE OR UPDATE OF action ON immutable.events FOR EACH ROW']) w;
SELECT pg_temp.refused($x$
  CREATE TRIGGER "~z" BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_trigger_change();
  ALTER TABLE immutable.events ENABLE ALWAYS TRIGGER "~z";
  SELECT immutable.track(actor_id => 'a', action => 'refused', tenant_id => 'trigger-order')$x$);
SELECT pg_temp.refused($x$
  CREATE TRIGGER "~z" BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_trigger_change();
  SELECT immutable.track_batch('[{"actor_id":"a","action":"refused","tenant_id":"trigger-order"}]')$x$);
-- The chain's own trigger under another name is still the chain's.
BEGIN;
ALTER TRIGGER "~immutable_chain" ON immutable.events RENAME TO "chain_renamed";
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('trigger-order', 'a', 'renamed') RETURNING seq;
SELECT pg_temp.refused($x$
  CREATE TRIGGER "later" BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_trigger_change();
  INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('trigger-order', 'a', 'refused')$x$);
ROLLBACK;
-- A trigger that is disabled, is for other events, runs after the row, or runs once for the statement does no harm, whatever its name.
BEGIN;
CREATE TRIGGER "~zdisabled" BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_trigger_change();
ALTER TABLE immutable.events DISABLE TRIGGER "~zdisabled";
CREATE TRIGGER "~update" BEFORE UPDATE ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_trigger_change();
CREATE TRIGGER "~zafter" AFTER INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_trigger_change();
CREATE FUNCTION pg_temp.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER "~statement" BEFORE INSERT ON immutable.events FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.nothing();
CREATE TRIGGER "~transition" AFTER INSERT ON immutable.events REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.nothing();
INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('trigger-order', 'a', 'harmless', '[{"type":"t"}]') RETURNING seq, actor_name;
SELECT valid FROM immutable.verify_chain('trigger-order');
-- Enabled, it is noticed at once, even in a session that has looked before. Dropped, it is forgotten.
ALTER TABLE immutable.events ENABLE TRIGGER "~zdisabled";
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('trigger-order', 'a', 'refused')$$);
DROP TRIGGER "~zdisabled" ON immutable.events;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('trigger-order', 'a', 'again') RETURNING seq;
ROLLBACK;

-- A trigger before it that skips a row, or sets what is the chain's.
CREATE FUNCTION regress_trigger_skip() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.action = 'skipped' THEN RETURN NULL; END IF;
  IF NEW.action = 'seq' THEN NEW.seq := 7; END IF;
  IF NEW.action = 'target' THEN NEW.targets := '[{"type":"z"},{"type":"a","id":null}]'; END IF;
  IF NEW.action = 'bad target' THEN NEW.targets := '[{}]'; END IF;
  IF NEW.action = 'tenant' THEN NEW.tenant_id := 'trigger-order-2'; END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER a_regress BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_trigger_skip();
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('trigger-order', 'a', 'one'), ('trigger-order', 'a', 'skipped'), ('trigger-order', 'a', 'two'), ('trigger-order', 'a', 'target'), ('trigger-order', 'a', 'tenant') RETURNING tenant_id, action, seq, targets;
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('trigger-order', 'a', 'seq')$$);
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('trigger-order', 'a', 'bad target')$$);
SELECT t.target_type, t.position FROM immutable.events e JOIN immutable.event_targets t ON t.tenant_id = e.tenant_id AND t.event_id = e.id WHERE e.tenant_id = 'trigger-order' AND e.action = 'target' ORDER BY t.position;
DROP TRIGGER a_regress ON immutable.events;
DROP FUNCTION regress_trigger_skip;
SELECT v.tenants_checked, valid, events_checked FROM unnest(ARRAY['trigger-order', 'trigger-order-2']) t, immutable.verify_chain(t) v;

-- A trigger that records another event in the middle of this one's insertion: before it and after it.
CREATE FUNCTION regress_trigger_nested() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.action NOT LIKE 'nested.%' THEN
    INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES (NEW.tenant_id, 'a', 'nested.' || lower(TG_WHEN), '[{"type":"nested"}]');
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER a_regress_before BEFORE INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_trigger_nested();
CREATE TRIGGER a_regress_after AFTER INSERT ON immutable.events FOR EACH ROW EXECUTE FUNCTION regress_trigger_nested();
INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('trigger-nested', 'a', 'one', '[{"type":"t"}]'), ('trigger-nested', 'a', 'two', '[{"type":"t"}]');
SELECT seq, action FROM immutable.events WHERE tenant_id = 'trigger-nested' ORDER BY seq;
DROP TRIGGER a_regress_before ON immutable.events;
DROP TRIGGER a_regress_after ON immutable.events;
DROP FUNCTION regress_trigger_nested;
SELECT valid, events_checked FROM immutable.verify_chain('trigger-nested');

-- On event_targets: a trigger after the row, an expression, partial or GIN index: the rows are right all the same, and the trigger is called.
CREATE TABLE regress_trigger_seen (what text);
CREATE FUNCTION regress_trigger_see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.regress_trigger_seen VALUES (TG_WHEN || ' ' || NEW.target_type || ' ' || current_user); RETURN NULL; END $$;
CREATE ROLE regress_trigger_writer LOGIN;
GRANT immutable_writer TO regress_trigger_writer;
CREATE FUNCTION pg_temp.record(tenant text) RETURNS TABLE (seq bigint, targets text) LANGUAGE plpgsql AS $$
DECLARE event uuid;
BEGIN
  SET LOCAL SESSION AUTHORIZATION regress_trigger_writer;
  INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES (tenant, 'a', 'b', '[{"type":"Upper","id":"1","name":"n","metadata":{"k":1.10}},{"type":"t"}]') RETURNING id INTO event;
  SET LOCAL SESSION AUTHORIZATION DEFAULT;
  RETURN QUERY SELECT e.seq, (SELECT string_agg(t.position || ':' || t.target_type || ':' || coalesce(t.target_id, '-') || ':' || coalesce(t.target_name, '-') || ':' || coalesce(t.target_metadata::text, '-'), ' ' ORDER BY t.position) FROM immutable.event_targets t WHERE t.event_id = e.id AND t.tenant_id = e.tenant_id AND t.created_at = e.created_at)
    FROM immutable.events e WHERE e.id = event;
END
$$;
SELECT * FROM pg_temp.record('trigger-targets');
CREATE TRIGGER a_regress AFTER INSERT ON immutable.event_targets FOR EACH ROW EXECUTE FUNCTION regress_trigger_see();
SELECT * FROM pg_temp.record('trigger-targets');
SELECT what FROM regress_trigger_seen WHERE what NOT LIKE '%' || current_user;
SELECT count(*) AS seen FROM regress_trigger_seen;
DROP TRIGGER a_regress ON immutable.event_targets;
CREATE INDEX regress_trigger_expression ON immutable.event_targets (lower(target_type));
SELECT * FROM pg_temp.record('trigger-targets');
CREATE INDEX regress_trigger_partial ON immutable.event_targets (target_id) WHERE target_name IS NOT NULL;
SELECT * FROM pg_temp.record('trigger-targets');
CREATE INDEX regress_trigger_gin ON immutable.event_targets USING gin (target_metadata);
SELECT * FROM pg_temp.record('trigger-targets');
SET enable_seqscan = off;
SELECT count(*) AS by_expression FROM immutable.event_targets WHERE lower(target_type) = 'upper' AND tenant_id = 'trigger-targets';
SELECT count(*) AS by_partial FROM immutable.event_targets WHERE target_id = '1' AND target_name IS NOT NULL AND tenant_id = 'trigger-targets';
SELECT count(*) AS by_gin FROM immutable.event_targets WHERE target_metadata @> '{"k":1.1}' AND tenant_id = 'trigger-targets';
RESET enable_seqscan;
DROP INDEX immutable.regress_trigger_expression, immutable.regress_trigger_partial, immutable.regress_trigger_gin;
SELECT * FROM pg_temp.record('trigger-targets');
CREATE INDEX regress_trigger_plain ON immutable.event_targets (target_name);
SELECT * FROM pg_temp.record('trigger-targets');
SET enable_seqscan = off;
SELECT count(*) AS by_plain FROM immutable.event_targets WHERE target_name = 'n' AND tenant_id = 'trigger-targets';
RESET enable_seqscan;
DROP INDEX immutable.regress_trigger_plain;
-- The same with another user's check, column or foreign key.
BEGIN;
ALTER TABLE immutable.event_targets ADD CONSTRAINT regress_trigger_check CHECK (target_type <> 'forbidden');
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('trigger-targets', 'a', 'b', '[{"type":"forbidden"}]')$$, false);
ROLLBACK;
BEGIN;
ALTER TABLE immutable.event_targets ADD COLUMN regress_trigger_default int NOT NULL DEFAULT 7, ADD COLUMN regress_trigger_generated text GENERATED ALWAYS AS (upper(target_type)) STORED;
SELECT * FROM pg_temp.record('trigger-targets');
SELECT t.position, t.regress_trigger_default, t.regress_trigger_generated FROM immutable.event_targets t JOIN immutable.events e ON e.tenant_id = t.tenant_id AND e.id = t.event_id
WHERE e.tenant_id = 'trigger-targets' AND e.seq = 8 ORDER BY t.position;
ROLLBACK;
BEGIN;
CREATE TABLE regress_trigger_types (name text COLLATE "C" PRIMARY KEY);
INSERT INTO regress_trigger_types VALUES ('t'), ('Upper');
ALTER TABLE immutable.event_targets ADD CONSTRAINT regress_trigger_fkey FOREIGN KEY (target_type) REFERENCES regress_trigger_types NOT VALID;
SELECT * FROM pg_temp.record('trigger-targets');
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('trigger-targets', 'a', 'b', '[{"type":"forbidden"}]')$$, false);
ROLLBACK;
BEGIN;
ALTER TABLE immutable.events ADD COLUMN regress_trigger_default int NOT NULL DEFAULT 7, ADD COLUMN regress_trigger_generated text GENERATED ALWAYS AS (upper(action)) STORED;
INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('trigger-targets', 'a', 'b', '[{"type":"t"}]') RETURNING regress_trigger_default, regress_trigger_generated;
SELECT valid FROM immutable.verify_chain('trigger-targets');
ROLLBACK;
SELECT valid, events_checked FROM immutable.verify_chain('trigger-targets');
-- Without the event_targets table's foreign key the rows cannot be derived, and nothing is recorded that has targets.
BEGIN;
ALTER TABLE immutable.event_targets DROP CONSTRAINT event_targets_event_id_tenant_id_fkey;
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES ('trigger-targets', 'a', 'b', '[{"type":"t"}]')$$);
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('trigger-targets', 'a', 'without targets') RETURNING seq;
ROLLBACK;
-- Nor without the index that the tail is read through.
BEGIN;
ALTER TABLE immutable.events DROP CONSTRAINT events_tenant_id_lane_seq_key;
SELECT pg_temp.refused($$INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('trigger-targets', 'a', 'b')$$);
ROLLBACK;
INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('trigger-targets', 'a', 'last');
SELECT valid, events_checked FROM immutable.verify_chain('trigger-targets');

DROP TABLE regress_trigger_seen;
DROP FUNCTION regress_trigger_see, regress_trigger_change;
DROP OWNED BY regress_trigger_writer;
DROP ROLE regress_trigger_writer;
ALTER EVENT TRIGGER immutable_ddl_start ENABLE ALWAYS;
ALTER EVENT TRIGGER immutable_ddl_end ENABLE ALWAYS;
ALTER EVENT TRIGGER immutable_ddl_drop ENABLE ALWAYS;
