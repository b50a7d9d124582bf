-- What a replication brings in.

CREATE FUNCTION immutable.replicate() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'immutable_replicate';
COMMENT ON FUNCTION immutable.replicate() IS
'Trigger that takes what a replication brings in: the publisher''s events as they are, and erasures.
It fires where session_replication_role is replica: in the workers of a subscription, and in
sessions that replay a replication origin. It sets xact to the subscriber''s transaction. In any
other such session it sets xact and nothing else.
Raises 42501 for a change that is no erasure, for a DELETE or TRUNCATE, which stops the replication,
and for a session without a replication whose role is neither superuser nor owner.';

-- These triggers fire where session_replication_role is replica, as in a subscription's workers.
-- The other triggers do not fire there.
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
CREATE TRIGGER "~immutable_apply" BEFORE INSERT OR UPDATE OR DELETE ON immutable.segments FOR EACH ROW EXECUTE FUNCTION immutable.replicate();
ALTER TABLE immutable.segments ENABLE REPLICA TRIGGER "~immutable_apply";
