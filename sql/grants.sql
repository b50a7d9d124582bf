-- Who may do what. Nothing is PUBLIC's.

REVOKE ALL ON ALL TABLES IN SCHEMA immutable FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA immutable FROM PUBLIC;

GRANT USAGE ON SCHEMA immutable TO immutable_writer, immutable_auditor;

-- The caller's columns alone: the chain's are refused by the trigger as well.
GRANT INSERT (id, tenant_id, actor_id, actor_name, actor_type, action, action_category, resource_type, resource_id,
  resource_name, targets, metadata, session_id, idempotency_key, ip_address, ip_country, ip_city, user_agent, version,
  occurred_at) ON immutable.events TO immutable_writer;
-- For RETURNING and ON CONFLICT; the policy below leaves a writer its own transaction's rows.
GRANT SELECT ON immutable.events TO immutable_writer;
GRANT EXECUTE ON FUNCTION
  immutable.track(text, text, text, text, text, text, text, text, jsonb, jsonb, text, text, text, integer, timestamptz,
    inet, text, text, text),
  immutable.track(jsonb), immutable.track_batch(jsonb), immutable.canonical(record)
TO immutable_writer;

GRANT SELECT ON immutable.events, immutable.event_targets, immutable.log TO immutable_auditor;
GRANT EXECUTE ON FUNCTION
  immutable.canonical(record), immutable.get_event(uuid, text),
  immutable.get_events(text, text, text, text, text, text, text, text, text, timestamptz, timestamptz, text, integer),
  immutable.find_events(text, text, text, text, text, text, text, text, text, timestamptz, timestamptz, text, integer),
  immutable.heads(text),
  immutable.verify_chain(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, integer, boolean),
  immutable.verify_breaks(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, bigint, boolean),
  immutable.verify(timestamptz, timestamptz, integer)
TO immutable_auditor;
-- Verification runs with the caller's rights, and so do its parts. (Those of an aggregate are its owner's.)
GRANT EXECUTE ON FUNCTION
  immutable.verify_event(bytea, boolean, uuid, text, text, text, text, text, text, text, text, text, jsonb, jsonb,
    text, text, inet, text, text, text, integer, timestamptz, timestamptz, smallint, bigint, bytea, bytea, bytea,
    jsonb, text, uuid),
  immutable.verify_lane(bytea, bytea),
  immutable.verify_targets(bytea, boolean, text, uuid, smallint, text, text, text, jsonb, timestamptz)
TO immutable_auditor;

ALTER TABLE immutable.events ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.event_targets ENABLE ROW LEVEL SECURITY;

CREATE POLICY writer_insert ON immutable.events FOR INSERT TO immutable_writer WITH CHECK (true);
CREATE POLICY writer_returning ON immutable.events FOR SELECT TO immutable_writer
  USING (xact = pg_catalog.pg_current_xact_id_if_assigned());
CREATE POLICY auditor_select ON immutable.events FOR SELECT TO immutable_auditor USING (true);
CREATE POLICY auditor_select ON immutable.event_targets FOR SELECT TO immutable_auditor USING (true);
COMMENT ON POLICY writer_insert ON immutable.events IS 'A writer may record for any tenant';
COMMENT ON POLICY writer_returning ON immutable.events IS 'A writer sees what its own transaction recorded';
COMMENT ON POLICY auditor_select ON immutable.events IS 'An auditor sees every event';
COMMENT ON POLICY auditor_select ON immutable.event_targets IS 'An auditor sees every event''s targets';
