-- Writing: the service's calls. They insert with the caller's rights, like a plain INSERT.

CREATE FUNCTION immutable.track(
  actor_id text DEFAULT NULL, action text DEFAULT NULL, actor_name text DEFAULT NULL, actor_type text DEFAULT NULL,
  action_category text DEFAULT NULL, resource text DEFAULT NULL, resource_id text DEFAULT NULL,
  resource_name text DEFAULT NULL, targets jsonb DEFAULT NULL, metadata jsonb DEFAULT NULL,
  tenant_id text DEFAULT NULL, session_id text DEFAULT NULL, idempotency_key text DEFAULT NULL,
  version integer DEFAULT NULL, occurred_at timestamptz DEFAULT NULL, ip_address inet DEFAULT NULL,
  ip_country text DEFAULT NULL, ip_city text DEFAULT NULL, user_agent text DEFAULT NULL)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track';
COMMENT ON FUNCTION immutable.track(text, text, text, text, text, text, text, text, jsonb, jsonb, text, text, text,
    integer, timestamptz, inet, text, text, text) IS
  'Records an event; what is left out or NULL comes from the session''s settings. Returns {"id", "status"}: status is "recorded", or "duplicate" with the id of the event that has the idempotency_key already. Raises what immutable.chain() does, and 40001 when a concurrent transaction above READ COMMITTED recorded the same key: retry';

CREATE FUNCTION immutable.track(event jsonb)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track_event';
COMMENT ON FUNCTION immutable.track(jsonb) IS
  'Records an event given as the service''s payload: an object with the arguments of immutable.track() as members, occurred_at as RFC 3339 (without offset: UTC). Returns {"id", "status"}. Raises 22023 for a member that is unknown or of the wrong type, 22007 and 22008 for a bad time, 22P02 for a bad address, and what immutable.chain() does';

CREATE FUNCTION immutable.track_batch(events jsonb)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track_batch';
COMMENT ON FUNCTION immutable.track_batch(jsonb) IS
  'Records up to immutable.max_batch events given as an array, or as {"events": [...]}. Returns {"events": [...]} with the answer of each in its place: {"id", "status"}, or {"status": "error", "error": {"code", "message", "field"}} for one that is refused, which does not keep the others from being recorded. Raises 22023 if it is no array, 54000 if it is too long';
