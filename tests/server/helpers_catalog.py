"""Everything the catalogs say about the extension, in words that do not depend on OIDs, so that two databases can be
compared: `describe()` and `differences()`. As a program (see scripts/upgrade-diff) it compares, on a server, what CREATE
EXTENSION makes with what an older version and ALTER EXTENSION UPDATE make."""

import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
RELEASED = ROOT / "sql/released"

# Each query gives (name, properties as jsonb). Lists whose order has no meaning are sorted.
ACL = "(SELECT array_agg(a::text ORDER BY a::text COLLATE \"C\") FROM unnest({}) a)"
OURS = "(SELECT oid FROM pg_extension WHERE extname = 'immutable')"
SCHEMA = "(SELECT oid FROM pg_namespace WHERE nspname = 'immutable')"
QUERIES = {
    "extension": """
        SELECT e.extname, to_jsonb(e) - '{oid,extowner,extnamespace,extconfig,extcondition}'::text[] || jsonb_build_object(
          'owner', e.extowner::regrole, 'schema', e.extnamespace::regnamespace, 'comment', obj_description(e.oid, 'pg_extension'),
          'dumped', (SELECT jsonb_object_agg(c.t::regclass, c.w) FROM unnest(e.extconfig, e.extcondition) c(t, w)))
        FROM pg_extension e WHERE e.extname = 'immutable'""",
    "member": f"""
        SELECT i.type || ' ' || i.identity, '{{}}'::jsonb
        FROM pg_depend d, pg_identify_object(d.classid, d.objid, d.objsubid) i
        WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = {OURS} AND d.deptype = 'e'""",
    "schema": f"""
        SELECT n.nspname, jsonb_build_object('owner', n.nspowner::regrole, 'acl', {ACL.format('n.nspacl')},
          'comment', obj_description(n.oid, 'pg_namespace')) FROM pg_namespace n WHERE n.nspname = 'immutable'""",
    # Physical columns aside; relhas… follow from what is listed below.
    "relation": f"""
        SELECT c.relname, jsonb_build_object('kind', c.relkind, 'owner', c.relowner::regrole, 'acl', {ACL.format('c.relacl')},
          'comment', obj_description(c.oid, 'pg_class'), 'options', c.reloptions, 'persistence', c.relpersistence,
          'row security', c.relrowsecurity, 'forced', c.relforcerowsecurity, 'replica identity', c.relreplident,
          'access method', (SELECT amname FROM pg_am WHERE oid = c.relam), 'tablespace', c.reltablespace,
          'view', CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
          'index', CASE WHEN c.relkind = 'i' THEN pg_get_indexdef(c.oid) END,
          'index state', (SELECT to_jsonb(x) - '{{indexrelid,indrelid,indcollation,indclass,indexprs,indpred,indkey,indcheckxmin}}'::text[]
                          FROM pg_index x WHERE x.indexrelid = c.oid),
          'sequence', (SELECT to_jsonb(s) - 'seqrelid' FROM pg_sequence s WHERE s.seqrelid = c.oid),
          'parents', (SELECT jsonb_agg(h.inhparent::regclass) FROM pg_inherits h WHERE h.inhrelid = c.oid))
        FROM pg_class c WHERE c.relnamespace = {SCHEMA}""",
    "column": f"""
        SELECT c.relname || '.' || a.attname, jsonb_build_object('type', format_type(a.atttypid, a.atttypmod),
          'place', row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum), 'not null', a.attnotnull,
          'default', pg_get_expr(d.adbin, d.adrelid), 'collation', a.attcollation::regcollation, 'identity', a.attidentity,
          'generated', a.attgenerated, 'storage', a.attstorage, 'compression', a.attcompression,
          -- Late minor releases keep a position in the WAL there.
          'options', (SELECT array_agg(o) FROM unnest(a.attoptions) o WHERE o NOT LIKE 'pg_attver=%'),
          'statistics', a.attstattarget, 'acl', {ACL.format('a.attacl')}, 'comment', col_description(a.attrelid, a.attnum))
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = {SCHEMA} AND a.attnum > 0 AND NOT a.attisdropped""",
    "constraint": f"""
        SELECT coalesce(conrelid::regclass, contypid::regtype::oid::regclass) || ' ' || conname, jsonb_build_object('definition',
          pg_get_constraintdef(oid), 'validated', convalidated, 'inherited', coninhcount, 'local', conislocal, 'no inherit', connoinherit,
          'index', conindid::regclass, 'comment', obj_description(oid, 'pg_constraint'))
        FROM pg_constraint WHERE connamespace = {SCHEMA}""",
    # Those of foreign keys are named after their OIDs.
    "trigger": f"""
        SELECT t.tgrelid::regclass || ' ' || CASE WHEN t.tgisinternal THEN t.tgfoid::regproc || ' of ' || (SELECT conname FROM pg_constraint
          WHERE oid = t.tgconstraint) ELSE t.tgname END, jsonb_build_object('enabled', t.tgenabled, 'type', t.tgtype,
          'definition', CASE WHEN NOT t.tgisinternal THEN pg_get_triggerdef(t.oid) END, 'comment', obj_description(t.oid, 'pg_trigger'))
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = {SCHEMA}""",
    "policy": f"""
        SELECT p.polrelid::regclass || ' ' || p.polname, jsonb_build_object('command', p.polcmd, 'permissive', p.polpermissive,
          'roles', (SELECT jsonb_agg(r::regrole ORDER BY r::regrole::text COLLATE "C") FROM unnest(p.polroles) r),
          'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid),
          'comment', obj_description(p.oid, 'pg_policy'))
        FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = {SCHEMA}""",
    "rule": f"""
        SELECT r.ev_class::regclass || ' ' || r.rulename, jsonb_build_object('definition', pg_get_ruledef(r.oid), 'enabled', r.ev_enabled,
          'comment', obj_description(r.oid, 'pg_rewrite'))
        FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE c.relnamespace = {SCHEMA}""",
    "function": f"""
        SELECT p.oid::regprocedure::text, to_jsonb(p) - '{{oid,pronamespace,proowner,prolang,prorettype,proargtypes,proallargtypes,
            protrftypes,proargdefaults,prosqlbody,proacl,probin}}'::text[] || jsonb_build_object(
          'owner', p.proowner::regrole, 'acl', {ACL.format('p.proacl')}, 'comment', obj_description(p.oid, 'pg_proc'),
          'arguments', pg_get_function_arguments(p.oid), 'result', pg_get_function_result(p.oid), 'library', p.probin,
          'language', (SELECT lanname FROM pg_language WHERE oid = p.prolang), 'body', pg_get_function_sqlbody(p.oid),
          'definition', CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END,
          'aggregate', (SELECT to_jsonb(a) - '{{aggfnoid,aggtranstype,aggmtranstype}}'::text[]
                         || jsonb_build_object('type', aggtranstype::regtype) FROM pg_aggregate a WHERE a.aggfnoid = p.oid))
        FROM pg_proc p WHERE p.pronamespace = {SCHEMA}""",
    "type": f"""
        SELECT t.typname, jsonb_build_object('kind', t.typtype, 'owner', t.typowner::regrole, 'acl', {ACL.format('t.typacl')},
          'base', nullif(t.typbasetype, 0)::regtype, 'default', t.typdefault, 'not null', t.typnotnull,
          'labels', (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
          'comment', obj_description(t.oid, 'pg_type'))
        FROM pg_type t WHERE t.typnamespace = {SCHEMA}""",
    "operator": f"""
        SELECT o.oid::regoperator::text, jsonb_build_object('function', o.oprcode, 'result', o.oprresult::regtype, 'commutator',
          nullif(o.oprcom, 0)::regoperator, 'negator', nullif(o.oprnegate, 0)::regoperator, 'restrict', o.oprrest, 'join', o.oprjoin,
          'merges', o.oprcanmerge, 'hashes', o.oprcanhash, 'owner', o.oprowner::regrole, 'comment', obj_description(o.oid, 'pg_operator'))
        FROM pg_operator o WHERE o.oprnamespace = {SCHEMA}""",
    "statistics": f"""
        SELECT s.stxname, jsonb_build_object('definition', pg_get_statisticsobjdef(s.oid), 'owner', s.stxowner::regrole,
          'comment', obj_description(s.oid, 'pg_statistic_ext'))
        FROM pg_statistic_ext s WHERE s.stxnamespace = {SCHEMA}""",
    "event trigger": """
        SELECT e.evtname, to_jsonb(e) - '{oid,evtowner,evtfoid}'::text[] || jsonb_build_object('owner', e.evtowner::regrole,
          'function', e.evtfoid::regprocedure, 'comment', obj_description(e.oid, 'pg_event_trigger')) FROM pg_event_trigger e""",
    "default privileges": f"""
        SELECT d.defaclrole::regrole || ' ' || d.defaclobjtype::text, jsonb_build_object('schema', nullif(d.defaclnamespace, 0)::regnamespace,
          'acl', {ACL.format('d.defaclacl')}) FROM pg_default_acl d""",
    # What pg_dump takes for the extension's own, and so does not dump.
    "initial privileges": f"""
        SELECT i.type || ' ' || i.identity, jsonb_build_object('kind', p.privtype, 'acl', {ACL.format('p.initprivs')})
        FROM pg_init_privs p, pg_identify_object(p.classoid, p.objoid, p.objsubid) i
        WHERE (p.classoid, p.objoid) IN (SELECT d.classid, d.objid FROM pg_depend d
          WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = {OURS} AND d.deptype = 'e')""",
    "security label": f"""
        SELECT i.type || ' ' || i.identity, jsonb_build_object(s.provider, s.label)
        FROM pg_seclabel s, pg_identify_object(s.classoid, s.objoid, s.objsubid) i WHERE i.schema = 'immutable'""",
    # These are the cluster's: drop them between two installations that are compared in one.
    "role": """
        SELECT r.rolname, to_jsonb(r) - 'oid' || jsonb_build_object('comment', shobj_description(r.oid, 'pg_authid'), 'member of',
          (SELECT jsonb_agg(m.roleid::regrole ORDER BY m.roleid::regrole::text COLLATE "C") FROM pg_auth_members m WHERE m.member = r.oid))
        FROM pg_roles r WHERE r.rolname LIKE 'immutable\\_%'""",
    "parameter": f"""
        SELECT p.parname, jsonb_build_object('acl', {ACL.format('p.paracl')}) FROM pg_parameter_acl p WHERE p.parname LIKE 'immutable.%'""",
}


def describe(conn):
    """{kind and name: {property: value}} of everything of the extension, its roles, and what else is in its schema."""
    found = {}
    with conn.transaction():
        # Names of objects are printed as the search path lets them: here in full.
        conn.execute("SET LOCAL search_path = pg_catalog")
        for kind, query in QUERIES.items():
            for name, properties in conn.execute(query).fetchall():
                assert f"{kind} {name}" not in found, f"two objects are called {kind} {name}"
                found[f"{kind} {name}"] = properties
    return found


def rows(conn):
    """How many rows each table of a new installation has."""
    tables = [name for name, in conn.execute(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'immutable'::regnamespace AND c.relkind IN ('r', 'p')")]
    return {f"rows of {table}": {"count": conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0]} for table in tables}


def differences(fresh, upgraded):
    """Lines that say what `upgraded` would have to change to be as `fresh` is."""
    lines = []
    for name in sorted(fresh.keys() | upgraded.keys()):
        if name not in upgraded:
            lines.append(f"missing: {name}")
        elif name not in fresh:
            lines.append(f"too much: {name}")
        else:
            for key in sorted(fresh[name].keys() | upgraded[name].keys()):
                want, have = fresh[name].get(key), upgraded[name].get(key)
                if want != have:
                    lines.append(f"differs: {name}: {key}\n    fresh:    {want}\n    upgraded: {have}")
    return lines


def released():
    """The versions that have an install script of their own, oldest first."""
    versions = [re.fullmatch(r"immutable--([0-9.]+)\.sql", path.name)[1] for path in RELEASED.glob("immutable--*.sql")]
    return sorted(versions, key=lambda version: [int(part) for part in version.split(".")])


def drop_roles(conn):
    """Roles are left behind by DROP EXTENSION and DROP DATABASE; no other database may have the extension."""
    for role, in conn.execute("SELECT quote_ident(rolname) FROM pg_roles WHERE rolname LIKE 'immutable\\_%'").fetchall():
        conn.execute(f"DROP OWNED BY {role}")
        conn.execute(f"DROP ROLE {role}")


def main():
    import psycopg

    def connect(dbname):
        return psycopg.connect(f"host={os.environ['PGHOST']} port={os.environ['PGPORT']} user=postgres dbname={dbname}", autocommit=True)

    def made(*statements):
        admin.execute("DROP DATABASE IF EXISTS upgrade_diff WITH (FORCE)")
        drop_roles(admin)
        admin.execute("CREATE DATABASE upgrade_diff TEMPLATE template0 ENCODING 'UTF8'")
        with connect("upgrade_diff") as conn:
            for statement in statements:
                conn.execute(statement)
            return describe(conn) | rows(conn)

    admin = connect("postgres")
    fresh = made("CREATE EXTENSION immutable")
    status = 0
    for version in sys.argv[1:] or released():
        lines = differences(fresh, made(f"CREATE EXTENSION immutable VERSION '{version}'", "ALTER EXTENSION immutable UPDATE"))
        print("\n".join(lines) or f"{version}: an upgrade makes what CREATE EXTENSION makes")
        status |= bool(lines)
    sys.exit(status)


if __name__ == "__main__":
    main()
