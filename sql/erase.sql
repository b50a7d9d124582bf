-- Erasing: with the owner's rights, for immutable_eraser alone. Its callers need no right to the tables, and have none.

CREATE FUNCTION immutable.erase(event_id uuid, tenant_id text, paths text[], reason text)
RETURNS TABLE (event_id uuid, path text)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000 ROWS 10 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_erase';
COMMENT ON FUNCTION immutable.erase(uuid, text, text[], text) IS
  'Destroys values of an event for good, keeps their commitments, so that the chain still verifies, and records who did so and why as immutable.event_erased. paths: columns such as actor_name, metadata.<key> taken verbatim, targets.<n> from 0; of an event of the log''s own metadata.reason alone. tenant_id NULL or '''' means an event without tenant. reason: at most 4,096 bytes, kept in the record, so name nobody in it. Returns what was erased now; what was erased before, or has no value, is passed over, and without anything new there is no record. Takes the lock of the event''s lane until the transaction ends. Raises P0002 if the tenant has no such event, 22023 for a path that the event can not have or an empty argument, 22004 for a NULL, 22001 for a reason that is too long, 55000 for an event that does not match its hash, 54000 over immutable.max_chains_per_transaction, and above READ COMMITTED 40001: retry';

CREATE FUNCTION immutable.erase_subject(
  tenant_id text, subject_id text, reason text, metadata_keys text[] DEFAULT '{}', actor_paths text[] DEFAULT NULL,
  dry_run boolean DEFAULT false)
RETURNS TABLE (event_id uuid, path text)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1000 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_erase_subject';
COMMENT ON FUNCTION immutable.erase_subject(text, text, text, text[], text[], boolean) IS
  'Erases a person from the events of one tenant, as immutable.erase() does: everything (or actor_paths) where the person is the actor, resource_id and resource_name where the resource, each target with that id, each top-level metadata key that is, or anywhere in a string or nested key contains, the id as a whole word (numbers are not looked at), and from every event found so the metadata_keys as well; of the log''s own events metadata.reason where it names the person. Returns what was erased; with dry_run, which changes nothing, what would be. Covers every event that was committed when it began. Raises what immutable.erase() does, 22023 also for a reason with the subject''s id in it';
