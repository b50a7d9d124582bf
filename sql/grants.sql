-- The privileges. PUBLIC has none, except for the functions below.

REVOKE ALL ON ALL TABLES IN SCHEMA immutable FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA immutable FROM PUBLIC;

-- A default, a CHECK (of older shards) and an index's expression run with the rights of the role that inserts. These
-- functions reveal nothing but their arguments.
GRANT EXECUTE ON FUNCTION
  immutable.is_chained(smallint, bigint, bytea, bytea, uuid, bytea, jsonb, text, jsonb, jsonb),
  immutable.new_id(), immutable.fold(text), immutable.text_of(jsonb), immutable.text_of(text) TO PUBLIC;
-- A cast runs with the caller's rights, and reveals nothing either.
GRANT EXECUTE ON FUNCTION immutable.day_or_time_in(cstring), immutable.day_or_time_out(immutable.day_or_time),
  immutable.day_or_time(date), immutable.day_or_time(timestamptz), immutable.day_or_time(timestamp)
TO PUBLIC;
-- A default, which says nothing but the caller's own roles.
GRANT EXECUTE ON FUNCTION immutable.client_roles() TO PUBLIC;
-- This policy function runs with the rights of the roles that row security applies to, and refuses.
GRANT EXECUTE ON FUNCTION immutable.refuse_part_of(text) TO PUBLIC;

GRANT USAGE ON SCHEMA immutable TO immutable_writer, immutable_auditor, immutable_viewer, immutable_eraser;

-- A writer may insert into all columns, because object mappers name all of them. The trigger
-- refuses a value in a column of the chain, and names the column.
GRANT INSERT ON immutable.events TO immutable_writer;
-- RETURNING and ON CONFLICT need SELECT. The policy below shows a writer the rows of its own
-- transaction.
GRANT SELECT ON immutable.events TO immutable_writer;
GRANT EXECUTE ON FUNCTION
  immutable.track(text, text, text, text, text, text, text, text, jsonb, jsonb, text, text, text, integer, timestamptz,
    inet, text, text, text, text),
  immutable.track(jsonb, text), immutable.track(json, text),
  immutable.track_batch(jsonb), immutable.track_batch(json), immutable.track_batch(text), immutable.canonical(record),
  immutable.is_own(xid8, text, smallint, bigint)
TO immutable_writer;
-- In a distributed log track_batch() calls the shard of the tenant. INSERT makes Citus commit on all nodes or on none. The
-- trigger keeps no row, and takes an event from the owner alone. DELETE would give the right to lock the table too.
GRANT SELECT, INSERT ON immutable.placement TO immutable_writer, immutable_server;
GRANT EXECUTE ON FUNCTION immutable.shard_track(bigint, text, text, text, text[]),
  immutable.shard_track_batch(bigint, text, text[], text[])
TO immutable_writer, immutable_server;

GRANT SELECT ON immutable.events, immutable.event_targets, immutable.activity, immutable.activity_targets
TO immutable_auditor, immutable_viewer;
-- The table is empty. The functions ask it where a tenant's events are.
GRANT SELECT ON immutable.placement TO immutable_writer, immutable_auditor, immutable_viewer, immutable_eraser;
GRANT SELECT ON immutable.log, immutable.cluster TO immutable_auditor;
-- These functions run with the caller's rights and under row security, so that both roles use the
-- same ones.
GRANT EXECUTE ON FUNCTION
  immutable.canonical(record), immutable.get_event(uuid, text),
  immutable.get_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time, text, integer, text, text),
  immutable.find_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time, text, integer, text),
  immutable.changes(text, jsonb, integer),
  -- These are called by those above.
  immutable.shard_page(bigint, text, text, text, text, text, text, text, text, text, text, bigint, bigint,
    text, boolean, bigint, uuid, text, boolean, bigint, boolean),
  immutable.shard_found(bigint, text, text, text, text, text, text, text, text, text, text, bigint, bigint,
    text, boolean, bigint, uuid, text, boolean, bigint),
  immutable.shard_event(bigint, text, uuid, text, text), immutable.shard_feed(bigint, text, text, bigint, text)
TO immutable_auditor, immutable_viewer;
GRANT EXECUTE ON FUNCTION
  immutable.heads(text),
  immutable.verify_chain(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, integer, boolean, text),
  immutable.verify_breaks(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, bigint, boolean, text),
  immutable.recorded_late(text), immutable.export_tree(bigint),
  immutable.tile(integer, bigint, integer), immutable.entries(bigint, integer),
  immutable.verify_shard(regclass, boolean), immutable.shard_heads(bigint, text, text),
  immutable.shard_verify(bigint, text, jsonb), immutable.verify_shards(jsonb),
  immutable.shard_export(bigint, text, text, smallint, bigint, jsonb),
  immutable.verify(timestamptz, timestamptz, integer, double precision),
  immutable.export_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time)
TO immutable_auditor;
-- Proofs and receipts are given under row security. A viewer gets receipts of the events that it sees
-- where an administrator grants receipt() to immutable_viewer.
GRANT EXECUTE ON FUNCTION immutable.inclusion_proof(uuid, text, bigint), immutable.consistency_proof(bigint, bigint),
  immutable.receipt(uuid, text, text[]), immutable.receipt_of_line(text)
TO immutable_auditor;
-- The same holds for the evidence of a page, which shows an index and the size of the log too.
GRANT EXECUTE ON FUNCTION immutable.page_evidence(uuid[], text) TO immutable_auditor, immutable_server;
-- For finding the events that cannot be read: SELECT ... WHERE NOT immutable.is_readable(metadata).
GRANT EXECUTE ON FUNCTION immutable.is_readable(jsonb), immutable.is_readable(text) TO immutable_auditor;
-- status() runs with the owner's rights. Of the events it reveals an id and a time alone.
GRANT EXECUTE ON FUNCTION immutable.status(), immutable.nodes() TO immutable_auditor, pg_monitor;
GRANT USAGE ON SCHEMA immutable TO pg_monitor;
-- Verification runs with the caller's rights, and so do its parts, except for those of an
-- aggregate, which run with the aggregate owner's.
GRANT EXECUTE ON FUNCTION
  immutable.verify_event(bytea, boolean, uuid, text, text, text, text, text, text, text, text, text, jsonb, jsonb,
    text, text, inet, text, text, text, integer, timestamptz, timestamptz, smallint, bigint, bytea, bytea, bytea,
    jsonb, text, uuid),
  immutable.verify_lane(bytea, bytea),
  immutable.verify_targets(bytea, boolean, text, uuid, smallint, text, text, text, jsonb, timestamptz)
TO immutable_auditor;

-- An eraser has no right to the tables. The functions say which paths an event has, and never which
-- values were there.
GRANT EXECUTE ON FUNCTION
  immutable.erase(uuid, text, text[], text), immutable.erase_subject(text, text, text, text[], text[], boolean),
  immutable.erase_subject(text, text[], text, text[], text[], boolean)
TO immutable_eraser;
-- A dump's rows come with all columns. COPY into a table is refused where row security applies to
-- the role, so that a restorer needs BYPASSRLS. It also needs SET on the setting immutable.restore,
-- which a superuser grants by hand: PostgreSQL 18 cannot drop a role to which an extension's script
-- granted it.
GRANT USAGE ON SCHEMA immutable TO immutable_restorer;
GRANT INSERT ON immutable.log, immutable.events, immutable.revocations, immutable.tenant_grants TO immutable_restorer;
GRANT INSERT ON immutable.tree, immutable.tree_runs, immutable.tree_tiles, immutable.tree_chunks, immutable.tree_notes,
  immutable.tree_cosignatures, immutable.witnesses, immutable.log_keys TO immutable_restorer;
GRANT EXECUTE ON FUNCTION immutable.record_restore(text) TO immutable_restorer;

-- A policy's functions run with the rights of the roles that the policy applies to.
GRANT EXECUTE ON FUNCTION immutable.visible_tenant(), immutable.is_visible(text, text),
  immutable.is_target_visible(text, uuid) TO immutable_viewer;

ALTER TABLE immutable.events ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.event_targets ENABLE ROW LEVEL SECURITY;

CREATE POLICY writer_insert ON immutable.events FOR INSERT TO immutable_writer WITH CHECK (true);
CREATE POLICY writer_returning ON immutable.events FOR SELECT TO immutable_writer
  USING (xact = pg_catalog.pg_current_xact_id_if_assigned() AND immutable.is_own(xact, tenant_id, lane, seq));
CREATE POLICY auditor_select ON immutable.events FOR SELECT TO immutable_auditor USING (true);
CREATE POLICY auditor_select ON immutable.event_targets FOR SELECT TO immutable_auditor USING (true);
-- Each role has one policy, because two that are combined with OR could not use the index. The
-- comparison with a value that is known before the scan finds the rows. The function beside it
-- decides, so that both always follow the same token.
CREATE POLICY viewer_select ON immutable.events FOR SELECT TO immutable_viewer
  USING (tenant_id = (SELECT immutable.visible_tenant()) AND immutable.is_visible(tenant_id, actor_id));
CREATE POLICY viewer_select ON immutable.event_targets FOR SELECT TO immutable_viewer
  USING (tenant_id = (SELECT immutable.visible_tenant()) AND immutable.is_target_visible(tenant_id, event_id));
COMMENT ON POLICY writer_insert ON immutable.events IS
  'A writer may record events; for which tenant, if the role is bound to one, the trigger decides';
COMMENT ON POLICY writer_returning ON immutable.events IS
  'A writer sees the events that its own transaction has recorded';
COMMENT ON POLICY auditor_select ON immutable.events IS 'An auditor sees every event';
COMMENT ON POLICY auditor_select ON immutable.event_targets IS 'An auditor sees the targets of every event';
COMMENT ON POLICY viewer_select ON immutable.events IS
  'A viewer sees the events that its token shows, or those of the tenant granted to its role';
COMMENT ON POLICY viewer_select ON immutable.event_targets IS 'A viewer sees the targets of the events that it sees';

-- Checkpoints. A view runs with its owner's rights, so whoever may select from it sees its rows.
GRANT USAGE ON SCHEMA immutable TO immutable_maintainer;
GRANT EXECUTE ON PROCEDURE immutable.checkpoint(text) TO immutable_maintainer;
GRANT EXECUTE ON FUNCTION immutable.tree_head(), immutable.verifier_key() TO immutable_maintainer, immutable_auditor;
GRANT EXECUTE ON FUNCTION immutable.add_checkpoint(text), immutable.report_checkpoint(text) TO immutable_maintainer;
GRANT SELECT ON immutable.checkpoints TO immutable_maintainer, immutable_auditor;
GRANT EXECUTE ON FUNCTION immutable.witness_request(bigint, bigint), immutable.add_cosignature(bigint, text)
TO immutable_maintainer;

-- API keys and the proof. Each of these functions asks for the proof first, with the scope that is
-- named here, except for those that only compute with their arguments and those that policies call.
GRANT USAGE ON SCHEMA immutable TO immutable_server;
-- Policies and views run these with the rights of the caller, whoever that is. They say whether a
-- proof opens something, to whoever has it.
GRANT EXECUTE ON FUNCTION immutable.require_scope(text), immutable.is_opened(text, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION immutable.visible_tenant(), immutable.is_visible(text, text),
  immutable.is_target_visible(text, uuid), immutable.is_own(xid8, text, smallint, bigint), immutable.canonical(record),
  immutable.is_readable(jsonb), immutable.is_readable(text),
  immutable.verify_event(bytea, boolean, uuid, text, text, text, text, text, text, text, text, text, jsonb, jsonb,
    text, text, inet, text, text, text, integer, timestamptz, timestamptz, smallint, bigint, bytea, bytea, bytea,
    jsonb, text, uuid),
  immutable.verify_lane(bytea, bytea),
  immutable.verify_targets(bytea, boolean, text, uuid, smallint, text, text, text, jsonb, timestamptz)
TO immutable_server;
-- write: the trigger of the chain asks for it.
GRANT SELECT, INSERT ON immutable.events TO immutable_server;
GRANT EXECUTE ON FUNCTION
  immutable.track(text, text, text, text, text, text, text, text, jsonb, jsonb, text, text, text, integer, timestamptz,
    inet, text, text, text, text),
  immutable.track(jsonb, text), immutable.track(json, text),
  immutable.track_batch(jsonb), immutable.track_batch(json), immutable.track_batch(text)
TO immutable_server;
-- read.
GRANT SELECT ON immutable.event_targets, immutable.activity, immutable.activity_targets TO immutable_server;
GRANT EXECUTE ON FUNCTION
  immutable.get_event(uuid, text),
  immutable.get_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time, text, integer, text, text),
  immutable.find_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time, text, integer, text),
  immutable.changes(text, jsonb, integer)
TO immutable_server;
-- verify.
GRANT SELECT ON immutable.checkpoints TO immutable_server;
GRANT EXECUTE ON FUNCTION
  immutable.heads(text),
  immutable.verify_chain(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, integer, boolean, text),
  immutable.verify_breaks(text, timestamptz, timestamptz, bigint, jsonb, jsonb, boolean, bigint, boolean, text),
  immutable.verify(timestamptz, timestamptz, integer, double precision),
  immutable.recorded_late(text), immutable.export_tree(bigint), immutable.tree_head(), immutable.verifier_key(),
  immutable.tile(integer, bigint, integer), immutable.entries(bigint, integer),
  immutable.inclusion_proof(uuid, text, bigint), immutable.consistency_proof(bigint, bigint),
  immutable.receipt(uuid, text, text[]), immutable.receipt_of_line(text)
TO immutable_server;
-- mint.
GRANT EXECUTE ON FUNCTION immutable.create_viewer_token(text, text, integer), immutable.revoke_viewer_token(text),
  immutable.revoke_viewer_tokens(text, text)
TO immutable_server;
-- export.
GRANT EXECUTE ON FUNCTION
  immutable.export_events(text, text, text, text, text, text, text, text, text, immutable.day_or_time,
    immutable.day_or_time)
TO immutable_server;
-- admin.
GRANT EXECUTE ON FUNCTION
  immutable.erase(uuid, text, text[], text), immutable.erase_subject(text, text, text, text[], text[], boolean),
  immutable.erase_subject(text, text[], text, text[], text[], boolean),
  immutable.create_api_key(text, text[], text, cidr[], bigint), immutable.revoke_api_key(uuid)
TO immutable_server;
GRANT EXECUTE ON FUNCTION immutable.list_api_keys() TO immutable_server, immutable_auditor;
GRANT INSERT ON immutable.api_keys, immutable.api_key_usage TO immutable_restorer;

CREATE POLICY server_insert ON immutable.events FOR INSERT TO immutable_server WITH CHECK (true);
-- RETURNING and ON CONFLICT need a policy that shows what the transaction has recorded, to a key that
-- may not read too.
CREATE POLICY server_select ON immutable.events FOR SELECT TO immutable_server
  USING (immutable.is_visible(tenant_id, actor_id)
    OR (xact = pg_catalog.pg_current_xact_id_if_assigned() AND immutable.is_own(xact, tenant_id, lane, seq)
      AND immutable.is_opened('write', tenant_id)));
CREATE POLICY server_select ON immutable.event_targets FOR SELECT TO immutable_server
  USING (immutable.is_target_visible(tenant_id, event_id));
COMMENT ON POLICY server_insert ON immutable.events IS
  'The server may record what the proof opens; the trigger asks for it';
COMMENT ON POLICY server_select ON immutable.events IS
  'The server sees the events that the proof opens, and those that its own transaction has recorded';
COMMENT ON POLICY server_select ON immutable.event_targets IS 'The server sees the targets of the events that it sees';

-- Action schemas.
GRANT SELECT ON immutable.action_schemas, immutable.action_schema_modes TO immutable_auditor;
GRANT EXECUTE ON FUNCTION immutable.get_action_schemas(text),
  immutable.unmatched_events(timestamptz, timestamptz, integer)
TO immutable_auditor, immutable_server;
-- They run with the caller's rights as far as the proof, and with the owner's at the tables.
GRANT EXECUTE ON FUNCTION immutable.set_action_schema(text, text, jsonb, text),
  immutable.delete_action_schema(text, text), immutable.set_action_schema_mode(text, text)
TO immutable_server;
GRANT INSERT ON immutable.action_schemas, immutable.action_schema_modes TO immutable_restorer;

-- Alerts. An alert shows that its event exists, so a viewer sees the alerts of the events that it sees.
-- One about a whole tenant counts events of every actor.
GRANT SELECT ON immutable.alerts TO immutable_auditor, immutable_viewer, immutable_server;
GRANT EXECUTE ON FUNCTION
  immutable.get_alerts(text, immutable.day_or_time, immutable.day_or_time, integer, text, text)
TO immutable_auditor, immutable_viewer, immutable_server;
GRANT EXECUTE ON FUNCTION immutable.create_alert_rule(text, text, jsonb, text),
  immutable.update_alert_rule(uuid, text, jsonb, boolean), immutable.delete_alert_rule(uuid)
TO immutable_server;
GRANT EXECUTE ON FUNCTION immutable.get_alert_rules() TO immutable_auditor, immutable_server;
GRANT INSERT ON immutable.alert_rules, immutable.alerts TO immutable_restorer;
CREATE POLICY auditor_select ON immutable.alerts FOR SELECT TO immutable_auditor USING (true);
CREATE POLICY viewer_select ON immutable.alerts FOR SELECT TO immutable_viewer
  USING (tenant_id = (SELECT immutable.visible_tenant()) AND (is_of_actor OR immutable.is_visible(tenant_id, NULL))
    AND EXISTS (SELECT FROM immutable.events e WHERE e.id = event_id AND e.tenant_id = alerts.tenant_id));
CREATE POLICY server_select ON immutable.alerts FOR SELECT TO immutable_server
  USING ((is_of_actor OR immutable.is_visible(tenant_id, NULL))
    AND EXISTS (SELECT FROM immutable.events e WHERE e.id = event_id AND e.tenant_id = alerts.tenant_id));
COMMENT ON POLICY auditor_select ON immutable.alerts IS 'An auditor sees every alert';
COMMENT ON POLICY viewer_select ON immutable.alerts IS 'A viewer sees the alerts of the events that it sees';
COMMENT ON POLICY server_select ON immutable.alerts IS 'The server sees the alerts of the events that its proof shows';

-- Exports for download. The functions run with the caller's rights; the table is theirs alone.
GRANT EXECUTE ON FUNCTION
  immutable.create_export(immutable.day_or_time, immutable.day_or_time, text, text, text, text, text, text, text, text,
    text),
  immutable.get_export(uuid), immutable.export_rows(uuid, text)
TO immutable_auditor, immutable_server;

-- Streams. Who makes one decides where events go, so that is the owner's, and whom the owner grants it.
GRANT EXECUTE ON FUNCTION immutable.get_streams(), immutable.get_dead_letters(uuid, integer, uuid)
TO immutable_auditor;
GRANT USAGE ON SCHEMA immutable TO immutable_deliverer;
GRANT EXECUTE ON FUNCTION immutable.due_deliveries(), immutable.take_delivery(uuid, text, integer, integer),
  immutable.settle_delivery(uuid, bigint, text, integer, text, double precision)
TO immutable_deliverer;
GRANT INSERT ON immutable.streams, immutable.dead_letters TO immutable_restorer;

-- Maintenance.
GRANT EXECUTE ON PROCEDURE immutable.run_maintenance(jsonb) TO immutable_maintainer;
GRANT EXECUTE ON FUNCTION immutable.resume_maintenance() TO immutable_maintainer;

-- Retention. Whoever makes the rules sees no event; a viewer and an API key see the rule of their tenant.
GRANT USAGE ON SCHEMA immutable TO immutable_retainer;
GRANT SELECT ON immutable.retention, immutable.holds TO immutable_retainer, immutable_auditor;
GRANT EXECUTE ON FUNCTION immutable.set_retention(interval, text, boolean, text),
  immutable.reset_retention(text, text), immutable.hold(text, text),
  immutable.release(text, text), immutable.prune(boolean, text, text)
TO immutable_retainer;
GRANT EXECUTE ON FUNCTION immutable.get_retention(text)
TO immutable_retainer, immutable_auditor, immutable_viewer, immutable_server;
GRANT INSERT ON immutable.retention, immutable.holds TO immutable_restorer;

-- Row changes. Tracking creates triggers on tables of others with the owner's rights, after it has checked what is asked for.
GRANT USAGE ON SCHEMA immutable TO immutable_tracker;
GRANT EXECUTE ON FUNCTION
  immutable.track_table(regclass, text, text[], text[], text[], text[], text, text[], text[], text),
  immutable.untrack_table(regclass)
TO immutable_tracker;
GRANT SELECT ON immutable.tracking, immutable.tracked_tables TO immutable_tracker, immutable_auditor;
GRANT EXECUTE ON FUNCTION immutable.capture_problem(oid) TO immutable_tracker, immutable_auditor;
GRANT INSERT ON immutable.tracking TO immutable_restorer;

-- Segments.
GRANT EXECUTE ON PROCEDURE immutable.seal(timestamptz, jsonb) TO immutable_maintainer;
