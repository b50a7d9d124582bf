-- Views for reports, with flat, typed columns. The caller's rights and row security apply.

CREATE VIEW immutable.activity WITH (security_invoker = true) AS
SELECT e.id AS event_id, e.tenant_id, e.created_at, e.occurred_at, e.actor_id, e.actor_name, e.actor_type, e.action,
  e.action_category, e.resource_type, e.resource_id, e.resource_name, e.session_id, e.idempotency_key, e.ip_address,
  e.ip_country, e.ip_city, e.user_agent, e.version, e.metadata,
  CASE WHEN pg_catalog.jsonb_typeof(e.targets) = 'array' THEN pg_catalog.jsonb_array_length(e.targets) END AS target_count,
  e.erased IS NOT NULL AS is_erased, e.recorded_by, e.lane, e.seq,
  pg_catalog.encode(e.event_hash, 'hex') AS event_hash,
  pg_catalog.encode(e.previous_event_hash, 'hex') AS previous_event_hash
FROM immutable.events e;
COMMENT ON VIEW immutable.activity IS
  'Audit events for reports: one row for each event, hashes in hex. The caller''s rights and row '
  'security apply.';
COMMENT ON COLUMN immutable.activity.event_id IS 'The event''s id; unique together with tenant_id';
COMMENT ON COLUMN immutable.activity.tenant_id IS 'The tenant (customer) that the event belongs to; empty for none';
COMMENT ON COLUMN immutable.activity.created_at IS
  'When it was recorded, by the server''s clock. Indexed: a range of it is quick';
COMMENT ON COLUMN immutable.activity.occurred_at IS
  'When it happened, as the application says. Differs from created_at for events that were imported or '
  'came late. Not indexed';
COMMENT ON COLUMN immutable.activity.actor_id IS 'Id of the user or program that acted';
COMMENT ON COLUMN immutable.activity.actor_name IS 'The actor''s name';
COMMENT ON COLUMN immutable.activity.actor_type IS 'The kind of actor';
COMMENT ON COLUMN immutable.activity.action IS 'What the actor did';
COMMENT ON COLUMN immutable.activity.action_category IS 'The category of the action';
COMMENT ON COLUMN immutable.activity.resource_type IS 'The kind of thing that was acted on';
COMMENT ON COLUMN immutable.activity.resource_id IS 'Id of the thing that was acted on';
COMMENT ON COLUMN immutable.activity.resource_name IS 'Name of the thing that was acted on';
COMMENT ON COLUMN immutable.activity.session_id IS 'The actor''s session';
COMMENT ON COLUMN immutable.activity.idempotency_key IS 'The application''s key against recording twice';
COMMENT ON COLUMN immutable.activity.ip_address IS 'The actor''s IP address';
COMMENT ON COLUMN immutable.activity.ip_country IS 'Country of the IP address';
COMMENT ON COLUMN immutable.activity.ip_city IS 'City of the IP address';
COMMENT ON COLUMN immutable.activity.user_agent IS 'The actor''s program';
COMMENT ON COLUMN immutable.activity.version IS 'Version of the event''s schema';
COMMENT ON COLUMN immutable.activity.metadata IS 'Anything else about the event: a JSON object';
COMMENT ON COLUMN immutable.activity.target_count IS
  'How many targets the event has; immutable.activity_targets has them';
COMMENT ON COLUMN immutable.activity.is_erased IS 'Whether a value of the event was erased';
COMMENT ON COLUMN immutable.activity.recorded_by IS 'Login of the connection that recorded the event';
COMMENT ON COLUMN immutable.activity.lane IS 'The lane of the tenant''s chain, from 0';
COMMENT ON COLUMN immutable.activity.seq IS 'The event''s number in its lane, from 1';
COMMENT ON COLUMN immutable.activity.event_hash IS 'SHA-256 of the event''s document, in hex';
COMMENT ON COLUMN immutable.activity.previous_event_hash IS 'event_hash of the event before it in the lane, in hex';

CREATE VIEW immutable.activity_targets WITH (security_invoker = true) AS
SELECT t.event_id, t.tenant_id, t.created_at, t.position, t.target_type, t.target_id, t.target_name, t.target_metadata,
  CASE WHEN t.position = 0 THEN 1 ELSE 0 END AS event_count
FROM immutable.event_targets t;
COMMENT ON VIEW immutable.activity_targets IS
  'The targets of events for reports: one row for each target. A join with immutable.activity on '
  '(tenant_id, event_id) repeats events; sum(event_count) counts each once. The caller''s rights and row '
  'security apply.';
COMMENT ON COLUMN immutable.activity_targets.event_id IS 'The event''s id; unique together with tenant_id';
COMMENT ON COLUMN immutable.activity_targets.tenant_id IS
  'The tenant (customer) that the event belongs to; empty for none';
COMMENT ON COLUMN immutable.activity_targets.created_at IS 'When the event was recorded';
COMMENT ON COLUMN immutable.activity_targets.position IS 'The target''s position in the event, from 0';
COMMENT ON COLUMN immutable.activity_targets.target_type IS 'The target''s type';
COMMENT ON COLUMN immutable.activity_targets.target_id IS 'The target''s id';
COMMENT ON COLUMN immutable.activity_targets.target_name IS 'The target''s name';
COMMENT ON COLUMN immutable.activity_targets.target_metadata IS 'The target''s metadata: a JSON object';
COMMENT ON COLUMN immutable.activity_targets.event_count IS
  '1 for an event''s first target and 0 for its others, so that the sum counts events';
