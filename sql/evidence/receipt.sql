-- Receipts: one event as evidence in a file.

CREATE FUNCTION immutable.receipt(id uuid, tenant_id text DEFAULT NULL, disclose text[] DEFAULT NULL)
RETURNS text LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_receipt';
COMMENT ON FUNCTION immutable.receipt(uuid, text, text[]) IS
'Returns an event and the proof that a witness has seen it, as a file that is verified without the log.
immutable-verify receipt verifies it. The proof leads to the newest cosigned checkpoint. The receipt
stays valid when values of the event are erased later, and keeps those that it discloses. It stays valid
when the event is pruned; receipt_of_line() makes one then.
Besides the disclosed values, a receipt shows what stands in the event''s document as it is (id,
tenant_id, lane, seq, both times, recorded_by, action, the types, version and the hash of the event
before it), which of the columns have values, how many metadata keys and targets there are, the
event''s index in the tree, and the size of the log.
- id: the event''s id.
- tenant_id: the event''s tenant; needed only if events of several tenants have this id.
- disclose: the paths of the values to disclose, as for immutable.erase(): columns such as actor_id,
  metadata.<key> and targets.<n>. NULL is for all that are there, and an empty array for none.
Returns the text of the file: the line immutable-receipt/v1, the event as a line of an export, and a
C2SP tlog-proof.
Raises P0002 if the caller sees no such event, or if it was pruned, 21000 if several events have this id
and tenant_id does not tell them apart, 22023 for a path at which the event has no value, or had one that was erased,
22004 for a path that is NULL, 55000 if no cosigned checkpoint covers the event yet, XX001 if the
event, the tree or the checkpoint is damaged, and 28000 for a viewer token that is refused.';

CREATE FUNCTION immutable.receipt_of_line(line text)
RETURNS text LANGUAGE c STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_receipt_of_line';
COMMENT ON FUNCTION immutable.receipt_of_line(text) IS
'Returns the receipt of an event from its line in an export, also when the event was pruned since.
The row of the event is not read: the line''s hash is compared with the leaf that the tree has for its
place. The receipt discloses the values that the line does.
- line: the event''s line in an export, or the second line of a receipt; with or without its line feed.
Returns the text of the file, as immutable.receipt() does.
Raises 22023 for a line that is none of an event, is altered, or is of an event that the tree does not
have, 22004 for NULL, 55000 if no cosigned checkpoint covers the event yet, XX001 if the tree or the
checkpoint is damaged, 42501 for an API key without the scope verify or of another tenant, and 28000 for
a proof that is refused.';
