-- Publications of any kind change nothing for who revokes, grants, rotates and records; status() names those that make
-- erasures fail.
\set SHOW_CONTEXT never
\pset format unaligned
\pset footer off
SET client_min_messages = error;
SET immutable.allow_ddl = on;
DROP EXTENSION IF EXISTS immutable;
RESET immutable.allow_ddl;
CREATE EXTENSION immutable;
CREATE ROLE regress_publications_app LOGIN;
CREATE ROLE regress_publications_feed LOGIN;
GRANT immutable_writer, immutable_eraser TO regress_publications_app;

-- Every table has a primary key, by which replication finds a row.
SELECT relname AS without_a_key FROM pg_class c WHERE relnamespace = 'immutable'::regnamespace AND relkind = 'r'
  AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary);

-- Everything that changes a table of the extension; twice where the second call takes another path.
CREATE FUNCTION regress_change_everything() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  event uuid;
BEGIN
  INSERT INTO immutable.events (tenant_id, actor_id, action, metadata, targets)
    VALUES ('t', 'u', 'a', '{"k": 1}', '[{"type": "x", "id": "u"}]') RETURNING id INTO event;
  PERFORM immutable.erase(event, 't', '{metadata.k,targets.0}', 'asked to');
  PERFORM immutable.erase_subject('t', 'u', 'asked to');
  PERFORM immutable.create_viewer_token('t');
  FOR n IN 1..2 LOOP
    PERFORM immutable.revoke_viewer_token('some-jti');
    PERFORM immutable.revoke_viewer_tokens('t');
    PERFORM immutable.revoke_viewer_tokens('t', 'u');
    PERFORM immutable.grant_tenant('regress_publications_feed', 't' || n);
    PERFORM immutable.grant_tenant('regress_publications_app', 't' || n, 'write');
  END LOOP;
  -- Expired revocations are removed.
  UPDATE immutable.revocations SET forget_at = '2000-01-01';
  PERFORM immutable.revoke_viewer_tokens('other');
  PERFORM immutable.rotate_viewer_key(), immutable.rotate_viewer_key(revoke_old => true);
  PERFORM immutable.revoke_tenant('regress_publications_feed'), immutable.revoke_tenant('regress_publications_app', 'write');
  PERFORM immutable.record_restore('a test');
  RETURN (SELECT count(*) || ' revocations' FROM immutable.revocations);
END
$$;
SELECT regress_change_everything();
CREATE PUBLICATION regress_all FOR ALL TABLES;
SELECT regress_change_everything();
COPY immutable.viewer_key_import FROM STDIN;
a shared secret of at least thirty-two bytes
\.
DROP PUBLICATION regress_all;
CREATE PUBLICATION regress_schema FOR TABLES IN SCHEMA immutable;
SELECT regress_change_everything();
ALTER PUBLICATION regress_schema SET (publish = 'insert, update');
SELECT regress_change_everything();
ALTER PUBLICATION regress_schema SET (publish = 'delete');
SELECT regress_change_everything();
SELECT problems FROM immutable.status();
DROP PUBLICATION regress_schema;

-- An erasure is an update, for which PostgreSQL wants the columns of the key and no other.
CREATE PUBLICATION regress_one FOR TABLE immutable.log, immutable.events, immutable.event_targets;
SELECT problems FROM immutable.status();
ALTER PUBLICATION regress_one SET TABLE immutable.events WHERE (action LIKE 'a%');
DO $$ BEGIN PERFORM regress_change_everything(); EXCEPTION WHEN OTHERS THEN RAISE '%: %', SQLSTATE, SQLERRM; END $$;
SELECT problems FROM immutable.status();
ALTER PUBLICATION regress_one SET (publish = 'insert');
SELECT problems FROM immutable.status();
SELECT regress_change_everything();
ALTER PUBLICATION regress_one SET (publish = 'insert, update');
ALTER PUBLICATION regress_one SET TABLE immutable.events (id, action);
DO $$ BEGIN PERFORM regress_change_everything(); EXCEPTION WHEN OTHERS THEN RAISE '%: %', SQLSTATE, SQLERRM; END $$;
SELECT problems FROM immutable.status();
ALTER PUBLICATION regress_one SET TABLE immutable.events (id, tenant_id, action) WHERE (tenant_id = 't'), immutable.event_targets (position, event_id);
SELECT problems FROM immutable.status();
ALTER PUBLICATION regress_one SET TABLE immutable.events (id, tenant_id, action) WHERE (tenant_id = 't');
SELECT problems FROM immutable.status();
SELECT regress_change_everything();
DROP PUBLICATION regress_one;
SELECT valid FROM immutable.verify_chain();
DROP FUNCTION regress_change_everything();
DROP OWNED BY regress_publications_app, regress_publications_feed;
DROP ROLE regress_publications_app, regress_publications_feed;
