-- Recording many events in one call.

CREATE FUNCTION immutable.track_batch(events jsonb)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track_batch';
COMMENT ON FUNCTION immutable.track_batch(jsonb) IS
'Records several events; one that is refused does not keep the others from being recorded.
- events: an array of objects as immutable.track(event) takes them, or {"events": [...]}, at most
  immutable.max_batch of them.
Returns {"events": [...]} with the answer to each event in its place: {"id", "status"} and
"warnings" as immutable.track() returns them; {"status": "error", "error": {"code", "message",
"field", "hint"}} for an event that is refused; {"id", "status": "conflict", "differs", "error"} for
another event under a used idempotency_key. Errors that are answered so are those of the classes 22
and 23, and 42501, 54000 and 428C9 where they name a field. Any other error ends the call, and
nothing is recorded.
A call takes one subtransaction, and one more for each event that is refused while it is inserted.
Raises 22004 for NULL, 22023 for what is no array of events, and 54000 for too many.';

CREATE FUNCTION immutable.track_batch(events json)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track_batch_text';
COMMENT ON FUNCTION immutable.track_batch(json) IS
'Records several events that are given as json, as immutable.track_batch(jsonb) does.
An event that jsonb cannot hold is answered in its place, like any other that is refused.
Raises the errors of that function.';

CREATE FUNCTION immutable.track_batch(events text)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'immutable_track_batch_text';
COMMENT ON FUNCTION immutable.track_batch(text) IS
'Records several events that are given as text, as immutable.track_batch(jsonb) does.
An untyped literal or parameter is taken as text. An event that is no JSON, such as one with NaN, is
answered in its place.
Raises the errors of that function, and 22P02 if brackets do not match or a string does not end.';
