-- What a reader of one page of events needs to verify it, in a browser for example.

CREATE FUNCTION immutable.page_evidence(ids uuid[], tenant_id text DEFAULT NULL)
RETURNS jsonb LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_page_evidence';
COMMENT ON FUNCTION immutable.page_evidence(uuid[], text) IS
'Returns what the reader of a page of events needs to verify it, with the checkpoint that covers it.
The events are those that get_events() shows to the caller. An id of an event that the caller does not
see is left out, like an id of no event. Where immutable.viewer_proofs is off, index, proof and
checkpoint are given to those alone who may call immutable.inclusion_proof().
- ids: the ids of the events, at most 100.
- tenant_id: the tenant of the events; needed only if events of several tenants have one of the ids.
Returns an object with the member events, which has for each id {"line", "index", "proof"}: the event as
a line of an export, its index in the tree, and the hashes of the proof in base64, the leaf''s sibling
first. index and proof are null if the checkpoint does not cover the event. An event that is damaged
has {"unreadable": reason} instead. The member checkpoint is the newest cosigned checkpoint with the
lines of its witnesses, else the newest signed one, or null. If it is damaged, unreadable says how. The
members verifier_keys and witnesses are the database''s own lists of keys: they name keys, and whoever
doubts the database must have the keys from elsewhere.
Raises 22004 if ids is NULL, 22023 for more than 100 ids, 42501 for an API key without the scope read or
for another tenant than the key''s, and 28000 for a proof or a viewer token that is refused.';
