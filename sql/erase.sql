-- Erasing. The functions take the owner's rights themselves, once they know who calls, so that
-- immutable_eraser needs no right to the tables, and has none.

CREATE FUNCTION immutable.erase(event_id uuid, tenant_id text, paths text[], reason text)
RETURNS TABLE (event_id uuid, path text)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000 ROWS 10 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_erase';
COMMENT ON FUNCTION immutable.erase(uuid, text, text[], text) IS
'Destroys values of one event for good, and records that it did.
The commitments of the values stay, so that the chain still verifies. The record is an event
immutable.event_erased of the same tenant. Its metadata has reason, and own_events, the number of
erased events that the caller or the login recorded or was the actor of. The event''s lane stays
locked until the transaction ends.
- event_id, tenant_id: the event; NULL or an empty text stands for an event without a tenant.
- paths: columns such as actor_name, metadata.<key> with the key as it is, and targets.<n> from 0.
  Of the log''s own events only metadata.reason can be erased.
- reason: why, in 1 to 4,096 bytes. The record keeps it, so it must name nobody.
Returns what was erased now. Paths that were erased before or have no value are passed over; if
nothing is left, nothing is recorded.
Raises P0002 if the tenant has no such event, 22004 for an argument that is NULL, 22023 for an empty
argument or a path that the event cannot have, 22001 for a reason that is too long, 55000 for an
event that does not match its hash, 25006 on a standby or a subscriber, and above READ COMMITTED
40001: retry.';

CREATE FUNCTION immutable.erase_subject(
  tenant_id text, subject_id text, reason text, metadata_keys text[] DEFAULT '{}', actor_paths text[] DEFAULT NULL,
  dry_run boolean DEFAULT false)
RETURNS TABLE (event_id uuid, path text, found text)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1000 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_erase_subject';
COMMENT ON FUNCTION immutable.erase_subject(text, text, text, text[], text[], boolean) IS
'Erases a person from the events of one tenant, as immutable.erase() does for one event.
docs/erasure.md has the rules of what is found. In short: where the person is the actor, everything
is erased (or actor_paths); where the person is the resource, resource_id and resource_name; each
target with that id; and each other column, target and top-level metadata key that contains the id
as a whole word. Of every event that is found, the metadata_keys are erased as well. It covers every
event that was committed when it began.
- tenant_id: the tenant; NULL or empty is for the events without a tenant.
- subject_id: the person''s id.
- reason: why, in 1 to 4,096 bytes. The record keeps it, so it must not contain the id.
- metadata_keys: top-level keys of metadata to erase from every event that is found.
- actor_paths: what to erase where the person is the actor, instead of everything.
- dry_run: true changes nothing, and returns what would be erased.
Returns event_id, path and found: "exact", the value is the id; "within", it contains the id;
"beside", it stands beside such a value. A dry run also returns, as "variant", values that look like
the id and would stay, such as the id in other case or percent-encoded.
Raises the errors of immutable.erase(), and 22023 for a reason that contains the id. An event that
may be about the person and does not match its hash is left as it is, with a WARNING.';

CREATE FUNCTION immutable.erase_subject(
  tenant_id text, subject text[], reason text, metadata_keys text[] DEFAULT '{}', actor_paths text[] DEFAULT NULL,
  dry_run boolean DEFAULT false)
RETURNS TABLE (event_id uuid, path text, found text)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1000 SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_erase_subjects';
COMMENT ON FUNCTION immutable.erase_subject(text, text[], text, text[], text[], boolean) IS
'Erases a person who has several ids, or one that is written in several ways.
It does for every id what immutable.erase_subject() with one id does, in one pass and with common
records.
- subject: the person''s ids, at least one.
Returns what that function returns.
Raises the errors of that function, and 22004 for an id that is NULL.';

CREATE FUNCTION immutable.shard_erase(
  here bigint, tenant_id text, reason text, actor_id text, actor_type text, recorded_by text, event_id uuid, paths text[])
RETURNS TABLE (event_id uuid, path text)
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_shard_erase';
COMMENT ON FUNCTION immutable.shard_erase(bigint, text, text, text, text, text, uuid, text[]) IS
'Part of immutable.erase() in a log that is distributed: erases at the shard of the tenant.
- here: a number that is known only at the shard.
- actor_id, actor_type, recorded_by: who erases, in another session.
- tenant_id, reason, event_id, paths: the checked arguments of immutable.erase().
Returns what that function returns. Only the log''s owner may execute it.
Raises the errors of that function, and 55000 if the shard is not on this node.';

CREATE FUNCTION immutable.shard_erase_subject(
  here bigint, tenant_id text, reason text, actor_id text, actor_type text, recorded_by text, subject text[],
  metadata_keys text[], actor_paths text[], dry_run boolean)
RETURNS TABLE (event_id uuid, path text, found text)
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_shard_erase_subject';
COMMENT ON FUNCTION immutable.shard_erase_subject(bigint, text, text, text, text, text, text[], text[], text[], boolean) IS
'Part of immutable.erase_subject() in a log that is distributed: erases at the shard of the tenant.
- here: a number that is known only at the shard.
- actor_id, actor_type, recorded_by: who erases, in another session.
The others are the checked arguments of immutable.erase_subject().
Returns what that function returns. Only the log''s owner may execute it.
Raises the errors of that function, and 55000 if the shard is not on this node.';
