"""Action schemas: which actions and metadata are taken, for whom a change counts and when, hostile schemas and metadata, rights,
damaged rows, dumps."""

import os
import random
import time

import psycopg
import pytest
from psycopg.types.json import Jsonb


SENTENCE = "Action '{}' does not match any configured schema pattern."


def set_schema(conn, pattern, schema=None, tenant=None):
    conn.execute("SELECT immutable.set_action_schema(%s, NULL, %s, %s)",
                 [pattern, None if schema is None else Jsonb(schema), tenant])


def set_mode(conn, mode, tenant=None):
    conn.execute("SELECT immutable.set_action_schema_mode(%s, %s)", [mode, tenant])


def insert(conn, action, tenant="t", metadata=None):
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, metadata) VALUES (%s, 'u', %s, %s)",
                 [tenant, action, None if metadata is None else Jsonb(metadata)])


def track(conn, action, tenant="t", **fields):
    event = {"tenant_id": tenant, "actor_id": "u", "action": action, **fields}
    return conn.execute("SELECT immutable.track(%s)", [Jsonb(event)]).fetchone()[0]


def refused(conn, action, state="23514", **how):
    """The error of an insert that has to be refused."""
    with pytest.raises(psycopg.Error) as error:
        insert(conn, action, **how)
    assert error.value.sqlstate == state, error.value
    return error.value.diag


@pytest.fixture
def writer(db):
    return db.connect(db.create_role("IN ROLE immutable_writer"))


def test_patterns_and_modes(db, writer):
    admin = db.conn
    set_mode(admin, "strict")
    insert(writer, "anything")  # no patterns: everything is taken, in either mode
    set_schema(admin, "document.*")
    set_schema(admin, "*")
    set_schema(admin, "user.login", tenant="a")
    for action in ("document.created", "document.", "document.share.created", "login"):
        insert(writer, action)
    said = refused(writer, "billing.refunded")
    assert said.message_primary == SENTENCE.format("billing.refunded")
    assert "set_action_schema" in said.message_hint
    # a tenant's patterns add to those of the log, for its own events
    insert(writer, "user.login", tenant="a")
    insert(writer, "document.created", tenant="a")
    refused(writer, "user.login", tenant="b")
    refused(writer, "user.login2", tenant="a")
    # the mode of a tenant counts before that of the log
    set_mode(admin, "permissive", "b")
    assert track(writer, "user.login", "b")["warnings"] == [{"field": "action", "message": SENTENCE.format("user.login")}]
    assert "warnings" not in track(writer, "document.x", "b")
    set_mode(admin, "permissive")
    set_mode(admin, "strict", "b")
    refused(writer, "user.login", tenant="b")
    set_mode(admin, None, "b")
    insert(writer, "user.login", tenant="b")
    # a tenant without patterns of its own is not touched by another's
    for pattern in ("document.*", "*"):
        assert admin.execute("SELECT immutable.delete_action_schema(%s)", [pattern]).fetchone() == (True,)
    assert admin.execute("SELECT immutable.delete_action_schema('*')").fetchone() == (False,)
    set_mode(admin, "strict")
    insert(writer, "user.logout", tenant="b")
    refused(writer, "user.logout", tenant="a")
    # '' is the events without a tenant
    set_schema(admin, "x", tenant="")
    refused(writer, "y", tenant="")
    refused(writer, "y", tenant=None)
    insert(writer, "y", tenant="b")
    assert admin.execute("SELECT valid FROM immutable.verify_chain() WHERE NOT valid").fetchall() == []


def test_each_decision_is_an_event_without_a_tenant(db):
    set_schema(db.conn, "x.*", {"type": "object"}, "t")
    set_mode(db.conn, "strict", "t")
    db.conn.execute("SELECT immutable.delete_action_schema('x.*', 't'), immutable.delete_action_schema('x.*', 't')")
    events = db.conn.execute("SELECT action, tenant_id, resource_id, metadata->>'tenant_id', metadata->>'mode' FROM immutable.events "
                             "ORDER BY created_at").fetchall()
    assert events == [("immutable.action_schema_set", "", "x.*", "t", None),
                      ("immutable.action_schema_mode_set", "", None, "t", "strict"),
                      ("immutable.action_schema_deleted", "", "x.*", "t", None)]


def test_what_cannot_be_set(db):
    for arguments, state, field in [
        ("NULL", "22004", "pattern"), ("''", "22023", "pattern"), ("'*.x'", "22023", "pattern"), ("'a**'", "22023", "pattern"),
        ("'immutable.*'", "22023", "pattern"), ("repeat('x', 256)", "22001", "pattern"),
        ("'a', repeat('x', 4097)", "22001", "description"), ("'a', NULL, '[]'", "22023", "metadata_schema"),
        ("'a', NULL, 'null'", "22023", "metadata_schema"), ("'a', NULL, '{\"type\": 1}'", "22023", "metadata_schema"),
        ("'a', NULL, jsonb_build_object('x', repeat('x', 65536))", "54000", "metadata_schema"),
        ("'a', NULL, NULL, repeat('x', 256)", "22023", "tenant_id"),
    ]:
        with pytest.raises(psycopg.Error) as error:
            db.conn.execute(f"SELECT immutable.set_action_schema({arguments})")
        assert error.value.sqlstate == state and error.value.diag.message_primary.startswith(field)
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        db.conn.execute("SELECT immutable.set_action_schema_mode('lax')")
    assert db.conn.execute("SELECT count(*) FROM immutable.events").fetchone() == (0,)


AMOUNT = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer", "maximum": 10}, "n": {"pattern": "^a+$"}},
          "additionalProperties": False}


def test_metadata(db, writer):
    set_mode(db.conn, "strict")
    set_schema(db.conn, "billing.*", AMOUNT)
    set_schema(db.conn, "billing.free.*")
    insert(writer, "billing.paid", metadata={"amount": 5})
    insert(writer, "billing.free.x", metadata={"amount": "not said"})  # the more specific pattern counts alone
    for metadata, expected in [({"amount": "secret"}, 'at "/amount", keyword type'), ({"amount": 99999}, 'at "/amount", keyword maximum'),
                               ({}, 'at "", keyword required ("amount" is missing)'), (None, 'at "", keyword required ("amount" is missing)'),
                               ({"amount": 1, "secret": 1}, 'at "", keyword additionalProperties'),
                               ({"amount": 1, "n": "b" * 60000}, 'at "/n", keyword pattern')]:
        said = refused(writer, "billing.paid", metadata=metadata)
        assert said.message_primary == f'metadata does not fit the schema of pattern "billing.*": {expected}'
        assert "secret" not in str(said.message_primary) + str(said.message_detail) + str(said.message_hint)
    # of the same pattern, the tenant's schema counts
    set_schema(db.conn, "billing.*", True, "t")
    insert(writer, "billing.paid", metadata={"amount": "text"})
    refused(writer, "billing.paid", tenant="other", metadata={"amount": "text"})
    # numbers that a double cannot hold
    writer.execute("INSERT INTO immutable.events (actor_id, action, metadata) VALUES ('u', 'billing.free.y', '{\"n\": 1e400}')")
    with pytest.raises(psycopg.errors.CheckViolation):
        writer.execute("INSERT INTO immutable.events (actor_id, action, metadata) VALUES ('u', 'billing.x', '{\"amount\": 1e400}')")


def test_batch_copy_and_select(db, writer):
    set_mode(db.conn, "strict")
    set_schema(db.conn, "a.*")
    set_schema(db.conn, "b", AMOUNT)
    batch = [{"tenant_id": "t", "actor_id": "u", "action": action} for action in ("a.1", "x", "b", "a.2")]
    answer = writer.execute("SELECT immutable.track_batch(%s)", [Jsonb(batch)]).fetchone()[0]["events"]
    assert [each["status"] for each in answer] == ["recorded", "error", "error", "recorded"]
    error = answer[1]["error"]
    assert (error["code"], error["message"], error["field"]) == ("23514", SENTENCE.format("x"), "action")
    assert error["hint"] and answer[2]["error"]["field"] == "metadata"
    with pytest.raises(psycopg.errors.CheckViolation), db.conn.cursor().copy("COPY immutable.events (actor_id, action) FROM STDIN") as copy:
        copy.write("u\ta.3\nu\tx\n")
    with pytest.raises(psycopg.errors.CheckViolation):
        writer.execute("INSERT INTO immutable.events (actor_id, action) SELECT 'u', unnest('{a.4,x}'::text[])")
    assert db.conn.execute("SELECT action FROM immutable.events WHERE action !~ 'immutable' ORDER BY created_at").fetchall() == [("a.1",), ("a.2",)]
    set_mode(db.conn, "permissive")
    batch = [{**event, "idempotency_key": f"k{n}"} for n, event in enumerate(batch)]
    for status in ("recorded", "duplicate"):
        answer = writer.execute("SELECT immutable.track_batch(%s)", [Jsonb(batch)]).fetchone()[0]["events"]
        assert [each["status"] for each in answer] == [status] * 4
        assert ["warnings" in each for each in answer] == ([False, True, True, False] if status == "recorded" else [False] * 4)
    notices = []
    writer.add_notice_handler(notices.append)
    insert(writer, "x")
    assert notices == []
    unmatched = db.conn.execute("SELECT action, field FROM immutable.unmatched_events()").fetchall()
    assert unmatched == [("x", "action"), ("b", "metadata"), ("x", "action")]
    last = db.conn.execute("SELECT max(created_at) FROM immutable.events").fetchone()
    assert len(db.conn.execute("SELECT FROM immutable.unmatched_events(%s)", last).fetchall()) == 1
    assert len(db.conn.execute("SELECT FROM immutable.unmatched_events(\"limit\" => 2)").fetchall()) == 2


def test_an_event_that_a_trigger_records_warns_nobody_else(db):
    db.conn.execute("""CREATE TABLE app (x int);
        CREATE FUNCTION also() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
            INSERT INTO immutable.events (actor_id, action) VALUES ('u', 'inner'); RETURN NULL; END$$;
        CREATE TRIGGER also AFTER INSERT ON immutable.events FOR EACH ROW WHEN (new.action <> 'inner' AND new.action !~ '^immutable')
            EXECUTE FUNCTION also()""")
    set_schema(db.conn, "outer")
    assert "warnings" not in track(db.conn, "outer")
    assert [warning["message"] for warning in track(db.conn, "x")["warnings"]] == [SENTENCE.format("x")]


def test_changes_reach_other_sessions(db, writer):
    """The writer's session keeps what it has read, so each change has to tell it: also one by hand, and one that is rolled back."""
    other = db.connect()
    set_mode(db.conn, "strict")
    insert(writer, "x")
    set_schema(db.conn, "a")
    refused(writer, "x")
    with pytest.raises(ZeroDivisionError), other.transaction():
        other.execute("SELECT immutable.delete_action_schema('a')")
        insert(other, "x")  # this transaction sees its own change
        refused(writer, "x")
        raise ZeroDivisionError
    refused(other, "x")  # and forgets it when it is rolled back
    with other.transaction():
        with pytest.raises(ZeroDivisionError), other.transaction():
            set_schema(other, "x")
            insert(other, "x")
            raise ZeroDivisionError
        with pytest.raises(psycopg.errors.CheckViolation), other.transaction():
            insert(other, "x")
    for change in ("UPDATE immutable.action_schemas SET pattern = 'x'", "DELETE FROM immutable.action_schemas",
                   "INSERT INTO immutable.action_schemas (pattern, created_at, created_by) VALUES ('a', now(), 'me')",
                   "UPDATE immutable.action_schema_modes SET mode = 'permissive'", "UPDATE immutable.action_schema_modes SET mode = 'strict'",
                   "TRUNCATE immutable.action_schemas",
                   "SET session_replication_role = replica; INSERT INTO immutable.action_schemas (pattern, created_at, created_by) VALUES ('a', now(), 'me')"):
        db.conn.execute(change)
        if "'x'" in change or "permissive" in change or change[0] in "DT":
            insert(writer, "x")
        else:
            refused(writer, "x")


def test_hostile_schemas_are_refused_or_bounded(db, writer):
    def chain(n, each, last):
        return {"$defs": {**{f"a{i}": each(f"#/$defs/a{i + 1}") for i in range(n)}, f"a{n}": last},
                "properties": {"x": {"$ref": "#/$defs/a0"}}}

    nested = {"type": "integer"}
    for _ in range(40):
        nested = {"allOf": [nested]}
    for schema, state in [({"$ref": "https://example.com/s.json"}, "22023"), ({"$ref": "file:///etc/passwd"}, "22023"),
                          ({"$schema": "https://example.com/meta.json"}, "22023"), ({"pattern": "(?=a)b"}, "22023"),
                          ({"pattern": "(a)\\1"}, "22023"), ({"pattern": "((a{100}){100}){100}"}, "22023"),
                          ({"pattern": "(" * 5000 + ")" * 5000}, "22023"),
                          ({"properties": {f"p{n}": {"pattern": "a"} for n in range(101)}}, "22023"), (nested, "54000"),
                          (chain(250, lambda ref: {"$ref": ref}, {}), "22023"),
                          ({"$schema": "http://json-schema.org/draft-04/schema#"}, "22023"), ({"$ref": "#anchor"}, "22023"),
                          ({"$defs": {"a": {"$id": "other", "$ref": "#/$defs/a"}}}, "22023"), ({"$dynamicRef": "#"}, "22023"),
                          # references that multiply, where nothing looks at a value and so nothing would be metered
                          (chain(90, lambda ref: {"anyOf": [{"$ref": ref}, {"$ref": ref}]}, False), "22023"),
                          (chain(90, lambda ref: {"allOf": [{"$ref": ref}, {"$ref": ref}]}, {}), "22023"),
                          (chain(90, lambda ref: {"anyOf": [{"$ref": ref}, {"$ref": ref}]}, {"allOf": [False, {"$ref": "#/$defs/a0"}]}), "22023")]:
        with pytest.raises(psycopg.Error) as error:
            set_schema(db.conn, "x", schema)
        assert error.value.sqlstate == state, schema
    with pytest.raises(psycopg.Error):
        db.conn.execute("SELECT immutable.set_action_schema('x', NULL, (repeat('[', 5000) || repeat(']', 5000))::jsonb)")

    deep = 1
    for _ in range(62):
        deep = {"x": deep}
    set_mode(db.conn, "strict")
    for schema, metadata, state in [
            ({"$ref": "#"}, {}, None),
            ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, {}, None),
            ({"type": "object", "additionalProperties": {"anyOf": [{"$ref": "#"}, {"type": "integer"}]}}, deep, None),
            ({"type": ["object", "string"], "additionalProperties": {"$ref": "#"}}, deep, "23514"),
            ({"not": {"$ref": "#"}}, {}, "23514"),
            (chain(190, lambda ref: {"$ref": ref}, {"type": "integer"}), {"x": "y"}, "23514"),
            (chain(8, lambda ref: {"anyOf": [{"$ref": ref}, {"$ref": ref}]}, {"type": "integer"}), {"x": "y"}, "23514"),
            # twice as many steps for each level of the metadata, unless the validator remembers
            ({"type": "object", "anyOf": [{"additionalProperties": {"$ref": "#"}}, {"additionalProperties": {"$ref": "#"}}]}, deep, "23514"),
            ({"properties": {"x": {"items": {"anyOf": [*({"type": "string", "minLength": n} for n in range(100)), {"maximum": 200}]}}}}, {"x": [200] * 15000}, "54000"),
            ({"properties": {"x": {"pattern": "^(a+)+$"}}}, {"x": "a" * 60000 + "b"}, "23514"),
            ({"properties": {"x": {"uniqueItems": True}}}, {"x": [[n] for n in range(8000)]}, None),
            ({"properties": {"x": {"multipleOf": 1e-300}}}, {"x": 1e300}, None)]:
        set_schema(db.conn, "x", schema)
        began = time.monotonic()
        try:
            insert(writer, "x", metadata=metadata)
            said = None
        except psycopg.Error as error:
            said = error.sqlstate
        assert said == state, (schema, said)
        assert time.monotonic() - began < 30, schema  # minutes to years without a budget
    assert db.conn.execute("SELECT count(*) FROM immutable.events WHERE action = 'x'").fetchone()[0] > 0


def test_as_many_patterns_as_allowed(db, writer):
    db.conn.execute("SELECT immutable.set_action_schema('a' || n, NULL, NULL, 't') FROM generate_series(1, 1000) n")
    with pytest.raises(psycopg.errors.ProgramLimitExceeded):
        set_schema(db.conn, "b", tenant="t")
    set_schema(db.conn, "a1", tenant="t")  # replaces
    set_schema(db.conn, "b", tenant="u")
    set_schema(db.conn, "b")
    set_mode(db.conn, "strict")
    insert(writer, "a1000")
    refused(writer, "a1001")


def test_rights(db, writer):
    """Nobody but the owner and the server's keys changes anything; a writer sees nothing, and its events are still held to it."""
    set_schema(db.conn, "a")
    auditor, viewer, eraser, restorer = (db.connect(db.create_role(f"IN ROLE immutable_{name}")) for name in ("auditor", "viewer", "eraser", "restorer"))
    for conn in (writer, viewer, eraser, restorer, auditor):
        for statement in ("SELECT immutable.set_action_schema('x')", "SELECT immutable.delete_action_schema('a')",
                          "SELECT immutable.set_action_schema_mode('strict')", "DELETE FROM immutable.action_schemas",
                          "UPDATE immutable.action_schemas SET pattern = 'x'", "TRUNCATE immutable.action_schemas",
                          "INSERT INTO immutable.action_schemas (pattern, created_at, created_by) VALUES ('x', now(), 'me')",
                          "INSERT INTO immutable.action_schema_modes (mode, set_at, set_by) VALUES ('strict', now(), 'me')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)
        if conn is not auditor:
            for statement in ("SELECT FROM immutable.action_schemas", "SELECT immutable.get_action_schemas()", "SELECT immutable.unmatched_events()"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(statement)
    listed, = auditor.execute("SELECT immutable.get_action_schemas()").fetchone()
    assert listed["mode"] == "permissive" and [row["pattern"] for row in listed["data"]] == ["a"]
    assert auditor.execute("SELECT pattern FROM immutable.action_schemas").fetchall() == [("a",)]
    # a writer's own settings and tables of the same name change nothing
    set_mode(db.conn, "strict")
    writer.execute("CREATE TEMP TABLE action_schemas (pattern text); SET search_path = pg_temp")
    refused(writer, "x")
    # a tenant's schemas are listed for that tenant alone
    set_schema(db.conn, "b", tenant="t")
    set_schema(db.conn, "c", tenant="u")
    listed, = auditor.execute("SELECT immutable.get_action_schemas('t')").fetchone()
    assert [(row["tenant_id"], row["pattern"]) for row in listed["data"]] == [(None, "a"), ("t", "b")]
    # a caller who is bound to a tenant does not learn another's patterns
    db.conn.execute("SELECT immutable.grant_tenant(%s, 't', 'write')", [writer.info.user])
    for action in ("c", "x"):
        assert "tenant_id must be" in refused(writer, action, "42501", tenant="u").message_primary


def test_damaged_rows_refuse_what_they_would_decide(db, writer):
    set_mode(db.conn, "strict")
    row = "INSERT INTO immutable.action_schemas (tenant_id, pattern, metadata_schema, created_at, created_by) VALUES "
    db.conn.execute(row + "('t', 'a*b', NULL, now(), ''), ('t', 'ok', NULL, now(), ''), ('u', 'bad', '[1]', now(), ''), ('u', 'bad2', '{\"type\": 7}', now(), ''), "
                    "('v', 'deep', (repeat('{\"not\":', 500) || '1' || repeat('}', 500))::jsonb, now(), '')")
    insert(writer, "ok")
    for action, tenant in (("x", "t"), ("bad", "u"), ("bad2", "u"), ("deep", "v")):
        said = refused(writer, action, "55000", tenant=tenant)
        assert said.message_hint
    insert(writer, "x", tenant="w")
    set_mode(db.conn, "permissive")
    assert track(writer, "bad", "u")["warnings"]
    listed, = db.conn.execute("SELECT immutable.get_action_schemas()").fetchone()
    assert len(listed["data"]) == 5
    db.unguard()
    db.conn.execute("ALTER TABLE immutable.action_schema_modes DROP CONSTRAINT action_schema_modes_mode_check")
    db.conn.execute("UPDATE immutable.action_schema_modes SET mode = 'lax'")
    refused(writer, "bad", "55000", tenant="u")
    insert(writer, "bad", tenant="w")


def test_what_looks_at_nothing_and_large_expressions_are_metered(db, writer):
    """Seconds to minutes, which nothing could cancel, before they were: the validator has no look at a value in between."""
    set_mode(db.conn, "strict")
    text = "".join(random.Random(1).choices("ab", k=60000))
    large = [{"pattern": f"[ab]*a[ab]{{{n}}}[c-z0-9A-Z]"} for n in range(1000, 1020)]
    for schema, metadata in [
            ({"properties": {"x": {"anyOf": large}}}, {"x": text}),
            ({"properties": {"x": {"patternProperties": {one["pattern"]: {} for one in large}}}}, {"x": {text: 1}}),
            ({"properties": {"x": {"propertyNames": {"anyOf": large}}}}, {"x": {text: 1}}),
            ({"properties": {"x": {"items": {"anyOf": [False] * 9000 + [True]}}}}, {"x": [0] * 30000}),
            ({"properties": {"x": {"items": {"allOf": [{"not": {"not": {}}}] * 3000}}}}, {"x": [0] * 30000})]:
        set_schema(db.conn, "x", schema)
        with pytest.raises(psycopg.errors.ProgramLimitExceeded) as error:
            insert(writer, "x", metadata=metadata)
        assert error.value.diag.message_primary == 'it takes too long to compare metadata with the schema of pattern "x"'
    # What people write is far from that.
    usual = {"pattern": "^[A-Z]{2}-[0-9]{4,8}( [\\w.-]{1,40})?$", "format": "x"}
    set_schema(db.conn, "x", {"properties": {"x": {"items": {"anyOf": [{"const": 1}, usual, {"not": {"type": "string"}}]}}}})
    insert(writer, "x", metadata={"x": ["DE-12345 some.name"] * 2500})
    refused(writer, "x", "23514", metadata={"x": ["DE-12345 some.name"] * 2000 + ["de-1"]})


def test_a_statement_is_cancelled_within_a_validation(db, writer):
    """The validator asks for interrupts. A budget ends it anyway, so the test only sees that nothing is broken afterwards."""
    set_schema(db.conn, "x", {"properties": {"x": {"items": {"anyOf": [*({"type": "string", "minLength": n} for n in range(100)), {"maximum": 200}]}}}})
    writer.execute("SET statement_timeout = '1ms'")
    for _ in range(5):
        try:
            insert(writer, "x", metadata={"x": [200] * 15000})
        except psycopg.errors.QueryCanceled:
            pass
    writer.execute("RESET statement_timeout")
    insert(writer, "x", metadata={"x": [1]})


def test_dump_and_restore(db, server):
    set_schema(db.conn, "a.*", AMOUNT)
    set_schema(db.conn, "b", tenant="t")
    set_mode(db.conn, "strict")
    db.conn.execute("SELECT immutable.track('u', 'b', tenant_id => 't')")
    held = "SELECT id, tenant_id, pattern, metadata_schema, created_at, created_by FROM immutable.action_schemas ORDER BY pattern"
    dump = server.run("pg_dump", db.name).stdout
    name = f"restored_schemas_{os.getpid()}"
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        server.run("psql", "-q", "-v", "ON_ERROR_STOP=1", name, input="SET immutable.restore = on;\n" + dump)
        with server.connect(name) as restored:
            assert restored.execute(held).fetchall() == db.conn.execute(held).fetchall()
            refused(restored, "x")
            insert(restored, "b")
    finally:
        with server.connect() as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_prepared_change_counts_once_it_is_committed(cluster):
    own = cluster(max_prepared_transactions=2)
    conn, other = own.connect(), own.connect()
    conn.execute("CREATE EXTENSION immutable")
    set_mode(conn, "strict")
    conn.execute("BEGIN")
    set_schema(conn, "a")
    refused_here = psycopg.errors.CheckViolation
    conn.execute("SAVEPOINT s")
    with pytest.raises(refused_here):
        insert(conn, "x")
    conn.execute("ROLLBACK TO s; PREPARE TRANSACTION 'p'")
    for session in (conn, other):
        insert(session, "x", tenant="u")
    conn.execute("COMMIT PREPARED 'p'")
    for session in (conn, other):
        refused(session, "x", tenant="u")
