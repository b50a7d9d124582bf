-- What a replication brings in.

CREATE FUNCTION immutable.replicate() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_replicate';
COMMENT ON FUNCTION immutable.replicate() IS
  'Trigger of events, event_targets, log and cluster for the workers of a replication (a subscription, or a session that replays a replication origin): takes the publisher''s events as they are, with xact of the subscriber, and its identity, and leaves cluster as it is; raises 42501 for a change that is no erasure, a deletion or a truncation, which stops the replication. In any other session whose session_replication_role is replica it sets xact and no more';

-- These fire where session_replication_role is replica, which is where the others do not: in a subscription's workers.
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.events FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
CREATE TRIGGER "~immutable_apply_truncate" BEFORE TRUNCATE ON immutable.events FOR EACH STATEMENT EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.events ENABLE REPLICA TRIGGER "~immutable_apply";
ALTER TABLE immutable.events ENABLE REPLICA TRIGGER "~immutable_apply_truncate";
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.log FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
CREATE TRIGGER "~immutable_apply_truncate" BEFORE TRUNCATE ON immutable.log FOR EACH STATEMENT EXECUTE FUNCTION immutable.replicate();
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.cluster FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
CREATE TRIGGER "~immutable_apply" BEFORE DELETE ON immutable.event_targets FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
CREATE TRIGGER "~immutable_apply_truncate" BEFORE TRUNCATE ON immutable.event_targets FOR EACH STATEMENT EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.event_targets ENABLE REPLICA TRIGGER "~immutable_apply";
ALTER TABLE immutable.event_targets ENABLE REPLICA TRIGGER "~immutable_apply_truncate";
ALTER TABLE immutable.log ENABLE REPLICA TRIGGER "~immutable_apply";
ALTER TABLE immutable.log ENABLE REPLICA TRIGGER "~immutable_apply_truncate";
ALTER TABLE immutable.cluster ENABLE REPLICA TRIGGER "~immutable_apply";
