-- Alerts: the rules, and what they found. CALL immutable.run_maintenance() evaluates them.

CREATE TABLE immutable.alert_rules (
  id uuid PRIMARY KEY,
  name text NOT NULL,
  rule_type text COLLATE "C" NOT NULL,
  conditions jsonb NOT NULL,
  tenant_id text COLLATE "C",
  enabled boolean NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  since timestamptz NOT NULL
);
COMMENT ON TABLE immutable.alert_rules IS
  'What alerts are raised for. Functions write it, and record an event for each decision.';
COMMENT ON COLUMN immutable.alert_rules.id IS 'UUIDv7 (RFC 9562)';
COMMENT ON COLUMN immutable.alert_rules.name IS 'Name that alerts show. At most 255 bytes';
COMMENT ON COLUMN immutable.alert_rules.rule_type IS
  'new_country, high_volume_destructive, ingestion_spike, repeated_action or off_hours';
COMMENT ON COLUMN immutable.alert_rules.conditions IS 'The conditions of the type, defaults included';
COMMENT ON COLUMN immutable.alert_rules.tenant_id IS
  'The tenant whose events the rule looks at; empty for the events without a tenant, NULL for all events';
COMMENT ON COLUMN immutable.alert_rules.enabled IS 'Whether the rule is evaluated';
COMMENT ON COLUMN immutable.alert_rules.created_at IS 'When the rule was made';
COMMENT ON COLUMN immutable.alert_rules.updated_at IS 'When it was changed last';
COMMENT ON COLUMN immutable.alert_rules.since IS
  'The rule looks at events that were recorded from then on: since it was made, enabled, or given other '
  'conditions';

CREATE TABLE immutable.alerts (
  id uuid PRIMARY KEY,
  rule_id uuid NOT NULL,
  rule_name text NOT NULL,
  rule_type text COLLATE "C" NOT NULL,
  tenant_id text COLLATE "C" NOT NULL,
  event_id uuid NOT NULL,
  is_of_actor boolean NOT NULL,
  reason text NOT NULL,
  triggered_at timestamptz NOT NULL,
  notified_at timestamptz
);
CREATE INDEX alerts_page ON immutable.alerts (triggered_at, id);
CREATE INDEX alerts_tenant ON immutable.alerts (tenant_id, triggered_at, id);
COMMENT ON TABLE immutable.alerts IS
  'What the rules found. No row has a value of an event that can be erased: readers join the event.';
COMMENT ON COLUMN immutable.alerts.id IS 'UUIDv7 (RFC 9562)';
COMMENT ON COLUMN immutable.alerts.rule_id IS 'The rule, which may have been deleted since';
COMMENT ON COLUMN immutable.alerts.rule_name IS 'Name of the rule at that time';
COMMENT ON COLUMN immutable.alerts.rule_type IS 'Type of the rule';
COMMENT ON COLUMN immutable.alerts.tenant_id IS 'The tenant of the event; empty for none';
COMMENT ON COLUMN immutable.alerts.event_id IS 'The event that raised the alert: the last one of a burst';
COMMENT ON COLUMN immutable.alerts.is_of_actor IS
  'Whether the alert is about one actor. Others are about a whole tenant, and shown to nobody who sees '
  'one actor alone';
COMMENT ON COLUMN immutable.alerts.reason IS 'Why, as a text';
COMMENT ON COLUMN immutable.alerts.triggered_at IS 'When the rule was evaluated';
COMMENT ON COLUMN immutable.alerts.notified_at IS 'When somebody was told; NULL if nobody was';

CREATE TABLE immutable.alert_feed (
  mark text COLLATE "C" NOT NULL,
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
COMMENT ON TABLE immutable.alert_feed IS
  'How far the events were evaluated: one row, or none while no rule is enabled. No dump contains it.';
COMMENT ON COLUMN immutable.alert_feed.mark IS 'A mark of immutable.feed()';
COMMENT ON COLUMN immutable.alert_feed.singleton IS 'Always true, so that there is one row at most';

CREATE TABLE immutable.alert_state (
  tenant_id text COLLATE "C" NOT NULL,
  actor_id text COLLATE "C" NOT NULL,
  state bytea NOT NULL,
  PRIMARY KEY (tenant_id, actor_id)
);
-- The bytes are packed already, and written often: compressing them takes longer than all the rest.
ALTER TABLE immutable.alert_state ALTER state SET STORAGE EXTERNAL;
ALTER TABLE immutable.alert_state SET (toast_tuple_target = 8160, fillfactor = 70);
COMMENT ON TABLE immutable.alert_state IS
  'What the rules remember of actors between two evaluations: times, and the countries that are known. An '
  'erasure of an actor_id or ip_country removes the actor''s row. No dump contains it.';
COMMENT ON COLUMN immutable.alert_state.tenant_id IS 'The tenant; empty for none';
COMMENT ON COLUMN immutable.alert_state.actor_id IS 'The actor; empty for the tenant as a whole';
COMMENT ON COLUMN immutable.alert_state.state IS 'What each rule remembers';

-- A column's statistics contain values of other tenants, and EXPLAIN shows a viewer how many rows the
-- planner expects. Those of the state would keep what was erased.
ALTER TABLE immutable.alerts ALTER rule_id SET STATISTICS 0, ALTER rule_name SET STATISTICS 0,
  ALTER tenant_id SET STATISTICS 0, ALTER event_id SET STATISTICS 0, ALTER reason SET STATISTICS 0;
ALTER TABLE immutable.alert_state ALTER tenant_id SET STATISTICS 0, ALTER actor_id SET STATISTICS 0,
  ALTER state SET STATISTICS 0;

SELECT pg_catalog.pg_extension_config_dump('immutable.alert_rules', '');
SELECT pg_catalog.pg_extension_config_dump('immutable.alerts', '');

-- A dump with row security would leave out rows without an error.
CREATE POLICY all_or_none ON immutable.alert_rules FOR SELECT USING (immutable.refuse_part_of('alert_rules'));
COMMENT ON POLICY all_or_none ON immutable.alert_rules IS 'Refuses roles that row security applies to';
-- Whoever restores brings no rule or alert unseen.
CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.alert_rules
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();
CREATE TRIGGER "~immutable_brought" BEFORE INSERT ON immutable.alerts
  FOR EACH ROW EXECUTE FUNCTION immutable.guard_brought();
ALTER TABLE immutable.alert_rules ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.alerts ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.alert_feed ENABLE ROW LEVEL SECURITY;
ALTER TABLE immutable.alert_state ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION immutable.create_alert_rule(name text, rule_type text, conditions jsonb DEFAULT '{}',
  tenant_id text DEFAULT NULL)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_create_alert_rule';
COMMENT ON FUNCTION immutable.create_alert_rule(text, text, jsonb, text) IS
'Makes a rule that raises alerts for events that are recorded from now on.
immutable.run_maintenance() evaluates it. It is recorded as immutable.alert_rule_created.
- name: a name, which alerts show.
- rule_type: new_country, high_volume_destructive, ingestion_spike, repeated_action or off_hours.
- conditions: a JSON object. action_pattern is an action in which * stands for any text, or an array of
  them. threshold and window_minutes say how many events within how many minutes; timezone,
  start_hour and end_hour are the hours of work. docs/alerts.md says which type has which, and the
  defaults.
- tenant_id: the tenant whose events are looked at; empty for the events without a tenant, NULL for
  all events.
Returns the rule: {"id", "name", "rule_type", "conditions", "tenant_id", "enabled", "created_at",
"updated_at"}.
Raises 22004 without a name or type, 22023 for a type or conditions that mean nothing, 54000 beyond 500
rules, and 0A000 for a distributed log.';

CREATE FUNCTION immutable.update_alert_rule(id uuid, name text DEFAULT NULL, conditions jsonb DEFAULT NULL,
  enabled boolean DEFAULT NULL)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_update_alert_rule';
COMMENT ON FUNCTION immutable.update_alert_rule(uuid, text, jsonb, boolean) IS
'Changes a rule. One that is enabled, or gets other conditions, looks at events from now on.
It is recorded as immutable.alert_rule_updated. What is NULL stays as it is.
- id: the rule.
- name: another name. Alerts keep the name that they were raised with.
- conditions: other conditions, in place of all that it has.
- enabled: whether the rule is evaluated.
Returns the rule, as immutable.create_alert_rule() does.
Raises 22004 without an id, P0002 if there is no such rule, 22023 for conditions that mean nothing, and
0A000 for a distributed log.';

CREATE FUNCTION immutable.delete_alert_rule(id uuid)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_delete_alert_rule';
COMMENT ON FUNCTION immutable.delete_alert_rule(uuid) IS
'Deletes a rule. Its alerts stay.
It is recorded as immutable.alert_rule_deleted.
- id: the rule.
Raises 22004 without an id, P0002 if there is no such rule, and 0A000 for a distributed log.';

CREATE FUNCTION immutable.get_alert_rules()
RETURNS jsonb LANGUAGE c STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_get_alert_rules';
COMMENT ON FUNCTION immutable.get_alert_rules() IS
'Returns all alert rules, the oldest first.
Returns {"data"}: an array of rules, as immutable.create_alert_rule() returns them.
Raises no error of its own.';

CREATE FUNCTION immutable.get_alerts(rule_type text DEFAULT NULL, from_date immutable.day_or_time DEFAULT NULL,
  to_date immutable.day_or_time DEFAULT NULL, "limit" integer DEFAULT 25, cursor text DEFAULT NULL,
  tenant_id text DEFAULT NULL)
RETURNS jsonb LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'immutable_get_alerts';
COMMENT ON FUNCTION immutable.get_alerts(text, immutable.day_or_time, immutable.day_or_time, integer, text, text) IS
'Returns a page of the alerts of events that the caller sees, the newest first.
- rule_type: alerts of this type alone.
- from_date, to_date: alerts that were triggered from then on, and until then. A day without a time
  means the whole day.
- limit: most alerts of the page, from 1 to 100.
- cursor: pagination.next_cursor of the page before.
- tenant_id: alerts of this tenant alone; empty for the events without a tenant.
Returns {"data", "pagination"}. An alert is {"id", "rule_id", "rule_name", "rule_type", "reason",
"event_id", "event", "notified_at", "triggered_at"}; event is null if the event is gone. pagination is
{"has_more", "next_cursor", "total"}; total is counted to 10,000.
Raises 22023 for another type or limit, and for a cursor of another query; and 28000 for a token that
is refused.';
