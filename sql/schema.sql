-- The schema and the roles. This file comes first. The other files qualify every name with
-- `immutable.`.

-- A server with another encoding could not hash what its clients see.
DO $$
BEGIN
  IF pg_catalog.current_setting('server_encoding') <> 'UTF8' THEN
    RAISE EXCEPTION 'immutable needs a database with encoding UTF8, not %', pg_catalog.current_setting('server_encoding')
      USING ERRCODE = 'feature_not_supported',
            HINT = 'Create one with CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0.';
  END IF;
END
$$;

-- This fails if there is a schema of this name: nothing that others made must be in it.
CREATE SCHEMA immutable;
COMMENT ON SCHEMA immutable IS 'Tamper-evident audit log: events that are chained with SHA-256';

-- Roles belong to the cluster, the extension to a database: in a second database the roles are
-- there already.
DO $$
DECLARE
  role pg_catalog.text;
BEGIN
  FOREACH role IN ARRAY ARRAY['immutable_writer', 'immutable_auditor', 'immutable_viewer', 'immutable_eraser',
    'immutable_restorer', 'immutable_maintainer', 'immutable_server',
    'immutable_deliverer', 'immutable_retainer', 'immutable_tracker'] LOOP
    BEGIN
      EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL;
    END;
  END LOOP;
END
$$;
COMMENT ON ROLE immutable_writer IS
  'May record events: insert into immutable.events and call immutable.track() and '
  'immutable.track_batch()';
COMMENT ON ROLE immutable_auditor IS 'May read, verify and export the whole audit log';
COMMENT ON ROLE immutable_viewer IS
  'Sees the events of one tenant: of the one that its viewer token names, or of the one granted to the '
  'role';
COMMENT ON ROLE immutable_eraser IS
  'May erase values through immutable.erase() and immutable.erase_subject(), and may read no event';
COMMENT ON ROLE immutable_restorer IS 'May restore a dump of the audit log, with immutable.restore = on';
COMMENT ON ROLE immutable_maintainer IS
  'May make checkpoints of the audit log and store their cosignatures, and may read no event';
COMMENT ON ROLE immutable_server IS
  'May call what an API key, a viewer token or an export ticket opens, and nothing without one of them';
COMMENT ON ROLE immutable_deliverer IS
  'May take the events and alerts of the streams, to deliver them, and may read no table';
COMMENT ON ROLE immutable_retainer IS
  'May say how long events are kept, hold a tenant''s events, and remove what may go, and may read no event';
COMMENT ON ROLE immutable_tracker IS
  'May say of which tables row changes are recorded, and may read no event';
