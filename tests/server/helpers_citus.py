"""Shards as Citus makes them (citusdata/citus, node_protocol.c and relay_event_utility.c): in the schema of the table, its
name with a number, and all that the catalogs say about the table, with the number behind every name."""

import re

from psycopg import sql

TRIGGERS = """
SELECT pg_get_triggerdef(t.oid) || ';' || CASE t.tgenabled WHEN 'O' THEN '' ELSE format('ALTER TABLE %%s ENABLE %%s TRIGGER %%I', t.tgrelid::regclass,
         CASE t.tgenabled WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END, t.tgname) END, t.tgname
FROM pg_trigger t WHERE t.tgrelid = %(table)s::regclass AND NOT t.tgisinternal"""
POLICIES = """
SELECT format('CREATE POLICY %%I ON %%s FOR %%s TO %%s%%s%%s', p.polname, %(shard)s::text,
         CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
         (SELECT string_agg(quote_ident(rolname), ', ') FROM pg_roles WHERE oid = ANY (p.polroles)),
         ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
FROM pg_policy p WHERE p.polrelid = %(table)s::regclass"""
GRANTS = """
SELECT format('GRANT %%s ON %%s TO %%I', a.privilege_type, %(shard)s::text, a.grantee::regrole)
FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = %(table)s::regclass
UNION ALL
SELECT format('GRANT %%s (%%I) ON %%s TO %%I', a.privilege_type, c.attname, %(shard)s::text, a.grantee::regrole)
FROM pg_attribute c, aclexplode(c.attacl) a WHERE c.attrelid = %(table)s::regclass"""


def make_shard(conn, table, number):
    """A shard of immutable.`table`; gives its qualified name."""
    public, shard = f"immutable.{table}", f"immutable.{table}_{number}"
    names = {"table": public, "shard": shard}
    conn.execute(f"CREATE TABLE {shard} (LIKE {public} INCLUDING ALL)")
    conn.execute(f"ALTER TABLE {shard} ENABLE ROW LEVEL SECURITY")
    for query in (POLICIES, GRANTS):
        for command, in conn.execute(query, names).fetchall():
            conn.execute(sql.SQL(command))
    triggers = conn.execute(TRIGGERS, names).fetchall()
    assert triggers
    for commands, name in triggers:
        for command in filter(None, commands.split(";")):
            command = command.replace(f'"{name}"', f'"{name}_{number}"')
            conn.execute(sql.SQL(re.sub(rf"{public}\b", shard, command)))
    return shard


def make_shards(conn, events, targets):
    """A shard of events and the one of event_targets that lies with it."""
    shards = make_shard(conn, "events", events), make_shard(conn, "event_targets", targets)
    conn.execute(f"ALTER TABLE {shards[1]} ADD FOREIGN KEY (event_id, tenant_id) REFERENCES {shards[0]} (id, tenant_id)")
    return shards


def as_public(conn, events, targets):
    """Lets the shards and the log's own tables change names, back and forth: what a statement by the public names meets on a
    node is the shard. In the catalog, because it is no DDL there."""
    conn.execute("SET allow_system_table_mods = on")
    for shard, public in ((events, "events"), (targets, "event_targets")):
        name = shard.split(".")[1]
        for old, new in ((public, "between"), (name, public), ("between", name)):
            conn.execute("UPDATE pg_class SET relname = %s WHERE relname = %s AND relnamespace = 'immutable'::regnamespace", [new, old])
    conn.execute("RESET allow_system_table_mods")
