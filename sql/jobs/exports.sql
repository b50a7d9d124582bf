-- Exports for download: each is pinned to the events that were there when it was asked for.

-- Nobody but the functions reads the table, with the owner's rights: an export's filters may name
-- a person. No dump has it. A pin is a snapshot of this server, and means nothing elsewhere.
CREATE TABLE immutable.exports (
  id uuid PRIMARY KEY,
  tenant_id text COLLATE "C",
  filters jsonb NOT NULL,
  pin pg_catalog.pg_snapshot,
  pinned_in timestamptz,
  status text COLLATE "C" NOT NULL DEFAULT 'pending'
    CHECK (status IN ('pending', 'processing', 'completed', 'failed')),
  counted bigint NOT NULL DEFAULT 0,
  counted_to text COLLATE "C",
  error_message text,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  created_by text NOT NULL
);
CREATE INDEX exports_unfinished ON immutable.exports (created_at) WHERE status IN ('pending', 'processing');
COMMENT ON TABLE immutable.exports IS
  'Exports for download: which events each has, and for how long it can be read. Events are read when '
  'they are downloaded. No dump contains this table.';
COMMENT ON COLUMN immutable.exports.id IS 'Random UUID, by which the export is asked for';
COMMENT ON COLUMN immutable.exports.tenant_id IS
  'The tenant of the API key that made the export, and whose events alone it may have; NULL if it may have '
  'those of every tenant';
COMMENT ON COLUMN immutable.exports.filters IS
  'The filters, by their names; values of a person who was erased are null';
COMMENT ON COLUMN immutable.exports.pin IS
  'The snapshot whose events the export has; NULL once it has expired or failed';
COMMENT ON COLUMN immutable.exports.pinned_in IS
  'immutable.cluster.noted_at when the export was made: after a seam it is another, and the pin means nothing';
COMMENT ON COLUMN immutable.exports.status IS
  '''pending'' until its events are counted, ''processing'' where a part of them is, ''completed'', or ''failed''';
COMMENT ON COLUMN immutable.exports.counted IS 'How many events were counted so far';
COMMENT ON COLUMN immutable.exports.counted_to IS 'Where counting goes on: lane, seq and, in hex, tenant';
COMMENT ON COLUMN immutable.exports.error_message IS 'Why it failed';
COMMENT ON COLUMN immutable.exports.created_at IS 'When it was asked for';
COMMENT ON COLUMN immutable.exports.expires_at IS
  'When it ends. Its filters and its pin are removed then, and the row 30 days after that';
COMMENT ON COLUMN immutable.exports.created_by IS 'session_user of the connection that asked for it';
ALTER TABLE immutable.exports ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION immutable.create_export(
  from_date immutable.day_or_time DEFAULT NULL, to_date immutable.day_or_time DEFAULT NULL,
  actor_id text DEFAULT NULL, action text DEFAULT NULL, resource text DEFAULT NULL, resource_id text DEFAULT NULL,
  tenant_id text DEFAULT NULL, session_id text DEFAULT NULL, target_type text DEFAULT NULL,
  target_id text DEFAULT NULL, search text DEFAULT NULL)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_create_export';
COMMENT ON FUNCTION immutable.create_export(immutable.day_or_time, immutable.day_or_time, text, text, text, text, text,
    text, text, text, text) IS
'Makes an export of the events that are committed now and pass every filter given.
Events that are recorded or committed later, and those of this transaction, are not in it. It can be
read as soon as this transaction has committed, for seven days. It is recorded as
immutable.export_created with the names of the filters. The arguments are those of
immutable.get_events().
- from_date, to_date: inclusive bounds of created_at.
- actor_id, resource, resource_id, session_id, target_type, target_id: the event''s value, or that of
  one of its targets, is this.
- action: the event''s action is this one; * in it stands for any text.
- tenant_id: the event belongs to this tenant; an empty text is for the events without a tenant. The
  export of an API key that is bound to a tenant has that tenant''s events alone.
- search: a part of actor_name, action, resource_name or metadata.
Returns {"data": {"id", "status": "pending"}, "id"}.
Raises 22023 for an action with a comma, 22001 for a filter of more than 4,096 bytes, 54000 if five
exports are not counted yet or a thousand have not expired (of the tenant, for a bound API key; of all
others together), 0A000 on a distributed log, 25006 on a standby or a subscriber, 42501 for another
tenant than the API key''s, for a proof that does not have the scope export and for a role whom further
policies limit, and 28000 for a proof that is refused.';

CREATE FUNCTION immutable.get_export(id uuid)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_get_export';
COMMENT ON FUNCTION immutable.get_export(uuid) IS
'Returns an export as {"data": {...}}, with a ticket that opens it for 15 minutes.
An export that is not counted yet is counted on for up to a half second, unless the transaction is
read-only or above READ COMMITTED; immutable.run_maintenance() does the same.
- id: the export''s id.
Returns id, status ("pending", "processing", "completed" or "failed"), filters, total_rows (null until
it is completed), file_size (null), download_url (null), ticket and ticket_expires_at (null unless
completed), error_message, created_at and expires_at. NULL if there is no such export, or if it is not
the caller''s to see: an API key that is bound to a tenant sees those that were made with such a key.
Raises 55000 for an export that has expired, 42501 for a proof that does not have the scope export, and
28000 for a proof that is refused.';

CREATE FUNCTION immutable.export_rows(id uuid, format text DEFAULT 'csv')
RETURNS SETOF text LANGUAGE c STABLE PARALLEL RESTRICTED COST 10000 ROWS 1000000
SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'immutable_export_rows';
COMMENT ON FUNCTION immutable.export_rows(uuid, text) IS
'Returns an export line by line: its events as they are now, in the order of tenant, lane and seq.
It does not wait until the events are counted. Values that were erased since are gone, and events that
a filter found by such a value are too. In the select list it streams. A line of CSV has the line
breaks of its values in it, which every format of COPY changes. psql writes a file as it is: psql -X
-q -A -t -v FETCH_COUNT=1000 -c "SELECT immutable.export_rows(''...'')" -o export.csv, with
PGCLIENTENCODING=UTF8.
An export ticket in setting immutable.proof opens its export.
- id: the export''s id.
- format: ''csv'', after RFC 4180, with a line of names, hashes in hex, JSON in targets, metadata and
  erased, times in UTC, and nothing for NULL; ''csv_spreadsheet'', the same with an apostrophe before
  values that a spreadsheet would take for a formula; or ''ndjson'', the lines of
  immutable.export_events(), which the program immutable-verify checks. These have the records of
  newer erasures of the events too.
Raises P0002 if there is no such export or if it is not the caller''s to see, 55000 for one that has
expired or failed, 22004 for NULL, 22023 for another format, and 28000 for a proof that is refused.';

CREATE FUNCTION immutable.forget_in_exports(tenant_id text, erased text[])
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_forget_in_exports';
COMMENT ON FUNCTION immutable.forget_in_exports(text, text[]) IS
'Ends the exports whose filters have a value that was erased, pauses such streams, and removes it.
immutable.erase() and immutable.erase_subject() call it. The export fails, because without the value
it would be another.
- tenant_id: the tenant whose values were erased.
- erased: the values.
Raises no error of its own.';
