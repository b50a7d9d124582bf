"""Upgrades: an older version that is updated has exactly what a fresh installation has, and the same log."""

import hashlib
import json
import pathlib
import re
import subprocess
import tomllib

import psycopg
import pytest
from helpers_catalog import RELEASED, ROOT, describe, differences, drop_roles, released, rows

CURRENT = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
# Until a version is frozen, the current one leads to itself.
EARLIER = released() or [CURRENT]


@pytest.fixture(scope="module")
def alone(server):
    """A cluster without any other database that has the extension: roles are the cluster's, and must be made anew."""
    from conftest import Cluster
    made = Cluster(server.major)
    yield made
    made.destroy()


@pytest.fixture
def install(alone):
    """install(version): a connection to a new database with that version, in a cluster that never had the extension."""
    connections = []

    def install(version=None):
        for connection in connections:
            connection.close()
        with alone.connect() as admin:
            admin.execute("DROP DATABASE IF EXISTS upgrades WITH (FORCE)")
            drop_roles(admin)
            admin.execute("CREATE DATABASE upgrades TEMPLATE template0 ENCODING 'UTF8'")
        connections.append(alone.connect("upgrades"))
        connections[-1].execute("CREATE EXTENSION immutable" + (f" VERSION '{version}'" if version else ""))
        return connections[-1]

    yield install
    for connection in connections:
        connection.close()


def load(conn, tag):
    """Events of every kind through every way in, with what the first version has."""
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, targets, metadata, idempotency_key) "
                 "SELECT 't' || n %% 3, 'u' || n %% 5, 'a', '[{\"type\": \"doc\", \"id\": \"1\"}, {\"type\": \"doc\"}]', "
                 "'{\"k\": 1.10, \"secret\": \"s\"}', %s || n FROM generate_series(1, 60) n", [tag])
    assert conn.execute("SELECT immutable.track(actor_id => 'u', action => 'b', tenant_id => 't1') ->> 'status'").fetchone()[0] == "recorded"
    event, = conn.execute("SELECT id FROM immutable.events WHERE tenant_id = 't0' AND erased IS NULL AND action = 'a' LIMIT 1").fetchone()
    assert conn.execute("SELECT count(*) FROM immutable.erase(%s, 't0', '{metadata.secret,actor_id}', 'a test')", [event]).fetchone()[0] == 2
    conn.execute("SELECT immutable.create_viewer_token('t0')")
    conn.execute("SELECT immutable.revoke_viewer_tokens('t2')")


def rows_of(conn):
    return conn.execute("SELECT * FROM immutable.events ORDER BY tenant_id, lane, seq").fetchall(), conn.execute(
        "SELECT * FROM immutable.event_targets ORDER BY tenant_id, event_id, position").fetchall()


def test_every_released_version_can_be_upgraded(alone):
    with alone.connect() as conn:
        paths = dict(conn.execute("SELECT source, path FROM pg_extension_update_paths('immutable') WHERE target = %s", [CURRENT]))
        assert all(paths.get(version) for version in released() if version != CURRENT)
        versions = {name for name, in conn.execute("SELECT version FROM pg_available_extension_versions WHERE name = 'immutable'")}
        assert versions == {*released(), CURRENT}


@pytest.mark.parametrize("version", EARLIER)
def test_an_upgrade_makes_what_a_fresh_installation_makes(install, version):
    conn = install(version)
    assert conn.execute("SELECT extversion FROM pg_extension WHERE extname = 'immutable'").fetchone()[0] == version
    conn.execute("ALTER EXTENSION immutable UPDATE")
    upgraded = describe(conn) | rows(conn)
    conn = install()
    fresh = describe(conn) | rows(conn)
    assert len(fresh) > 300
    found = differences(fresh, upgraded)
    assert not found, "scripts/upgrade-diff shows the same:\n" + "\n".join(found)


@pytest.mark.parametrize("version", EARLIER)
def test_an_upgrade_leaves_the_log_unchanged(install, version):
    conn = install(version)
    # Between the new library and ALTER EXTENSION the old declarations meet the new code: both must serve.
    load(conn, "before-")
    assert conn.execute("SELECT valid, events_checked FROM immutable.verify_chain()").fetchone() == (True, 63)
    before, heads = rows_of(conn), conn.execute("SELECT jsonb_agg(h) FROM immutable.heads() h").fetchone()[0]
    export = conn.execute("SELECT array_agg(line) FROM immutable.export_events() line").fetchone()[0][1:]
    conn.execute("ALTER EXTENSION immutable UPDATE")
    assert rows_of(conn) == before
    verify = "SELECT valid, events_checked FROM immutable.verify_chain(heads => %s)"
    assert conn.execute(verify, [json.dumps(heads)]).fetchone() == (True, 63)
    assert conn.execute("SELECT array_agg(line) FROM immutable.export_events() line").fetchone()[0][1:] == export
    load(conn, "after-")
    assert conn.execute(verify, [json.dumps(heads)]).fetchone() == (True, 126)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("DELETE FROM immutable.events")
    # What was recorded before moves into segments as it is.
    before = rows_of(conn)
    conn.execute("CALL immutable.seal('infinity')")
    assert conn.execute("SELECT sum(events) FROM immutable.segments").fetchone()[0] > 60
    assert rows_of(conn) == before and conn.execute(verify, [json.dumps(heads)]).fetchone() == (True, 126)


@pytest.mark.parametrize("version", EARLIER)
def test_the_new_library_serves_objects_without_segments(install, version):
    conn = install(version)
    load(conn, "k-")
    with pytest.raises(psycopg.errors.UniqueViolation):
        load(conn, "k-")
    again = ("INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) VALUES ('t1', 'u', 'a', 'k-1') "
             "ON CONFLICT (tenant_id, idempotency_key) DO NOTHING")
    assert conn.execute(again).rowcount == 0
    assert conn.execute("SELECT immutable.track('u', 'a', tenant_id => 't1', idempotency_key => 'k-1', on_conflict => 'answer') "
                        "->> 'status'").fetchone() == ("conflict",)
    assert conn.execute("SELECT count(*) > 0 FROM immutable.erase_subject('t1', 'u1', 'a test')").fetchone() == (True,)
    assert conn.execute("SELECT valid FROM immutable.verify_chain()").fetchone() == (True,)
    if conn.execute("SELECT to_regclass('immutable.segments')").fetchone() == (None,):
        # It is declared by the update; a superuser is early.
        conn.execute("CREATE PROCEDURE seal(before timestamptz, INOUT did jsonb) LANGUAGE c AS '$libdir/immutable', 'immutable_seal'")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as raised:
            conn.execute("CALL seal(NULL, NULL)")
        assert raised.value.diag.message_hint == "ALTER EXTENSION immutable UPDATE."


# Behind the back of every guard, in the catalogs themselves: one thing of each kind an upgrade script could forget.
FORGOTTEN = {
    "a comment of a function": ("DELETE FROM pg_description WHERE objoid = 'immutable.track(jsonb,text)'::regprocedure", "function immutable.track(jsonb,text): comment"),
    "a comment of a column": ("DELETE FROM pg_description WHERE objoid = 'immutable.events'::regclass AND objsubid = 2", "column events.tenant_id: comment"),
    "REVOKE": ("UPDATE pg_proc SET proacl = NULL WHERE oid = 'immutable.track(jsonb,text)'::regprocedure", "function immutable.track(jsonb,text): acl"),
    "GRANT of a table": ("UPDATE pg_class SET relacl = NULL WHERE oid = 'immutable.log'::regclass", "relation log: acl"),
    "GRANT of a column": ("UPDATE pg_attribute SET attacl = '{immutable_writer=a/postgres}' WHERE attrelid = 'immutable.events'::regclass AND attname = 'action'", "column events.action: acl"),
    "SECURITY DEFINER": ("UPDATE pg_proc SET prosecdef = true WHERE oid = 'immutable.erase(uuid,text,text[],text)'::regprocedure", "immutable.erase(uuid,text,text[],text): prosecdef"),
    "search_path": ("UPDATE pg_proc SET proconfig = NULL WHERE oid = 'immutable.verify(timestamptz,timestamptz,int,float8)'::regprocedure", "immutable.verify(timestamp with time zone,timestamp with time zone,integer,double precision): proconfig"),
    "volatility": ("UPDATE pg_proc SET provolatile = 'i' WHERE oid = 'immutable.visible_tenant()'::regprocedure", "immutable.visible_tenant(): provolatile"),
    "a function's body": ("UPDATE pg_proc SET prosrc = 'SELECT 1' WHERE oid = 'immutable.disable_search()'::regprocedure", "immutable.disable_search(): prosrc"),
    "an aggregate's part": ("UPDATE pg_aggregate SET aggcombinefn = 0 WHERE aggfnoid = 'immutable.verify_lane(bytea,bytea)'::regprocedure", "immutable.verify_lane(bytea,bytea): aggregate"),
    "a trigger's state": ("UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'immutable.events'::regclass AND tgname = '~immutable_chain'", "immutable.events ~immutable_chain: enabled"),
    "a foreign key's trigger": ("UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'immutable.events'::regclass AND tgisinternal", "trigger immutable.events \"RI_FKey_noaction_del\" of event_targets"),
    "row security": ("UPDATE pg_class SET relrowsecurity = false WHERE oid = 'immutable.events'::regclass", "relation events: row security"),
    "a policy": ("UPDATE pg_policy SET polroles = '{0}' WHERE polname = 'auditor_select'", "policy immutable.events auditor_select: roles"),
    "a rule": ("UPDATE pg_rewrite SET ev_enabled = 'D' WHERE rulename = 'copy_only'", "copy_only: enabled"),
    "statistics of a column": ("UPDATE pg_attribute SET attstattarget = 100 WHERE attrelid = 'immutable.events'::regclass AND attname = 'actor_id'", "events.actor_id: statistics"),
    "a default": ("UPDATE pg_attribute SET atthasdef = false WHERE false; DELETE FROM pg_attrdef WHERE adrelid = 'immutable.events'::regclass AND adnum = 2", "events.tenant_id: default"),
    "NOT NULL": ("UPDATE pg_attribute SET attnotnull = false WHERE attrelid = 'immutable.events'::regclass AND attname = 'action'", "events.action: not null"),
    "an index too many": ("CREATE INDEX mine ON immutable.events (version)", "too much: relation mine"),
    "an index's state": ("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'immutable.events_page'::regclass", "relation events_page: index state"),
    "a constraint": ("UPDATE pg_constraint SET convalidated = false WHERE conname = 'event_targets_event_id_tenant_id_fkey'", "event_targets_event_id_tenant_id_fkey: validated"),
    "a view's options": ("UPDATE pg_class SET reloptions = NULL WHERE oid = 'immutable.activity'::regclass", "relation activity: options"),
    "what a dump holds": ("UPDATE pg_extension SET extconfig = NULL, extcondition = NULL WHERE extname = 'immutable'", "extension immutable: dumped"),
    "membership": ("DELETE FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = 'immutable.track(jsonb,text)'::regprocedure AND deptype = 'e'", "missing: member function immutable.track"),
    "initial privileges": ("DELETE FROM pg_init_privs WHERE objoid = 'immutable.events'::regclass", "missing: initial privileges table immutable.events"),
    "a role's comment": ("DELETE FROM pg_shdescription WHERE objoid = 'immutable_writer'::regrole", "role immutable_writer: comment"),
    "a role's rights": ("UPDATE pg_authid SET rolinherit = false WHERE rolname = 'immutable_viewer'", "role immutable_viewer: rolinherit"),
    "a default privilege": ("ALTER DEFAULT PRIVILEGES IN SCHEMA immutable GRANT SELECT ON TABLES TO PUBLIC", "too much: default privileges"),
    "a row": ("SET LOCAL session_replication_role = replica; INSERT INTO immutable.log VALUES (gen_random_uuid(), now())", "rows of immutable.log"),
}


def test_the_comparison_sees_what_an_upgrade_script_could_forget(install):
    conn = install()
    fresh = describe(conn) | rows(conn)
    assert differences(fresh, describe(conn) | rows(conn)) == []
    unseen = []
    for what, (statement, expected) in FORGOTTEN.items():
        with conn.transaction(force_rollback=True):
            conn.execute("SET LOCAL allow_system_table_mods = on")
            for part in statement.split("; "):
                conn.execute(part)
            found = differences(fresh, describe(conn) | rows(conn))
            if not any(expected in line for line in found):
                unseen.append((what, expected, found))
    assert unseen == []


def test_a_refused_upgrade_changes_nothing(install):
    """An update is one transaction: if it is refused or something is in its way, the old version stays whole."""
    conn = install(EARLIER[0])
    before = describe(conn)
    role = "upgrade_nobody"
    conn.execute(f"DROP ROLE IF EXISTS {role}")
    conn.execute(f"CREATE ROLE {role} LOGIN")
    with psycopg.connect(conn.info.dsn.replace("user=postgres", f"user={role}"), autocommit=True) as other:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.execute("ALTER EXTENSION immutable UPDATE")
    conn.execute(f"DROP ROLE {role}")
    assert describe(conn) == before


def test_released_scripts_are_frozen():
    """A script that was released cannot be changed any more: only an upgrade script reaches its installations."""
    sums = ROOT / "sql/SHA256SUMS"
    listed = dict(line.split("  ")[::-1] for line in sums.read_text().splitlines()) if sums.exists() else {}
    scripts = {f"sql/released/{path.name}" for path in RELEASED.glob("*.sql")}
    scripts |= {f"sql/upgrade/{path.name}" for path in (ROOT / "sql/upgrade").glob("*.sql")
                if re.fullmatch(r"immutable--.+--(.+)\.sql", path.name)[1] in released()}
    assert set(listed) == scripts, "scripts/freeze writes sql/SHA256SUMS"
    changed = [path for path, checksum in listed.items() if hashlib.sha256((ROOT / path).read_bytes()).hexdigest() != checksum]
    assert changed == [], "released scripts were changed"


def test_what_is_installed_is_what_was_released(server):
    """Also of the current version, once it is frozen: the sources must not have moved on under its number."""
    directory = pathlib.Path(subprocess.check_output([server.bin / "pg_config", "--sharedir"], text=True).strip()) / "extension"

    for version in released():
        name = f"immutable--{version}.sql"
        assert (directory / name).read_text() == (RELEASED / name).read_text(), f"{name} differs: is it time for the next version?"


def test_the_version_is_the_same_everywhere(alone):
    """Cargo.toml has it; the control file takes it from there."""
    meta = json.loads((ROOT / "META.json").read_text())
    changelog = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1]
    locked = {package["version"] for package in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
              if package["name"].startswith("immutable")}
    assert "default_version = '@CARGO_VERSION@'" in (ROOT / "immutable.control").read_text()
    with alone.connect() as conn:
        default, = conn.execute("SELECT default_version FROM pg_available_extensions WHERE name = 'immutable'").fetchone()
    assert {CURRENT} == {default, meta["version"], meta["provides"]["immutable"]["version"], changelog, *locked}
