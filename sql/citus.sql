-- The log on several machines, with Citus. docs/scale-out.md has the requirements, and what stays
-- each node's own.

CREATE TABLE immutable.placement (
  tenant_id text COLLATE "C" PRIMARY KEY,
  action text,
  metadata jsonb,
  actor_id text,
  actor_type text,
  recorded_by text
);
COMMENT ON TABLE immutable.placement IS
  'Stays empty. In a log that is distributed, a statement about a tenant of it runs on the node of the tenant''s events';
COMMENT ON COLUMN immutable.placement.tenant_id IS 'events.tenant_id';
COMMENT ON COLUMN immutable.placement.action IS
  'The action of an event of the log''s own that the trigger records in place of the row, such as immutable.ddl';
COMMENT ON COLUMN immutable.placement.metadata IS 'Its metadata';
COMMENT ON COLUMN immutable.placement.actor_id IS 'Its actor_id';
COMMENT ON COLUMN immutable.placement.actor_type IS 'Its actor_type';
COMMENT ON COLUMN immutable.placement.recorded_by IS 'Its recorded_by';
ALTER TABLE immutable.placement ENABLE ROW LEVEL SECURITY;
-- Without a policy, a query of another role than the owner would ask no shard.
CREATE POLICY all_see ON immutable.placement USING (true) WITH CHECK (false);
COMMENT ON POLICY all_see ON immutable.placement IS
  'Whoever has a right to the table may ask it for a shard; it has no rows, and takes none';

CREATE TRIGGER "~immutable_record" BEFORE INSERT ON immutable.placement
  FOR EACH ROW EXECUTE FUNCTION immutable.record_at_shard();

CREATE FUNCTION immutable.share_identity(log_id uuid DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_share_identity';
COMMENT ON FUNCTION immutable.share_identity(uuid) IS
'Part of immutable.distribute(): gives this node the log''s identity, and returns it.
- log_id: the identity; NULL makes one if there is none.
Raises 55000 if this node has another identity, 08006 if a node does not answer, and 55P03 if its tables are in use for ten seconds.';

CREATE FUNCTION immutable.prepare_tables()
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_prepare_tables';
COMMENT ON FUNCTION immutable.prepare_tables() IS
'Part of immutable.distribute(): makes policies and column defaults that Citus can distribute.
It writes the viewers'' policies without a subquery, which show the same rows, and gives the columns
that have settings a default that is read on the client''s node. It changes this node alone.
Raises 42501 for a role that does not own immutable.events.';

CREATE FUNCTION immutable.local_shards(OUT tab oid, OUT shard oid, OUT shardid bigint)
RETURNS SETOF record LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
-- Citus hides shards in pg_class.
SET citus.override_table_visibility = off AS $$
BEGIN
  -- Without Citus there is no such catalog.
  IF pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL THEN
    RETURN QUERY EXECUTE $q$
      SELECT t.oid, c.oid, s.shardid FROM pg_catalog.pg_dist_shard s
        JOIN pg_catalog.pg_dist_placement p ON p.shardid = s.shardid
        JOIN pg_catalog.pg_dist_local_group g ON g.groupid = p.groupid
        JOIN pg_catalog.pg_class t ON t.oid = s.logicalrelid
        JOIN pg_catalog.pg_class c ON c.relnamespace = t.relnamespace AND c.relname = pg_catalog.format('%s_%s', t.relname, s.shardid)
      WHERE t.relnamespace = 'immutable'::pg_catalog.regnamespace ORDER BY t.relname, s.shardid$q$;
  END IF;
END
$$;
COMMENT ON FUNCTION immutable.local_shards() IS
'Lists the shards of the log''s tables that this node answers for.
Returns for each its table, its relation and its number; no row without Citus.
Raises no error of its own.';

CREATE FUNCTION immutable.shard_changes()
RETURNS SETOF text LANGUAGE sql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
SET citus.override_table_visibility = off
BEGIN ATOMIC
  WITH shards AS MATERIALIZED (
    SELECT s.tab, s.shard, s.shardid, t.relname AS tabname,
      format('%I.%I', 'immutable', t.relname) AS tabident, format('%I.%I', 'immutable', c.relname) AS ident
    FROM immutable.local_shards() s JOIN pg_class t ON t.oid = s.tab JOIN pg_class c ON c.oid = s.shard),
  policies AS (
    SELECT p.polrelid AS rel, p.polname AS name, format('AS %s FOR %s TO %s%s%s', CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
        CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
        (SELECT string_agg(CASE WHEN r.role = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r.role)) END, ', ' ORDER BY r.role) FROM unnest(p.polroles) r(role)),
        ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')') AS definition
    FROM pg_policy p WHERE p.polrelid IN (SELECT tab FROM shards UNION ALL SELECT shard FROM shards)),
  grants AS (
    SELECT c.oid AS rel, a.grantee, a.privilege_type, a.is_grantable FROM pg_class c,
      aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
    WHERE c.oid IN (SELECT tab FROM shards UNION ALL SELECT shard FROM shards)),
  triggers AS (
    SELECT g.tgrelid AS rel, g.tgname AS name, g.tgenabled AS enabled, g.tgfoid AS function, g.tgtype AS type,
      pg_get_triggerdef(g.oid) AS definition
    FROM pg_trigger g WHERE NOT g.tgisinternal AND g.tgrelid IN (SELECT tab FROM shards UNION ALL SELECT shard FROM shards)),
  indexes AS (
    SELECT i.indrelid AS rel, c.relname AS name, pg_get_indexdef(i.indexrelid) AS definition
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE NOT i.indisunique AND i.indrelid IN (SELECT tab FROM shards UNION ALL SELECT shard FROM shards))
  SELECT x.statement FROM (
    SELECT 1 AS step, s.ident, format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', s.ident) AS statement
      FROM shards s WHERE (SELECT relrowsecurity FROM pg_class WHERE oid = s.tab) AND NOT (SELECT relrowsecurity FROM pg_class WHERE oid = s.shard)
    UNION ALL SELECT 1, '', format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', e.evtname)
      FROM pg_event_trigger e WHERE e.evtname = 'immutable_ddl_shard' AND e.evtenabled <> 'A' AND EXISTS (SELECT FROM shards)
    UNION ALL SELECT 2, s.ident, format('DROP POLICY %I ON %s', p.name, s.ident)
      FROM shards s JOIN policies p ON p.rel = s.shard
      WHERE NOT EXISTS (SELECT FROM policies o WHERE o.rel = s.tab AND o.name = p.name AND o.definition = p.definition)
    UNION ALL SELECT 3, s.ident, format('CREATE POLICY %I ON %s %s', p.name, s.ident, p.definition)
      FROM shards s JOIN policies p ON p.rel = s.tab
      WHERE NOT EXISTS (SELECT FROM policies o WHERE o.rel = s.shard AND o.name = p.name AND o.definition = p.definition)
    UNION ALL SELECT 4, s.ident, format('REVOKE %s ON %s FROM %s', g.privilege_type, s.ident, CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
      FROM shards s JOIN grants g ON g.rel = s.shard
      WHERE NOT EXISTS (SELECT FROM grants o WHERE o.rel = s.tab AND o.grantee = g.grantee AND o.privilege_type = g.privilege_type)
    UNION ALL SELECT 5, s.ident, format('GRANT %s ON %s TO %s%s', g.privilege_type, s.ident,
        CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END, CASE WHEN g.is_grantable AND g.grantee <> c.relowner THEN ' WITH GRANT OPTION' ELSE '' END)
      FROM shards s JOIN grants g ON g.rel = s.tab JOIN pg_class c ON c.oid = s.tab
      WHERE NOT EXISTS (SELECT FROM grants o WHERE o.rel = s.shard AND o.grantee = g.grantee AND o.privilege_type = g.privilege_type)
    UNION ALL SELECT 6, s.ident, format('DROP TRIGGER %I ON %s', g.name, s.ident)
      FROM shards s JOIN triggers g ON g.rel = s.shard
      WHERE NOT EXISTS (SELECT FROM triggers o WHERE o.rel = s.tab AND format('%s_%s', o.name, s.shardid) = g.name
        AND o.function = g.function AND o.type = g.type)
    UNION ALL SELECT 7, s.ident, replace(replace(g.definition, format(' TRIGGER %I ', g.name), format(' TRIGGER %I ', format('%s_%s', g.name, s.shardid))),
        format(' ON %s ', s.tabident), format(' ON %s ', s.ident))
      FROM shards s JOIN triggers g ON g.rel = s.tab
      WHERE NOT EXISTS (SELECT FROM triggers o WHERE o.rel = s.shard AND o.name = format('%s_%s', g.name, s.shardid)
        AND o.function = g.function AND o.type = g.type)
    UNION ALL SELECT 8, s.ident, format('ALTER TABLE %s %s TRIGGER %I', s.ident,
        CASE g.enabled WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'D' THEN 'DISABLE' ELSE 'ENABLE' END,
        format('%s_%s', g.name, s.shardid))
      FROM shards s JOIN triggers g ON g.rel = s.tab
      WHERE g.enabled <> coalesce((SELECT o.enabled FROM triggers o WHERE o.rel = s.shard AND o.name = format('%s_%s', g.name, s.shardid)), 'O')
    UNION ALL SELECT 9, s.ident, format('DROP INDEX immutable.%I', i.name)
      FROM shards s JOIN indexes i ON i.rel = s.shard AND i.name LIKE '%\_' || s.shardid
      WHERE NOT EXISTS (SELECT FROM indexes o WHERE o.rel = s.tab AND format('%s_%s', o.name, s.shardid) = i.name)
    UNION ALL SELECT 10, s.ident, replace(replace(i.definition, format('INDEX %I ON ', i.name), format('INDEX %I ON ', format('%s_%s', i.name, s.shardid))),
        format(' ON %s ', s.tabident), format(' ON %s ', s.ident))
      FROM shards s JOIN indexes i ON i.rel = s.tab
      WHERE NOT EXISTS (SELECT FROM indexes o WHERE o.rel = s.shard AND o.name = format('%s_%s', i.name, s.shardid))
    UNION ALL SELECT 11, s.ident, format('ALTER TABLE %s SET (%s)', s.ident, o.option)
      FROM shards s JOIN pg_class t ON t.oid = s.tab JOIN pg_class c ON c.oid = s.shard, unnest(t.reloptions) o(option)
      WHERE o.option <> ALL (coalesce(c.reloptions, '{}'))
    UNION ALL SELECT 12, s.ident, format('ALTER TABLE %s ALTER %I SET STATISTICS %s', s.ident, t.attname, t.attstattarget)
      FROM shards s JOIN pg_attribute t ON t.attrelid = s.tab AND t.attnum > 0 AND NOT t.attisdropped
        JOIN pg_attribute c ON c.attrelid = s.shard AND c.attname = t.attname
      WHERE c.attstattarget IS DISTINCT FROM t.attstattarget) x
  ORDER BY x.ident, x.step, x.statement;
END;
COMMENT ON FUNCTION immutable.shard_changes() IS
'Lists what this node''s shards lack to be as its tables are: policies, grants, triggers, indexes, options.
After an ALTER EXTENSION UPDATE there may be some, until immutable.distribute() is called again. Indexes
of a table that have the number of the shard in their name are compared by name.
Returns the statements; no row without Citus, and none where there is nothing to do.
Raises no error of its own.';

CREATE FUNCTION immutable.mend_shards()
RETURNS integer LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  statement pg_catalog.text;
  done pg_catalog.int4 := 0;
BEGIN
  PERFORM pg_catalog.set_config('citus.enable_manual_changes_to_shards', 'on', true);
  -- Version 0.3 let Citus find the shard by an argument of the functions that erase. Citus crashes where it is NULL.
  IF pg_catalog.to_regclass('pg_catalog.pg_dist_object') IS NOT NULL THEN
    EXECUTE $q$UPDATE pg_catalog.pg_dist_object o SET distribution_argument_index = NULL, colocationid = NULL
      FROM pg_catalog.pg_proc p WHERE o.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = o.objid
        AND p.pronamespace = 'immutable'::pg_catalog.regnamespace AND o.distribution_argument_index IS NOT NULL$q$;
    ALTER EVENT TRIGGER immutable_ddl_shard ENABLE ALWAYS;
  END IF;
  FOR statement IN SELECT c FROM immutable.shard_changes() c LOOP
    EXECUTE statement;
    done := done + 1;
  END LOOP;
  RETURN done;
END
$$;
COMMENT ON FUNCTION immutable.mend_shards() IS
'Part of immutable.distribute(): makes this node''s shards as its tables are.
Returns how many statements of immutable.shard_changes() it has run.
Raises 42501 where it is not called by distribute().';

-- Nobody sees who waits for whom across nodes, so that no wait is for ever.
CREATE FUNCTION immutable.prepare_node(log_id uuid)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s'
AS 'MODULE_PATHNAME', 'immutable_prepare_node';
COMMENT ON FUNCTION immutable.prepare_node(uuid) IS
'Part of immutable.distribute(): gives this node the identity, and makes its tables and shards alike.
- log_id: the identity of the log.
Raises 22004 for NULL, and 55000 if this node has another identity, 08006 if a node does not answer, and 55P03 if its tables are in use for ten seconds.';

CREATE FUNCTION immutable.require_distributable()
RETURNS void LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  part pg_catalog.record;
  found pg_catalog.bool;
BEGIN
  IF EXISTS (SELECT 1 FROM immutable.segments) THEN
    RAISE EXCEPTION 'a log that has segments cannot be distributed'
      USING ERRCODE = 'feature_not_supported',
            HINT = pg_catalog.format('Make a new database, call immutable.distribute(%L) there, and restore the dump of this one into it.',
              (SELECT l.log_id FROM immutable.log l));
  END IF;
  IF EXISTS (SELECT 1 FROM immutable.events) THEN
    RAISE EXCEPTION 'a log that has events cannot be distributed'
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = pg_catalog.format('Make a new database, call immutable.distribute(%L) there, and restore the dump of this one into it.',
              (SELECT l.log_id FROM immutable.log l));
  END IF;
  FOR part IN
    SELECT * FROM (VALUES
      ('api_keys', 'API keys', 'Use roles that grant_tenant() binds, or viewer tokens, and begin in a database without API keys.'),
      ('action_schemas', 'action schemas', 'Check the events where the application records them, and call delete_action_schema() for each.'),
      ('action_schema_modes', 'a mode of action schemas', 'Call set_action_schema_mode(NULL, …) as it was set.'),
      ('alert_rules', 'alert rules', 'Watch the events with immutable.changes() and a tenant_id, and call delete_alert_rule() for each.'),
      ('streams', 'streams', 'Read the events with immutable.changes() and a tenant_id, and call delete_stream() for each.'),
      ('exports', 'exports for download', 'Use export_events(), and begin in a new database, or wait until the exports are removed.'),
      ('tree', 'checkpoints', 'Save heads() elsewhere instead of checkpoints, and begin in a new database.'),
      ('log_keys', 'keys that sign checkpoints', 'Save heads() elsewhere instead of checkpoints, and begin in a new database.'),
      ('witnesses', 'witnesses', 'Call remove_witness() for each.')) v(tab, what, hint)
  LOOP
    EXECUTE pg_catalog.format('SELECT EXISTS (SELECT FROM immutable.%I)', part.tab) INTO found;
    IF found THEN
      RAISE EXCEPTION 'a log that has % cannot be distributed', part.what
        USING ERRCODE = 'object_not_in_prerequisite_state', HINT = part.hint;
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION immutable.require_distributable() IS
'Part of immutable.distribute(): refuses a log that has what a distributed log cannot have.
Raises 0A000 for a log with segments, and 55000 for one with events, API keys, action schemas, alert rules, streams, exports or checkpoints.';

CREATE FUNCTION immutable.distribute_log(log_id uuid)
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
  EXECUTE 'SELECT groupid <> 0 FROM pg_catalog.pg_dist_local_group' INTO done;
  IF done THEN
    RAISE EXCEPTION 'distribute() runs on the coordinator, and this node is a worker'
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Call it on the coordinator. It reaches all nodes from there.';
  END IF;
  -- Tables that are the same on every node are on the coordinator too.
  EXECUTE 'SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_node WHERE groupid = 0)' INTO done;
  IF NOT done THEN
    RAISE EXCEPTION 'the coordinator is not among the nodes of Citus'
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Call citus_set_coordinator_host() with the name by which the workers reach this server, then distribute() again.';
  END IF;
  EXECUTE $q$SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition
    WHERE logicalrelid = 'immutable.events'::pg_catalog.regclass)$q$ INTO done;
  IF NOT done THEN
    PERFORM immutable.require_distributable();
    -- Citus refuses both later, in words that do not say what to do.
    IF pg_catalog.current_setting('citus.shard_replication_factor') <> '1' THEN
      RAISE EXCEPTION 'the log needs citus.shard_replication_factor = 1'
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'SET citus.shard_replication_factor = 1, and call distribute() again. For copies of the events, give each node a physical standby.';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_dist_node WHERE noderole = 'primary' AND isactive AND shouldhaveshards) THEN
      RAISE EXCEPTION 'no node of Citus takes shards'
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Add a worker with citus_add_node(), or let the coordinator have shards: citus_set_node_property(…, ''shouldhaveshards'', true).';
    END IF;
  END IF;
  -- Two calls at once would wait for each other on the nodes, where nobody sees it.
  PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('immutable.distribute'));
  -- An earlier call may have been rolled back after the nodes had taken the identity.
  IF log_id IS NULL AND NOT EXISTS (SELECT FROM immutable.log) THEN
    EXECUTE $q$SELECT pg_catalog.max(r.result)::pg_catalog.uuid
      FROM pg_catalog.run_command_on_workers('SELECT l.log_id FROM immutable.log l') r WHERE r.success AND r.result <> ''$q$ INTO log;
  END IF;
  log := immutable.share_identity(coalesce(log_id, log));
  -- The nodes come first, because they take locks in sessions of their own.
  FOR node IN EXECUTE 'SELECT nodename, nodeport, success, result FROM pg_catalog.run_command_on_workers($1)'
    USING pg_catalog.format('SELECT immutable.prepare_node(%L)', log)
  LOOP
    -- What Citus says of a node that it cannot reach.
    IF NOT node.success AND node.result ~ '^(failed to|connection lost|query result unavailable)' THEN
      RAISE EXCEPTION 'node %:% does not answer: %', node.nodename, node.nodeport, node.result
        USING ERRCODE = 'connection_failure', HINT = 'Start the node, or make it reachable for this role. Then call distribute() again.';
    END IF;
    IF NOT node.success AND node.result ~ 'lock timeout' THEN
      RAISE EXCEPTION 'the tables of node %:% are in use', node.nodename, node.nodeport
        USING ERRCODE = 'lock_not_available', HINT = 'Call distribute() again when fewer transactions read or write the log.';
    END IF;
    IF NOT node.success THEN
      RAISE EXCEPTION 'node %:% cannot take the log''s identity: %', node.nodename, node.nodeport, node.result
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Create the extension anew on that node, in the coordinator''s version. Then call distribute() again.';
    END IF;
  END LOOP;
  PERFORM immutable.prepare_node(log);
  PERFORM pg_catalog.set_config('citus.enable_unsafe_triggers', 'on', true);
  IF NOT done THEN
    EXECUTE $q$SELECT pg_catalog.create_distributed_table('immutable.events', 'tenant_id', colocate_with => 'none')$q$;
    EXECUTE $q$SELECT pg_catalog.create_distributed_table('immutable.event_targets', 'tenant_id',
      colocate_with => 'immutable.events')$q$;
  END IF;
  -- A log that was distributed by an earlier version has no such table yet.
  EXECUTE $q$SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition
    WHERE logicalrelid = 'immutable.placement'::pg_catalog.regclass)$q$ INTO done;
  IF NOT done THEN
    EXECUTE $q$SELECT pg_catalog.create_distributed_table('immutable.placement', 'tenant_id',
      colocate_with => 'immutable.events')$q$;
  END IF;
  -- Citus notes the collation of the type text, not that of the column. It would then place the application's own tables
  -- beside the events, and refuse them because the collations differ.
  EXECUTE $q$UPDATE pg_catalog.pg_dist_colocation g SET distributioncolumncollation = a.attcollation
    FROM pg_catalog.pg_dist_partition p JOIN pg_catalog.pg_attribute a ON a.attrelid = p.logicalrelid AND a.attname = 'tenant_id'
    WHERE p.logicalrelid = 'immutable.events'::pg_catalog.regclass AND g.colocationid = p.colocationid
      AND g.distributioncolumncollation <> a.attcollation$q$;
  PERFORM immutable.share_access();
END
$$;
COMMENT ON FUNCTION immutable.distribute_log(uuid) IS
'Does what immutable.distribute() says.
- log_id: the identity, or NULL.
Raises what immutable.distribute() raises.';

CREATE FUNCTION immutable.distribute(log_id uuid DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'immutable_distribute';
COMMENT ON FUNCTION immutable.distribute(uuid) IS
'Distributes the log over the nodes of Citus by tenant_id, before the first event.
It co-locates events and event_targets, and makes all nodes alike: the log''s identity, policies, grants
and column defaults. Call it again after adding a node, and after ALTER EXTENSION immutable UPDATE.
docs/scale-out.md says what stays each node''s own.
- log_id: the identity that the log is to have, which is that of the dump that will be restored; NULL
  keeps the one that it has, or makes one.
Raises 55000 without the extension citus, on a worker, if the coordinator is not among the nodes, if no
node takes shards, with another citus.shard_replication_factor than 1, for a log with events, API keys,
action schemas, alert rules, streams, exports or checkpoints, and if a node has another identity, 08006
if a node does not answer, and 55P03 if the tables of a node are in use for ten seconds.';
