-- The schema and the roles. Runs first; everything else is qualified with `immutable.`.

-- A server in another encoding could not hash what its clients see.
DO $$
BEGIN
  IF pg_catalog.current_setting('server_encoding') <> 'UTF8' THEN
    RAISE EXCEPTION 'immutable needs a database in encoding UTF8, not %', pg_catalog.current_setting('server_encoding')
      USING ERRCODE = 'feature_not_supported',
            HINT = 'CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0';
  END IF;
END
$$;

-- Fails if somebody made a schema of this name first: nothing of theirs shall be in it.
CREATE SCHEMA immutable;
COMMENT ON SCHEMA immutable IS 'Tamper-evident audit log: events chained with SHA-256';

-- Roles are the cluster's, the extension the database's: a second database finds them there.
DO $$
DECLARE
  role pg_catalog.text;
BEGIN
  FOREACH role IN ARRAY ARRAY['immutable_writer', 'immutable_auditor', 'immutable_viewer', 'immutable_eraser',
    'immutable_restorer'] LOOP
    BEGIN
      EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL;
    END;
  END LOOP;
END
$$;
COMMENT ON ROLE immutable_writer IS 'May insert events into the audit log and call immutable.track()';
COMMENT ON ROLE immutable_auditor IS 'May read and verify the whole audit log';
COMMENT ON ROLE immutable_viewer IS 'Sees one tenant''s events: the one of its viewer token, or the one granted to it';
COMMENT ON ROLE immutable_eraser IS 'May erase values from events through immutable.erase() and immutable.erase_subject(), and read none';
COMMENT ON ROLE immutable_restorer IS 'May restore a dump of the audit log, with immutable.restore = on';
