-- Recording one event by a call. The functions insert with the caller's rights, as an INSERT does.

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
'Records one event.
Each argument is the column of immutable.events with its name; resource is resource_type. An
argument that is left out or NULL takes what the session''s settings say.
- on_conflict: what happens if another event has the idempotency_key: ''error'' raises 23505, ''answer''
  returns a conflict.
Returns {"id", "status"}. The status is "recorded", or "duplicate" with the id of the event that has
the idempotency_key and is the same. With on_conflict => ''answer'' it may be {"id", "status":
"conflict", "differs": [fields]}. Two events are the same if every field is, as it would be
recorded; actor_name, actor_type, session_id, ip_address, user_agent and occurred_at count only
where the call gives them, and erased values do not count. An event that was recorded although it
does not fit the action schemas has "warnings": [{"field", "message"}].
Raises the errors of immutable.chain(); 23505 for another event under a used key, 22023 for another
on_conflict, 09000 if a trigger that is not the extension''s leaves the event out, and 40001 if a
concurrent transaction recorded the same key and the isolation level is above READ COMMITTED: retry.';

CREATE FUNCTION immutable.track(event jsonb, on_conflict text DEFAULT 'error')
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track_event';
COMMENT ON FUNCTION immutable.track(jsonb, text) IS
'Records one event that is given as a JSON object.
- event: an object whose members are the arguments of immutable.track(); resource_type may stand for
  resource. occurred_at is an RFC 3339 timestamp, and UTC if it has no offset.
- on_conflict: as in immutable.track() with arguments.
Returns what immutable.track() with arguments returns.
Raises the errors of that function; 22004 for NULL, 22023 for a member that is unknown, there twice
or of the wrong type, 22007 or 22008 for a malformed time, and 22P02 for a malformed address.';

-- The argument is not called event: an untyped event => '{...}' would fit this function and the one
-- for jsonb equally well.
CREATE FUNCTION immutable.track(payload json, on_conflict text DEFAULT 'error')
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track_text';
COMMENT ON FUNCTION immutable.track(json, text) IS
'Records one event that is given as a JSON object of type json.
It does what immutable.track(jsonb) does. An untyped literal is taken the same way.
Raises the errors of that function; 22P02, 22P05, 22003 or 54000, with the field''s name, for a value
that jsonb cannot hold (\u0000, half a surrogate pair, 1e999999), and 22023 for an object with two
members of one name.';
