-- What every node of a distributed log must know: keys, revocations and grants.

CREATE FUNCTION immutable.share_access()
RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tab pg_catalog.regclass;
  is_shared pg_catalog.bool;
  grants immutable.tenant_grants[];
  given immutable.tenant_grants;
  today pg_catalog.name;
  ended pg_catalog.name[] := '{}';
BEGIN
  EXECUTE 'SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_local_group WHERE groupid = 0)
    AND EXISTS (SELECT FROM pg_catalog.pg_dist_node WHERE groupid = 0)' INTO is_shared;
  IF NOT is_shared THEN
    RAISE EXCEPTION 'the coordinator must be one of Citus'' nodes, and this function must be called there'
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'On the coordinator, call citus_set_coordinator_host() with its address. Then call distribute() there.';
  END IF;
  IF EXISTS (SELECT FROM immutable.api_keys) THEN
    RAISE EXCEPTION 'a log that has API keys cannot be distributed'
      USING ERRCODE = 'feature_not_supported',
            HINT = 'The other nodes do not know the keys. Begin with a log without them.';
  END IF;
  -- The names of the roles are read before the trigger looks them up anew.
  SELECT pg_catalog.array_agg(g) INTO grants FROM immutable.tenant_grants g;
  PERFORM pg_catalog.set_config('citus.enable_unsafe_triggers', 'on', true);
  EXECUTE $q$SELECT pg_catalog.count(*) = 3 FROM pg_catalog.pg_dist_partition WHERE logicalrelid = ANY (
    ARRAY['immutable.viewer_keys', 'immutable.revocations', 'immutable.tenant_grants']::pg_catalog.regclass[])$q$
    INTO is_shared;
  IF is_shared THEN
    -- For nodes that were added. Otherwise Citus waits until it is asked to move the first shard there.
    EXECUTE $q$SELECT pg_catalog.replicate_reference_tables('block_writes') WHERE EXISTS (
      SELECT FROM pg_catalog.pg_dist_node n, pg_catalog.pg_dist_shard s
      WHERE n.noderole = 'primary' AND n.isactive AND s.logicalrelid = 'immutable.tenant_grants'::pg_catalog.regclass
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_dist_placement p WHERE p.shardid = s.shardid AND p.groupid = n.groupid))$q$;
  ELSE
    FOREACH tab IN ARRAY ARRAY['immutable.viewer_keys', 'immutable.revocations', 'immutable.tenant_grants']::pg_catalog.regclass[]
    LOOP
      EXECUTE 'SELECT pg_catalog.create_reference_table($1) WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_dist_partition WHERE logicalrelid = $1)' USING tab;
    END LOOP;
  END IF;
  -- A node that has got a copy now looks its roles up by their names. A grant to write has followed its role to a new
  -- name. A grant to read has ended with the name, and must not become that of another role with it.
  FOREACH given IN ARRAY coalesce(grants, '{}') LOOP
    CONTINUE WHEN is_shared AND given.node IS DISTINCT FROM 0;
    SELECT r.rolname INTO today FROM pg_catalog.pg_roles r WHERE r.oid = given.role_oid;
    CONTINUE WHEN today = given.role;
    IF given.mode = 'read' THEN
      ended := ended || given.role;
      UPDATE immutable.tenant_grants g SET role_oid = 3 WHERE g.role = given.role AND g.mode = 'read';
    ELSIF today IS NOT NULL AND NOT EXISTS (SELECT FROM pg_catalog.unnest(grants) o WHERE o.role = today AND o.mode = 'write') THEN
      UPDATE immutable.tenant_grants g SET role = today WHERE g.role = given.role AND g.mode = 'write';
    END IF;
  END LOOP;
  UPDATE immutable.tenant_grants g SET role = g.role WHERE g.mode = 'write' OR g.role <> ALL (ended);
  -- The first token makes the key, so that two nodes do not make two.
  PERFORM immutable.create_viewer_token('');
END
$$;
COMMENT ON FUNCTION immutable.share_access() IS
'Part of immutable.distribute(): gives every node the keys of viewer tokens, the revocations and the grants.
It makes the three tables reference tables of Citus, copies them to nodes that were added, and makes each node look up
the roles that the grants name.
Raises 55000 elsewhere than on a coordinator that is one of Citus'' nodes, and 0A000 for a log that has API keys.';
