-- Streams: which events and alerts are delivered where, how far that came, and what a receiver refused.
-- The program immutable-server delivers, as a login with the role immutable_deliverer.

CREATE TABLE immutable.streams (
  id uuid PRIMARY KEY,
  name text COLLATE "C" NOT NULL UNIQUE,
  destination jsonb NOT NULL,
  format text COLLATE "C" NOT NULL,
  filters jsonb NOT NULL,
  tenant_id text COLLATE "C",
  content text COLLATE "C" NOT NULL CHECK (content IN ('events', 'alerts')),
  enabled boolean NOT NULL,
  disabled_because text,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
COMMENT ON TABLE immutable.streams IS
  'What is delivered where. Functions write it, and record an event for each decision. It has no secret: '
  'a destination names the file in which the server program finds one.';
COMMENT ON COLUMN immutable.streams.id IS 'UUIDv7 (RFC 9562)';
COMMENT ON COLUMN immutable.streams.name IS 'Name, once in a log. At most 255 bytes';
COMMENT ON COLUMN immutable.streams.destination IS 'Where to deliver: its type, and what the type needs';
COMMENT ON COLUMN immutable.streams.format IS 'How events are written: json, ocsf, cloudevents, cef or leef';
COMMENT ON COLUMN immutable.streams.filters IS
  'Which events are delivered; {} for all. The value of a person who was erased is null';
COMMENT ON COLUMN immutable.streams.tenant_id IS
  'The tenant whose events are delivered; empty for the events without a tenant, NULL for all events';
COMMENT ON COLUMN immutable.streams.content IS 'events or alerts';
COMMENT ON COLUMN immutable.streams.enabled IS 'Whether it is delivered';
COMMENT ON COLUMN immutable.streams.disabled_because IS
  'Why it is not delivered, where nobody asked for that: the receiver switched it off, or a filter was erased';
COMMENT ON COLUMN immutable.streams.created_at IS 'When the stream was made';
COMMENT ON COLUMN immutable.streams.updated_at IS 'When it was changed last';

CREATE TABLE immutable.stream_positions (
  stream_id uuid PRIMARY KEY,
  mark text COLLATE "C" NOT NULL,
  since timestamptz,
  fence bigint NOT NULL DEFAULT 0,
  worker text,
  lease_seconds integer NOT NULL DEFAULT 0,
  leased_until timestamptz,
  pending_kind text COLLATE "C",
  pending_mark text COLLATE "C",
  pending text COLLATE "C" NOT NULL DEFAULT '',
  pending_left text COLLATE "C" NOT NULL DEFAULT '',
  acknowledged text COLLATE "C" NOT NULL DEFAULT '',
  failures integer NOT NULL DEFAULT 0,
  failed_at timestamptz,
  last_error text,
  retry_at timestamptz,
  refused integer NOT NULL DEFAULT 0,
  delivered bigint NOT NULL DEFAULT 0,
  delivered_at timestamptz,
  test_requested_at timestamptz,
  test_finished_at timestamptz,
  test_error text
);
-- It is written with each delivery.
ALTER TABLE immutable.stream_positions SET (fillfactor = 40);
COMMENT ON TABLE immutable.stream_positions IS
  'How far each stream was delivered, who delivers it now, and what failed. No dump contains it: marks '
  'and leases mean nothing elsewhere.';
COMMENT ON COLUMN immutable.stream_positions.stream_id IS 'The stream';
COMMENT ON COLUMN immutable.stream_positions.mark IS
  'Everything before it was delivered: a mark of immutable.feed(), or, for alerts, time and id of the last one';
COMMENT ON COLUMN immutable.stream_positions.since IS 'Events from before then are passed over; NULL for none';
COMMENT ON COLUMN immutable.stream_positions.fence IS
  'Number of the last lease. Whoever settles with another number has lost the stream';
COMMENT ON COLUMN immutable.stream_positions.worker IS 'Who has the last lease';
COMMENT ON COLUMN immutable.stream_positions.lease_seconds IS 'How long a lease is';
COMMENT ON COLUMN immutable.stream_positions.leased_until IS 'When the lease ends; NULL if there is none';
COMMENT ON COLUMN immutable.stream_positions.pending_kind IS
  'What was taken and is not settled: events, alerts, replay or test; NULL for nothing';
COMMENT ON COLUMN immutable.stream_positions.pending_mark IS 'The mark behind what was taken';
COMMENT ON COLUMN immutable.stream_positions.pending IS 'What was taken and is not acknowledged, in its order';
COMMENT ON COLUMN immutable.stream_positions.pending_left IS 'What stays acknowledged when it is settled';
COMMENT ON COLUMN immutable.stream_positions.acknowledged IS 'What was acknowledged behind the mark';
COMMENT ON COLUMN immutable.stream_positions.failures IS 'How many calls have failed in a row';
COMMENT ON COLUMN immutable.stream_positions.failed_at IS 'When the last one failed';
COMMENT ON COLUMN immutable.stream_positions.last_error IS 'Why; it has no value of an event';
COMMENT ON COLUMN immutable.stream_positions.retry_at IS 'When it is tried again';
COMMENT ON COLUMN immutable.stream_positions.refused IS 'How many events were refused in a row';
COMMENT ON COLUMN immutable.stream_positions.delivered IS 'How many events or alerts were acknowledged';
COMMENT ON COLUMN immutable.stream_positions.delivered_at IS 'When the last one was';
COMMENT ON COLUMN immutable.stream_positions.test_requested_at IS 'When a test was asked for';
COMMENT ON COLUMN immutable.stream_positions.test_finished_at IS 'When it was made';
COMMENT ON COLUMN immutable.stream_positions.test_error IS 'Why it failed; NULL if it did not';

CREATE TABLE immutable.dead_letters (
  id uuid PRIMARY KEY,
  stream_id uuid NOT NULL,
  content text COLLATE "C" NOT NULL,
  tenant_id text COLLATE "C" NOT NULL,
  item_id uuid NOT NULL,
  error text NOT NULL,
  attempts integer NOT NULL,
  died_at timestamptz NOT NULL,
  replay_at timestamptz
);
CREATE INDEX dead_letters_stream ON immutable.dead_letters (stream_id, died_at, id);
COMMENT ON TABLE immutable.dead_letters IS
  'Events and alerts that a receiver refused for good. No row has a value of an event: a replay reads the '
  'event again. run_maintenance() removes those that are older than 30 days.';
COMMENT ON COLUMN immutable.dead_letters.id IS 'UUIDv7 (RFC 9562)';
COMMENT ON COLUMN immutable.dead_letters.stream_id IS 'The stream';
COMMENT ON COLUMN immutable.dead_letters.content IS 'events or alerts';
COMMENT ON COLUMN immutable.dead_letters.tenant_id IS 'The tenant of the event; empty for none';
COMMENT ON COLUMN immutable.dead_letters.item_id IS 'The event or the alert';
COMMENT ON COLUMN immutable.dead_letters.error IS 'What the receiver answered; it has no value of the event';
COMMENT ON COLUMN immutable.dead_letters.attempts IS 'How often it was refused';
COMMENT ON COLUMN immutable.dead_letters.died_at IS 'When it was refused last';
COMMENT ON COLUMN immutable.dead_letters.replay_at IS 'When somebody asked to deliver it again; NULL if nobody did';

-- A column's statistics contain its values.
ALTER TABLE immutable.streams ALTER name SET STATISTICS 0, ALTER destination SET STATISTICS 0,
  ALTER filters SET STATISTICS 0, ALTER tenant_id SET STATISTICS 0;
ALTER TABLE immutable.stream_positions ALTER mark SET STATISTICS 0, ALTER pending_mark SET STATISTICS 0,
  ALTER pending SET STATISTICS 0, ALTER pending_left SET STATISTICS 0, ALTER acknowledged SET STATISTICS 0, ALTER last_error SET STATISTICS 0,
  ALTER test_error SET STATISTICS 0;
ALTER TABLE immutable.dead_letters ALTER tenant_id SET STATISTICS 0, ALTER item_id SET STATISTICS 0,
  ALTER error SET STATISTICS 0;

SELECT pg_catalog.pg_extension_config_dump('immutable.streams', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.dead_letters', '');

-- A dump with row security would leave out rows without an error.
CREATE POLICY all_or_none ON immutable.streams FOR SELECT USING (immutable.refuse_part_of('streams'));
COMMENT ON POLICY all_or_none ON immutable.streams IS 'Refuses roles that row security applies to';
CREATE POLICY all_or_none ON immutable.dead_letters FOR SELECT USING (immutable.refuse_part_of('dead_letters'));
COMMENT ON POLICY all_or_none ON immutable.dead_letters IS 'Refuses roles that row security applies to';
-- Whoever restores brings no stream unseen.
CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.streams
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();
CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.dead_letters
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();
ALTER TABLE immutable.streams ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.stream_positions ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.dead_letters ENABLE ROW LEVEL SECURITY;
-- A replication must not bring another server's positions.
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.stream_positions
  FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.stream_positions ENABLE REPLICA TRIGGER "~immutable_apply";

CREATE FUNCTION immutable.create_stream(name text, destination jsonb, format text DEFAULT 'json',
  filters jsonb DEFAULT '{}', tenant_id text DEFAULT NULL, content text DEFAULT 'events',
  start timestamptz DEFAULT NULL)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_create_stream';
COMMENT ON FUNCTION immutable.create_stream(text, jsonb, text, jsonb, text, text, timestamptz) IS
'Makes a stream: the events or alerts that the server program delivers to another system.
It is recorded as immutable.stream_created, with the names of the filters and the address without its path.
- name: a name, which no other stream has.
- destination: a JSON object with the type (webhook, splunk_hec, datadog, syslog or file) and what the type
  needs. It names secrets, which are files of the server program. docs/deliveries.md says which.
- format: json, ocsf, cloudevents, cef or leef.
- filters: a JSON object. Of events, action is an action in which * stands for any text, or an array of them;
  action_category, actor_id, actor_type, resource, resource_id and session_id are the event''s value. Of
  alerts, rule_type is the type of the rule.
- tenant_id: the tenant whose events are delivered; empty for the events without a tenant, NULL for all
  events.
- content: events or alerts.
- start: events that were recorded from then on, or alerts that were triggered from then on, are delivered:
  ''-infinity'' is all there are. NULL is what comes from now on.
Returns the stream, as immutable.get_streams() shows it.
Raises 22004 without a name or destination, 22023 for what means nothing, 42710 for a name that another stream
has, 54000 beyond 100 streams, 42501 for an API key, 25006 on a standby, and 0A000 for a distributed log.';

CREATE FUNCTION immutable.update_stream(id uuid, name text DEFAULT NULL, destination jsonb DEFAULT NULL,
  format text DEFAULT NULL, filters jsonb DEFAULT NULL, enabled boolean DEFAULT NULL, start timestamptz DEFAULT NULL)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_update_stream';
COMMENT ON FUNCTION immutable.update_stream(uuid, text, jsonb, text, jsonb, boolean, timestamptz) IS
'Changes a stream. It goes on where it was, and what failed is tried again at once.
It is recorded as immutable.stream_updated. What is NULL stays as it is.
- id: the stream.
- name, destination, format: other ones.
- filters: other filters, in place of all that it has.
- enabled: false pauses the stream, and true lets it go on with what came meanwhile.
- start: events that were recorded from then on are delivered, again if they were before; ''now'' passes over
  what is not delivered.
Returns the stream, as immutable.get_streams() shows it.
Raises 22004 without an id, P0002 if there is no such stream, and the errors of immutable.create_stream().';

CREATE FUNCTION immutable.delete_stream(id uuid)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_delete_stream';
COMMENT ON FUNCTION immutable.delete_stream(uuid) IS
'Deletes a stream and its dead letters. A call that has begun is not stopped.
It is recorded as immutable.stream_deleted.
- id: the stream.
Raises 22004 without an id, P0002 if there is no such stream, 42501 for an API key, and 25006 on a standby.';

CREATE FUNCTION immutable.get_streams()
RETURNS jsonb LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_get_streams';
COMMENT ON FUNCTION immutable.get_streams() IS
'Returns all streams, the oldest first.
Returns {"data"}: an array of {"id", "name", "destination", "format", "filters", "tenant_id", "content", "enabled",
"state", "reason", "failures", "failed_at", "last_error", "retry_at", "delivered", "delivered_at", "dead_letters",
"test", "created_at", "updated_at"}. state is active, paused or error, and reason says why it is not active;
test is {"requested_at", "finished_at", "error"}, or null.
Raises 42501 for an API key.';

CREATE FUNCTION immutable.test_stream(id uuid)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_test_stream';
COMMENT ON FUNCTION immutable.test_stream(uuid) IS
'Asks the server program to deliver one event that is not in the log, to see whether the receiver takes it.
A stream that is paused is tested too. The answer stands in the member test of immutable.get_streams().
It is recorded as immutable.stream_tested.
- id: the stream.
Returns {"id", "requested_at"}.
Raises 22004 without an id, P0002 if there is no such stream, 55000 while deliveries are paused after a restore,
a promotion or a copy, 42501 for an API key, and 25006 on a standby.';

CREATE FUNCTION immutable.get_dead_letters(stream_id uuid DEFAULT NULL, "limit" integer DEFAULT 100,
  after uuid DEFAULT NULL)
RETURNS jsonb LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_get_dead_letters';
COMMENT ON FUNCTION immutable.get_dead_letters(uuid, integer, uuid) IS
'Returns what receivers refused for good, in the order of the ids.
- stream_id: the stream; NULL for all.
- limit: how many at most, from 1 to 1,000.
- after: the id of the last one of the page before.
Returns {"data", "has_more"}. One is {"id", "stream_id", "content", "tenant_id", "item_id", "error", "attempts",
"died_at", "replay_at"}; item_id is the event or the alert.
Raises 22023 for another limit, and 42501 for an API key.';

CREATE FUNCTION immutable.replay_dead_letters(stream_id uuid, ids uuid[] DEFAULT NULL)
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_replay_dead_letters';
COMMENT ON FUNCTION immutable.replay_dead_letters(uuid, uuid[]) IS
'Asks the server program to deliver dead letters again, as the events are now.
One that is taken is removed. It is recorded as immutable.dead_letters_replayed.
- stream_id: the stream.
- ids: the dead letters; NULL for all of the stream.
Returns how many are delivered again.
Raises 22004 without a stream, P0002 if there is no such stream, 42501 for an API key, and 25006 on a standby.';

CREATE FUNCTION immutable.due_deliveries()
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_due_deliveries';
COMMENT ON FUNCTION immutable.due_deliveries() IS
'Returns the streams for which there may be something to deliver now, for the program that delivers.
Returns {"state", "streams"}: state is active, paused (after a restore, a promotion or a copy), standby or copy;
one of streams is {"id", "name", "due", "state", "failures", "dead_letters"}. due says whether to call
immutable.take_delivery().
Raises 0A000 for a distributed log.';

CREATE FUNCTION immutable.take_delivery(stream_id uuid, worker text, "limit" integer DEFAULT 100,
  lease_seconds integer DEFAULT 30)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_take_delivery';
COMMENT ON FUNCTION immutable.take_delivery(uuid, text, integer, integer) IS
'Takes what is to be delivered next of a stream, for the program that delivers.
Nobody else gets anything of the stream until it is settled or the lease ends.
- stream_id: the stream.
- worker: a name of the program that delivers, different for each.
- limit: most items, from 1 to 1,000.
- lease_seconds: how long the lease is, from 1 to 600. Each immutable.settle_delivery() that leaves something
  begins it again.
Returns NULL if there is nothing to do, or {"fence", "kind", "stream", "log_id", "failures", "items"}. kind is
events, alerts, replay or test; an item is {"id", "kind", "json", "document"}. Events are as
immutable.get_events() shows them now, and alerts as immutable.get_alerts() does.
Raises 22004 without a stream or worker, 22023 for another limit or lease, and 25006 on a standby.';

CREATE FUNCTION immutable.settle_delivery(stream_id uuid, fence bigint, outcome text, delivered integer DEFAULT 0,
  reason text DEFAULT NULL, retry_seconds double precision DEFAULT NULL)
RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_settle_delivery';
COMMENT ON FUNCTION immutable.settle_delivery(uuid, bigint, text, integer, text, double precision) IS
'Says what became of what was taken, for the program that delivers.
- stream_id: the stream.
- fence: the number that came with it.
- outcome: delivered, if nothing failed so far; retry, if the next item failed; refused, if the receiver will
  never take the next item, which becomes a dead letter; off, if the receiver wants nothing more; released, to
  give the lease back.
- delivered: how many of the items that were left were acknowledged, in their order.
- reason: why it failed. It must not have values of events.
- retry_seconds: when to try again.
Returns whether the caller still has the stream. If not, it must deliver nothing more of what it took.
Raises 22004 without a stream, fence or outcome, 22023 for another outcome or number, and 25006 on a standby.';
