"""Who is the actor of row changes, and for which tenant: the role, unless a superuser has said that this session may say so."""

import hashlib
import json

import psycopg
import pytest

from helpers_capture import track
from helpers_servers import rows

ACTOR = "SELECT actor_id, actor_type, actor_name, tenant_id, session_id, host(ip_address), user_agent, recorded_by " \
    "FROM immutable.events WHERE resource_type = 'account' ORDER BY created_at DESC, seq DESC LIMIT 1"
SAYS = {"immutable.actor_id": "the CEO", "immutable.actor_name": "C. E. O.", "immutable.actor_type": "person",
        "immutable.tenant_id": "victim", "immutable.session_id": "s-1", "immutable.ip_address": "203.0.113.7",
        "immutable.user_agent": "Mozilla"}
SAID = ("the CEO", "person", "C. E. O.", "victim", "s-1", "203.0.113.7", "Mozilla")


def nobody(role, tenant=""):
    """What is recorded of a role whose session says nothing that counts."""
    return (role, "role", None, tenant, None, None, None)


@pytest.fixture
def role(db):
    """A role that may change the table, which has no column for the tenant."""
    track(db.conn, tenant_column=None)
    role = db.create_role()
    db.conn.execute(f"GRANT ALL ON account TO {role}; INSERT INTO account VALUES (1, 'a', 0)")
    return role


def trust(db, *roles):
    names = ", ".join(roles)
    db.conn.execute(f"ALTER DATABASE {db.name} SET immutable.trust_context_of = '{names}'")


def actor(conn, db, says=None):
    """What is recorded of a change in the session, with these settings."""
    for name, value in (says or {}).items():
        conn.execute("SELECT set_config(%s, %s, false)", [name, value])
    conn.execute("UPDATE account SET balance = balance + 1")
    (found,), = [rows(db.conn, ACTOR)]
    return found


def test_what_a_session_says_does_not_count(db, role):
    with db.connect(role) as conn:
        said = {**SAYS, "request.jwt.claims": json.dumps({"sub": "the CEO", "tenant_id": "victim"})}
        assert actor(conn, db, said) == (*nobody(role), role)
    # A superuser's own session is no exception.
    assert actor(db.conn, db, SAYS) == (*nobody("postgres"), "postgres")


def test_the_role_is_the_one_of_set_role(db, role):
    other = db.create_role()
    db.conn.execute(f"GRANT {other} TO {role}; GRANT ALL ON account TO {other}")
    with db.connect(role) as conn:
        conn.execute(f"SET ROLE {other}")
        assert actor(conn, db) == (*nobody(other), role)


def test_the_owner_of_a_function_is_not_the_actor(db, role):
    db.conn.execute("CREATE FUNCTION change() RETURNS void LANGUAGE sql SECURITY DEFINER AS "
                    "'UPDATE account SET balance = balance + 1'")
    trust(db, "postgres")
    with db.connect(role, options="-c immutable.actor_id=CEO") as conn:
        conn.execute("SELECT change()")
        assert rows(db.conn, ACTOR) == [(*nobody(role), role)]


def test_what_a_trusted_session_says_counts(db, role):
    trust(db, "somebody", role)
    with db.connect(role) as conn:
        assert actor(conn, db) == (*nobody(role), role)
        assert actor(conn, db, SAYS) == (*SAID, role)
        # Each part on its own.
        assert actor(conn, db, {"immutable.actor_type": "", "immutable.actor_name": ""})[:3] == ("the CEO", None, None)
        assert actor(conn, db, {"immutable.actor_id": "", "immutable.actor_name": "C. E. O."})[:4] == (role, "role", None, "victim")


def test_a_trusted_role_by_set_role_and_names_in_quotes(db, role):
    odd = f'{role}, "odd"'.upper()
    quoted = '"' + odd.replace('"', '""') + '"'
    db.conn.execute(f"CREATE ROLE {quoted}; GRANT {quoted} TO {role}; GRANT ALL ON account TO {quoted}")
    try:
        trust(db, "x", quoted)
        with db.connect(role) as conn:
            assert actor(conn, db, SAYS) == (*nobody(role), role)
            conn.execute(f"SET ROLE {quoted}")
            assert actor(conn, db) == (*SAID, role)
    finally:
        db.conn.execute(f"DROP OWNED BY {quoted}; DROP ROLE {quoted}")


@pytest.mark.parametrize("names", ["", "x,", '"unclosed', "x y", "%", "PUBLIC"])
def test_a_list_that_names_nobody(db, role, names):
    trust(db, names.replace("'", "''"))
    with db.connect(role) as conn:
        assert actor(conn, db, SAYS) == (*nobody(role), role)


def test_names_are_folded_as_in_sql(db, role):
    trust(db, f" {role.upper()} ")
    with db.connect(role) as conn:
        assert actor(conn, db, SAYS) == (*SAID, role)
    trust(db, f'"{role.upper()}"')
    with db.connect(role) as conn:
        assert actor(conn, db, SAYS) == (*nobody(role), role)


def test_the_claims_of_a_token(db, role):
    trust(db, role)
    claims = {"sub": "user-7", "tenant_id": "acme", "role": "x", "nested": {"sub": "y"}}
    with db.connect(role) as conn:
        assert actor(conn, db, {"request.jwt.claims": json.dumps(claims)})[:4] == ("user-7", "user", None, "acme")
        assert actor(conn, db, {"request.jwt.claims": json.dumps({"sub": 7, "tenant_id": 8})})[:4] == ("7", "user", None, "8")
        # The settings of the log come first.
        assert actor(conn, db, {"immutable.actor_id": "a", "immutable.tenant_id": "t"})[:4] == ("a", None, None, "t")


@pytest.mark.parametrize("claims", [
    "", "{", "[]", "null", '"x"', "{}", '{"sub": null, "tenant_id": {}}', '{"sub": "", "tenant_id": ""}', '{"sub": ["x"]}',
    "[" * 100_000, '{"sub": "x"', '{"sub": "\\ud800"}', '{"sub": 1e999}'])
def test_claims_that_say_nothing(db, role, claims):
    trust(db, role)
    with db.connect(role) as conn:
        assert actor(conn, db, {"request.jwt.claims": claims}) == (*nobody(role), role)


def digest(text):
    return "sha256:" + hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()


def test_values_that_are_too_long(db, role):
    trust(db, role)
    long = {name: "ü" * 3000 for name in SAYS}
    with db.connect(role) as conn:
        expected = digest("ü" * 3000)
        assert actor(conn, db, long) == (expected, expected, expected, expected, expected, None, expected, role)
        claims = {"sub": "x" * 513, "tenant_id": "x" * 256}
        short = dict.fromkeys(SAYS, "")
        assert actor(conn, db, {**short, "request.jwt.claims": json.dumps(claims)})[:4] == (
            digest("x" * 513), "user", None, digest("x" * 256))
        claims = {"sub": "x" * 512, "tenant_id": "x" * 255}
        assert actor(conn, db, {"request.jwt.claims": json.dumps(claims)})[:4] == ("x" * 512, "user", None, "x" * 255)


@pytest.mark.parametrize("address, recorded", [
    ("2001:DB8::0:1", "2001:db8::1"), ("203.0.113.7/24", "203.0.113.7"), ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
    ("localhost", None), ("203.0.113.7/33", None), ("203.0.113.256", None), ("fe80::1%eth0", None),
    ("203.0.113.7 ", None), ("1.2.3.4:80", None), ("/8", None)])
def test_addresses(db, role, address, recorded):
    trust(db, role)
    with db.connect(role) as conn:
        assert actor(conn, db, {"immutable.ip_address": address})[5] == recorded


def test_bytes_that_are_no_text(db, role):
    """A connection's options are not converted."""
    trust(db, role)
    bad = b"\xff\xfe"
    options = " ".join(f"-c {name}={bad.decode('latin-1')}" for name in SAYS)
    pgconn = psycopg.pq.PGconn.connect(f"{db.server.dsn(db.name, role)} options='{options}'".encode("latin-1"))
    assert pgconn.status == psycopg.pq.ConnStatus.OK, pgconn.error_message
    result = pgconn.exec_(b"UPDATE account SET balance = 9")
    assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, result.error_message
    pgconn.finish()
    expected = digest(bad)
    assert rows(db.conn, ACTOR) == [(expected, expected, expected, expected, expected, None, expected, role)]


@pytest.mark.parametrize("how", ["in the connection", "in the first statement", "in the same transaction"])
def test_only_a_superuser_says_whom_to_trust(db, role, how):
    """Before the library is loaded, PostgreSQL takes any setting, and forgets it once it knows better."""
    options = f"-c immutable.trust_context_of={role}" if how == "in the connection" else ""
    with db.connect(role, options=options, autocommit=how != "in the same transaction") as conn:
        if not options:
            conn.execute(f"SET immutable.trust_context_of = '{role}'")
        for name, value in SAYS.items():
            conn.execute("SELECT set_config(%s, %s, false)", [name, value])
        conn.execute("UPDATE account SET balance = 1")
        conn.execute("COMMIT")
        assert rows(db.conn, ACTOR) == [(*nobody(role), role)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(f"SET immutable.trust_context_of = '{role}'")


def test_the_actor_is_the_one_at_the_change_and_the_recorder_the_one_at_the_commit(db, role):
    """A session that changes its role before the commit does not change who made the change."""
    other = db.create_role()
    db.conn.execute(f"GRANT ALL ON account TO {other}")
    with db.connect(autocommit=False) as conn:
        conn.execute(f"SET ROLE {role}")
        conn.execute("UPDATE account SET balance = 1")
        conn.execute(f"SET ROLE {other}")
        conn.execute("UPDATE account SET balance = 2")
        conn.execute("RESET ROLE")
        conn.commit()
        conn.execute(f"SET SESSION AUTHORIZATION {role}")
        conn.execute("UPDATE account SET balance = 3")
        conn.execute("RESET SESSION AUTHORIZATION")
    recorded = rows(db.conn, "SELECT actor_id, recorded_by FROM immutable.events WHERE action = 'account.updated' ORDER BY seq")
    assert recorded == [(role, "postgres"), (other, "postgres"), (role, "postgres")]


def test_a_trusted_session_changes_what_it_says(db, role):
    """Each statement has the context that holds when it runs."""
    trust(db, role)
    with db.connect(role, autocommit=False) as conn:
        for name in ("one", "two"):
            conn.execute("SELECT set_config('immutable.actor_id', %s, true)", [name])
            conn.execute("UPDATE account SET balance = balance + 1")
    recorded = rows(db.conn, "SELECT actor_id FROM immutable.events WHERE action = 'account.updated' ORDER BY seq")
    assert recorded == [("one",), ("two",)]
