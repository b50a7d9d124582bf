-- The log on several machines, with Citus. docs/scale-out.md has the requirements, and what stays
-- each node's own.

CREATE TABLE immutable.placement (tenant_id text COLLATE "C" PRIMARY KEY);
COMMENT ON TABLE immutable.placement IS
  'Stays empty. In a log that is distributed, a statement about a tenant of it runs on the node of the tenant''s events';
COMMENT ON COLUMN immutable.placement.tenant_id IS 'events.tenant_id';
ALTER TABLE immutable.placement ENABLE ROW LEVEL SECURITY;
-- Without a policy, a query of another role than the owner would ask no shard.
CREATE POLICY all_see ON immutable.placement USING (true) WITH CHECK (false);
COMMENT ON POLICY all_see ON immutable.placement IS
  'Whoever has a right to the table may ask it for a shard; it has no rows, and takes none';

CREATE FUNCTION immutable.share_identity(log_id uuid DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_share_identity';
COMMENT ON FUNCTION immutable.share_identity(uuid) IS
'Part of immutable.distribute(): gives this node the log''s identity, and returns it.
- log_id: the identity; NULL makes one if there is none.
Raises 55000 if this node has another identity.';

CREATE FUNCTION immutable.prepare_tables()
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_prepare_tables';
COMMENT ON FUNCTION immutable.prepare_tables() IS
'Part of immutable.distribute(): makes policies and column defaults that Citus can distribute.
It writes the viewers'' policies without a subquery, which show the same rows, and gives the columns
that have settings a default that is read on the client''s node.
Raises 42501 for a role that does not own immutable.events.';

CREATE FUNCTION immutable.distribute()
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  log pg_catalog.uuid;
  node pg_catalog.record;
  done pg_catalog.bool;
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus') THEN
    RAISE EXCEPTION 'distribute() needs the extension citus in this database'
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Without Citus there is nothing to distribute. To use Citus, run CREATE EXTENSION citus as a superuser, then citus_add_node().';
  END IF;
  EXECUTE $q$SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition
    WHERE logicalrelid = 'immutable.events'::pg_catalog.regclass)$q$ INTO done;
  IF NOT done THEN
    IF EXISTS (SELECT FROM immutable.events) THEN
      RAISE EXCEPTION 'a log that has events cannot be distributed'
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Distribute a new database, and restore the dump of this one into it.';
    END IF;
    PERFORM pg_catalog.set_config('citus.enable_unsafe_triggers', 'on', true);
    PERFORM immutable.prepare_tables();
    EXECUTE $q$SELECT pg_catalog.create_distributed_table('immutable.events', 'tenant_id', colocate_with => 'none')$q$;
    EXECUTE $q$SELECT pg_catalog.create_distributed_table('immutable.event_targets', 'tenant_id',
      colocate_with => 'immutable.events')$q$;
    EXECUTE $q$SELECT pg_catalog.create_distributed_table('immutable.placement', 'tenant_id',
      colocate_with => 'immutable.events')$q$;
    -- An erasure runs on the node of the shard: only a function of the owner in the same process
    -- may write its record.
    EXECUTE $q$SELECT pg_catalog.create_distributed_function(f::pg_catalog.regprocedure, 'tenant_id', colocate_with => 'immutable.events')
      FROM (VALUES ('immutable.erase(uuid, text, text[], text)'),
                   ('immutable.erase_subject(text, text, text, text[], text[], boolean)'),
                   ('immutable.erase_subject(text, text[], text, text[], text[], boolean)')) x(f)$q$;
  END IF;
  log := immutable.share_identity();
  FOR node IN EXECUTE 'SELECT nodename, nodeport, success, result FROM pg_catalog.run_command_on_workers($1)'
    USING pg_catalog.format('SELECT immutable.share_identity(%L)', log)
  LOOP
    IF NOT node.success THEN
      RAISE EXCEPTION 'node %:% cannot take the log''s identity: %', node.nodename, node.nodeport, node.result
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Create the extension anew on that node, in the coordinator''s version. Then call distribute() again.';
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION immutable.distribute() IS
'Distributes the log over the nodes of Citus by tenant_id, before the first event.
It co-locates events and event_targets, and tells every node the log''s identity; call it again after
adding a node. docs/scale-out.md says what stays each node''s own.
Raises 55000 without the extension citus, if there are events, or if a node cannot take the
identity.';
