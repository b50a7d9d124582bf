"""Settings that were given before the library was loaded to check them: in the startup packet, for a role or a database, in a
file, in the first statement of a session. The result is the same in each case."""

import re

import psycopg
import pytest
from psycopg import sql

BAD = ["203.0.113.7:52814", "203.0.113.7, 10.0.0.2", " 203.0.113.7", "203.0.113.7 ", "unknown", "[2001:db8::1]:443",
       "fe80::1%eth0", "10.1"]
GOOD = {"203.0.113.007": "203.0.113.7", "203.0.113.7/24": "203.0.113.7/24", "::FFFF:C633:6407": "::ffff:198.51.100.7"}
ENTRIES = {
    "insert": "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u', 'x')",
    "null": "INSERT INTO immutable.events (tenant_id, actor_id, action, ip_address) VALUES ('t', 'u', 'x', NULL)",
    "track": "SELECT immutable.track(tenant_id => 't', actor_id => 'u', action => 'x')",
    "json": "SELECT immutable.track('{\"tenant_id\":\"t\",\"actor_id\":\"u\",\"action\":\"x\"}'::jsonb)",
}


def options(**settings):
    def escaped(value):
        return re.sub(r"([\\ ])", r"\\\1", value)
    return {"options": " ".join(f"-c immutable.{name}={escaped(value)}" for name, value in settings.items())}


def sessions(db, role, name, value):
    """Sessions in which the setting was given in each of the ways there are; and how."""
    yield "SET first", db.connect(role)
    given = db.connect(role)
    given.execute("SELECT set_config(%s, %s, false)", [f"immutable.{name}", value])
    yield "given first", given
    late = db.connect(role)
    late.execute("LOAD 'immutable'" if role == "postgres" else "SELECT immutable.track_batch('[]')")
    late.execute("SELECT set_config(%s, %s, false)", [f"immutable.{name}", value])
    yield "given with the library loaded", late
    yield "startup packet", db.connect(role, **options(**{name: value}))
    for owner in (f"ROLE {role}", f"DATABASE {db.name}", f"ROLE {role} IN DATABASE {db.name}"):
        db.conn.execute(sql.SQL(f"ALTER {owner} SET immutable.{name} = {{}}").format(sql.Literal(value)))
        yield owner, db.connect(role)
        db.conn.execute(f"ALTER {owner} RESET immutable.{name}")


def test_an_invalid_address_is_refused_whatever_ran_first(db):
    role = db.create_role("IN ROLE immutable_writer")
    for value in BAD[:3]:
        for entry in ENTRIES.values():
            for how, conn in sessions(db, role, "ip_address", value):
                if how == "SET first":
                    conn.execute(sql.SQL("SET immutable.ip_address = {}").format(sql.Literal(value)))
                for _ in range(2):  # the first loads the library
                    with pytest.raises(psycopg.DataError) as refused:
                        conn.execute(entry)
                    assert refused.value.diag.message_primary == "immutable.ip_address must be an IP address", how
                    assert "without port" in refused.value.diag.message_hint
                conn.execute("SELECT set_config('immutable.ip_address', '', false)")
                conn.execute(entry)
                conn.close()
    assert db.conn.execute("SELECT DISTINCT ip_address FROM immutable.events WHERE tenant_id = 't'").fetchall() == [(None,)]


@pytest.mark.parametrize("value", BAD)
def test_every_invalid_address(db, value):
    for entry in ENTRIES.values():
        conn = db.connect(**options(ip_address=value))
        with pytest.raises(psycopg.DataError, match="^immutable.ip_address must be an IP address"):
            conn.execute(entry)
    assert db.conn.execute("SELECT count(*) FROM immutable.events").fetchone() == (0,)


def test_an_address_is_read_as_inet_whatever_ran_first(db):
    role = db.create_role("IN ROLE immutable_writer")
    for value, address in GOOD.items():
        for entry in ENTRIES.values():
            for how, conn in sessions(db, role, "ip_address", value):
                if how != "SET first":
                    conn.execute(entry)
                    conn.close()
        found = db.conn.execute("SELECT count(*) FROM immutable.events WHERE ip_address = %s", [address]).fetchone()
        assert found == (6 * len(ENTRIES),), value


def test_a_writer_cannot_set_a_limit_before_the_library_is_loaded(db):
    role = db.create_role("IN ROLE immutable_writer")
    for name, value in [("require_tenant", "off"), ("max_targets", "1000"), ("restore", "on"), ("allow_ddl", "on"), ("lanes", "1")]:
        conn = db.connect(role, **options(**{name: value}))
        before = db.connect().execute(f"SELECT immutable.new_id(), current_setting('immutable.{name}')").fetchone()[1]
        conn.execute(ENTRIES["insert"])
        assert conn.execute(f"SHOW immutable.{name}").fetchone()[0] == before, name


def test_tenants_are_required_by_role_and_by_database(db):
    role, free = db.create_role("IN ROLE immutable_writer"), db.create_role("IN ROLE immutable_writer")
    none = "INSERT INTO immutable.events (actor_id, action) VALUES ('u', 'x')"
    for owner in (f"ROLE {role}", f"DATABASE {db.name}"):
        db.conn.execute(f"ALTER {owner} SET immutable.require_tenant = on")
        conn = db.connect(role)
        for entry in (none, "SELECT immutable.track(actor_id => 'u', action => 'x')"):
            with pytest.raises(psycopg.errors.NotNullViolation, match="tenant_id is required"):
                conn.execute(entry)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SET immutable.require_tenant = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(f"ALTER ROLE {role} SET immutable.require_tenant = off")
        # SET LOCAL without a transaction, which has no effect: a mistake behind a pooler.
        conn.execute("SELECT set_config('immutable.tenant_id', 't', true)")
        with pytest.raises(psycopg.errors.NotNullViolation, match="tenant_id is required"):
            conn.execute(none)
        with conn.transaction():
            conn.execute("SELECT set_config('immutable.tenant_id', 't', true)")
            conn.execute(none)
        if owner.startswith("ROLE"):
            db.connect(free).execute(none)
        # The log's own events have no tenant and go on.
        superuser = db.connect()
        superuser.execute("SELECT immutable.record_restore('still')")
        event = superuser.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u', 'erase me') RETURNING id").fetchone()
        superuser.execute("SELECT immutable.erase(%s, 't', '{actor_id}', 'asked')", event)
        db.conn.execute(f"ALTER {owner} RESET immutable.require_tenant")


@pytest.mark.parametrize("column", ["tenant_id", "actor_id", "actor_name", "actor_type", "session_id", "user_agent", "ip_address"])
def test_invalid_text_is_refused(db, column):
    """A connection's options are taken as bytes, without an encoding."""
    done = db.server.run("psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-d", f"dbname={db.name} options='-c immutable.{column}=a\udcff'",
                         "-c", "INSERT INTO immutable.events (actor_id, action) VALUES (" + ("NULL" if column == "actor_id" else "'u'") + ", 'x')",
                         check=False, errors="surrogateescape")
    assert done.returncode == 1 and f"22021: {column} is not valid UTF-8" in done.stderr
    assert db.conn.execute("SELECT count(*) FROM immutable.events").fetchone() == (0,)


def in_a_file(cluster, setting):
    with open(cluster.data / "postgresql.auto.conf", "a") as file:
        file.write(setting + "\n")


@pytest.mark.parametrize("preload", ["", "session_preload_libraries", "shared_preload_libraries"])
def test_restore_and_a_token_in_a_file_have_no_effect(cluster, preload):
    made = cluster(**({preload: "immutable"} if preload else {}))
    with made.connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
        conn.execute("CREATE ROLE app LOGIN IN ROLE immutable_writer; CREATE ROLE viewer LOGIN IN ROLE immutable_viewer")
    made.stop()
    in_a_file(made, "immutable.restore = on")
    in_a_file(made, "immutable.viewer_token = 'nonsense'")
    in_a_file(made, "immutable.lanes = 3")
    in_a_file(made, "immutable.require_tenant = on")
    made.start()
    for entry in ENTRIES.values():
        with made.connect(user="app") as app:
            app.execute(entry)
            assert app.execute("SHOW immutable.restore").fetchone() == ("off",)
            with pytest.raises(psycopg.errors.NotNullViolation):
                app.execute("SELECT immutable.track(actor_id => 'u', action => 'x')")
    with made.connect(user="viewer") as viewer:
        assert viewer.execute("SELECT count(*) FROM immutable.events").fetchone() == (0,)
    with made.connect() as conn:
        assert conn.execute("SELECT count(*) FROM immutable.events WHERE action = 'x'").fetchone() == (len(ENTRIES),)
        problems, settings = conn.execute("SELECT problems, settings FROM immutable.status()").fetchone()
        assert settings["immutable.lanes"] == "3" and settings["immutable.restore"] == "off"
        if preload != "shared_preload_libraries":
            problem, = [problem for problem in problems if "immutable.restore" in problem]
            assert "postgresql.auto.conf" in problem and "has no effect" in problem
        # A session's own setting still counts.
        conn.execute("SET immutable.restore = on")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
            conn.execute(ENTRIES["insert"])
        assert refused.value.diag.message_hint == "SET immutable.restore = off. Then new events can be recorded."
        conn.execute("SET immutable.restore = off")
        conn.execute(ENTRIES["insert"])
        conn.execute("LOAD 'immutable'")
        with pytest.raises(psycopg.Error):
            conn.execute("ALTER SYSTEM SET immutable.restore = on")
        conn.execute("ALTER SYSTEM RESET immutable.lanes")


def test_following_the_hint_ends_a_restore(db):
    """Each way of setting it is ended by doing what the hint says."""
    role = db.create_role("IN ROLE immutable_writer")
    for owner in (f"DATABASE {db.name}", f"ROLE {role}", f"ROLE {role} IN DATABASE {db.name}"):
        db.conn.execute(f"ALTER {owner} SET immutable.restore = on")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
            db.connect(role).execute(ENTRIES["insert"])
        command = re.search(r"A superuser can end this for new connections with (ALTER .* RESET immutable.restore)\.", refused.value.diag.message_hint)[1]
        assert owner in command
        db.conn.execute(command)
        db.connect(role).execute(ENTRIES["insert"])
    conn = db.connect(**options(restore="on"))
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
        conn.execute(ENTRIES["insert"])
    assert "PGOPTIONS" in refused.value.diag.message_hint
    conn.execute("SET immutable.restore = off")
    conn.execute(ENTRIES["insert"])


def test_an_invalid_limit_in_a_file_is_reported_and_the_default_applies(cluster):
    made = cluster()
    with made.connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
    made.stop()
    in_a_file(made, "immutable.lanes = 'many'")
    in_a_file(made, "immutable.max_targets = 5000")
    made.start()
    with made.connect() as conn:
        said = []
        conn.add_notice_handler(lambda notice: said.append(notice.message_primary))
        conn.execute(ENTRIES["insert"])
        assert [name for name in ("immutable.lanes", "immutable.max_targets") if not any(name in each for each in said)] == []
        assert conn.execute("SELECT current_setting('immutable.lanes'), current_setting('immutable.max_targets')").fetchone() == ("1024", "100")
