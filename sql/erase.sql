-- Erasing: with the owner's rights, for immutable_eraser alone. Its callers need no right to the tables, and have none.

CREATE FUNCTION immutable.erase(event_id uuid, tenant_id text, paths text[], reason text)
RETURNS TABLE (event_id uuid, path text)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000 ROWS 10 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_erase';
COMMENT ON FUNCTION immutable.erase(uuid, text, text[], text) IS
  'Destroys values of an event for good, keeps their commitments, so that the chain still verifies, and records who did so and why as immutable.event_erased. paths: columns such as actor_name, metadata.<key> taken verbatim, targets.<n> from 0; of an event of the log''s own metadata.reason alone. tenant_id NULL or '''' means an event without tenant. reason: at most 4,096 bytes, kept in the record, so name nobody in it. The record''s metadata has own_events, how many of the events the caller or the login recorded or was the actor of, if any. Returns what was erased now; what was erased before, or has no value, is passed over, and without anything new there is no record. Takes the lock of the event''s lane until the transaction ends. Raises P0002 if the tenant has no such event, 22023 for a path that the event cannot have or an empty argument, 22004 for a NULL, 22001 for a reason that is too long, 55000 for an event that does not match its hash, and above READ COMMITTED 40001: retry';

CREATE FUNCTION immutable.erase_subject(
  tenant_id text, subject_id text, reason text, metadata_keys text[] DEFAULT '{}', actor_paths text[] DEFAULT NULL,
  dry_run boolean DEFAULT false)
RETURNS TABLE (event_id uuid, path text, found text)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1000 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_erase_subject';
COMMENT ON FUNCTION immutable.erase_subject(text, text, text, text[], text[], boolean) IS
  'Erases a person from the events of one tenant, as immutable.erase() does: everything (or actor_paths) where the person is the actor; resource_id and resource_name where the resource; each target with that id; each other column, target (its name and metadata) and top-level metadata key that has the id in it as a whole word, in a string or the name of a member (numbers are not looked at); from every event found so the metadata_keys as well; of the log''s own events metadata.reason where it names the person. actor_id, resource_id, ip_address and the ids of targets are compared as a whole. Words are made of letters with their marks, digits, _ and -; an id with other characters in it also ends only where no . @ + % (nor / \ : | = # ~ & if it has one itself) joins it to another word, a number only where no . or : joins it to more digits. Texts are compared as they are written. Returns event_id, path and found: exact (the value is the id), within (the id is in it), beside (it stands beside what is: in an event of the actor or resource, or under metadata_keys). With dry_run, which changes nothing, returns what would be erased, and as variant what looks like the id, was not matched and stays: joined to something longer, in other case, accents, blanks or normal form, percent-encoded, with escapes of HTML or JSON, a number: SELECT path, found, count(*) … GROUP BY 1, 2 gives an overview. Covers every event that was committed when it began; an event that does not match its hash, and may be about the person, is left with a WARNING. Raises what immutable.erase() does, 22023 also for a reason with the subject''s id in it, as it is or as a variant';

CREATE FUNCTION immutable.erase_subject(
  tenant_id text, subject text[], reason text, metadata_keys text[] DEFAULT '{}', actor_paths text[] DEFAULT NULL,
  dry_run boolean DEFAULT false)
RETURNS TABLE (event_id uuid, path text, found text)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1000 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_erase_subjects';
COMMENT ON FUNCTION immutable.erase_subject(text, text[], text, text[], text[], boolean) IS
  'Erases a person who has several ids, or whose id is written in several ways, in one go: as immutable.erase_subject(text, text, …) does for each of them, with records in common. subject: at least one id, none NULL or empty. Takes, returns and raises what that function does';
