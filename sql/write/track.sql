-- Writing: the service's calls. They insert with the caller's rights, like a plain INSERT.

CREATE FUNCTION immutable.track(
  actor_id text DEFAULT NULL, action text DEFAULT NULL, actor_name text DEFAULT NULL, actor_type text DEFAULT NULL,
  action_category text DEFAULT NULL, resource text DEFAULT NULL, resource_id text DEFAULT NULL,
  resource_name text DEFAULT NULL, targets jsonb DEFAULT NULL, metadata jsonb DEFAULT NULL,
  tenant_id text DEFAULT NULL, session_id text DEFAULT NULL, idempotency_key text DEFAULT NULL,
  version integer DEFAULT NULL, occurred_at timestamptz DEFAULT NULL, ip_address inet DEFAULT NULL,
  ip_country text DEFAULT NULL, ip_city text DEFAULT NULL, user_agent text DEFAULT NULL,
  on_conflict text DEFAULT 'error')
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track';
COMMENT ON FUNCTION immutable.track(text, text, text, text, text, text, text, text, jsonb, jsonb, text, text, text,
    integer, timestamptz, inet, text, text, text, text) IS
  'Records an event; what is left out or NULL comes from the session''s settings. Returns {"id", "status"}: status is "recorded", or "duplicate" with the id of the event that has the idempotency_key already and is the same. An empty key is none. Another event under a used key raises 23505; with on_conflict => ''answer'' it returns {"id", "status": "conflict", "differs": [fields]} with the id of the event that has the key. Every field counts as it would be recorded; actor_name, actor_type, session_id, ip_address, user_agent and occurred_at only where the call gives them, and what is erased not at all. Raises what immutable.chain() does, 22023 for another on_conflict, 09000 where another trigger leaves the event out, and 40001 when a concurrent transaction above READ COMMITTED recorded the same key: retry';

CREATE FUNCTION immutable.track(event jsonb, on_conflict text DEFAULT 'error')
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track_event';
COMMENT ON FUNCTION immutable.track(jsonb, text) IS
  'Records an event given as the service''s payload: an object with the arguments of immutable.track() as members (resource_type is resource), occurred_at as RFC 3339 (without offset: UTC). Returns and raises what immutable.track() with arguments does, and 22023 for a member that is unknown, there twice or of the wrong type, 22007 and 22008 for a bad time, 22P02 for a bad address';

-- Not "event": an untyped event => ''{...}'' would fit this one and the one for jsonb equally well.
CREATE FUNCTION immutable.track(payload json, on_conflict text DEFAULT 'error')
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track_text';
COMMENT ON FUNCTION immutable.track(json, text) IS
  'The same with the payload as json. Raises also 22P02, 22P05, 22003 or 54000, with the field''s name, for a value that jsonb cannot hold (\u0000, half a surrogate pair, 1e999999), and 22023 for an object with two members of one name';

CREATE FUNCTION immutable.track_batch(events jsonb)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track_batch';
COMMENT ON FUNCTION immutable.track_batch(jsonb) IS
  'Records up to immutable.max_batch events given as an array, or as {"events": [...]}. Returns {"events": [...]} with the answer of each in its place: {"id", "status"} as immutable.track() gives it; {"status": "error", "error": {"code", "message", "field", "hint"}} for one that is refused (codes of the classes 22 and 23; 42501, 54000 and 428C9 where they name a field), which does not keep the others from being recorded; {"id", "status": "conflict", "differs", "error"} for another event under a used idempotency_key. Any other error ends the call: nothing is recorded. Raises 22023 if it is no array, 22004 if it is NULL, 54000 if it is too long. It takes one subtransaction, and one more for each event that is refused when it is inserted';

CREATE FUNCTION immutable.track_batch(events json)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track_batch_text';
COMMENT ON FUNCTION immutable.track_batch(json) IS
  'The same with the events as json: one that jsonb cannot hold is answered in its place, like any other that is refused';

CREATE FUNCTION immutable.track_batch(events text)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track_batch_text';
COMMENT ON FUNCTION immutable.track_batch(text) IS
  'The same with the events as text, as an untyped literal or parameter is: one that is no JSON (NaN) is answered in its place too. Raises 22P02 if brackets do not match, or a string does not end';
