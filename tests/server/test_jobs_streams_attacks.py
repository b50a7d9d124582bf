"""Streams: who may not, what an erasure removes, and what happens to streams that are damaged, restored or copied."""

import concurrent.futures
import os
import subprocess

import psycopg
import pytest
from psycopg.types.json import Jsonb

import helpers_keys
import helpers_log
from helpers_servers import wait_for
from helpers_streams import (actions, create, dead_letters, deliver, due, record, settle, stream, take, update)

CALLS = ("create_stream('x', '{\"type\": \"file\", \"path\": \"x\"}')", "update_stream(gen_random_uuid())", "delete_stream(gen_random_uuid())",
         "get_streams()", "test_stream(gen_random_uuid())", "get_dead_letters()", "replay_dead_letters(gen_random_uuid())")
WORKER = ("due_deliveries()", "take_delivery(gen_random_uuid(), 'w')", "settle_delivery(gen_random_uuid(), 1, 'retry')")
TABLES = ("streams", "stream_positions", "dead_letters")


def test_who_may_do_what(db):
    create(db.conn)
    for role in ("immutable_writer", "immutable_auditor", "immutable_viewer", "immutable_eraser", "immutable_maintainer",
                 "immutable_deliverer", "immutable_restorer", "pg_monitor"):
        conn = db.connect(db.create_role(f"IN ROLE {role}"))
        allowed = {"immutable_auditor": ("get_streams()", "get_dead_letters()"), "immutable_deliverer": WORKER}.get(role, ())
        for call in CALLS + WORKER:
            if call in allowed:
                conn.execute(f"SELECT immutable.{call}")
            else:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(f"SELECT immutable.{call}")
        for table in TABLES:
            for statement in ("TABLE immutable.{}", "DELETE FROM immutable.{}", "INSERT INTO immutable.{} DEFAULT VALUES"):
                if role != "immutable_restorer" or not statement.startswith("INSERT") or table == "stream_positions":
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        conn.execute(statement.format(table))
    # A deliverer reads no event but by the streams.
    conn = db.connect(db.create_role("IN ROLE immutable_deliverer"))
    for statement in ("TABLE immutable.events", "SELECT immutable.get_events()", "SELECT immutable.feed('')", "SELECT immutable.get_event(gen_random_uuid())"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(statement)


def test_a_restorer_brings_no_stream_unseen(db):
    conn = db.connect(db.create_role("IN ROLE immutable_restorer BYPASSRLS"))
    row = "(gen_random_uuid(), 'x', '{\"type\": \"file\"}', 'json', '{}', NULL, 'events', true, NULL, now(), now())"
    for statement in (f"INSERT INTO immutable.streams VALUES {row}",
                      "INSERT INTO immutable.dead_letters VALUES (gen_random_uuid(), gen_random_uuid(), 'events', 't', gen_random_uuid(), 'x', 1, now())"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="no dump is being restored"):
            conn.execute(statement)
    db.conn.execute(f"GRANT SET ON PARAMETER immutable.restore TO {conn.info.user}")
    conn.execute("SET immutable.restore = on")
    conn.execute(f"INSERT INTO immutable.streams VALUES {row}")
    db.conn.execute(f"REVOKE SET ON PARAMETER immutable.restore FROM {conn.info.user}")
    record(db.conn, "a")
    # It left a seam, so that nothing is delivered before somebody says so.
    assert due(db.conn) == ("paused", {})


def test_no_api_key_opens_streams(db):
    """Also where somebody grants the functions to the role of the server program: a receiver is inside of the network."""
    conn = db.connect(db.create_role("IN ROLE immutable_server"))
    role = db.create_role("")
    db.conn.execute(f"GRANT USAGE ON SCHEMA immutable TO {role}")
    db.conn.execute(f"GRANT EXECUTE ON FUNCTION immutable.create_stream, immutable.get_streams, immutable.update_stream, immutable.delete_stream, "
                    f"immutable.test_stream, immutable.get_dead_letters, immutable.replay_dead_letters TO {role}, {conn.info.user}")
    # Whom the owner grants it makes streams.
    operator = db.connect(role)
    create(operator)
    for key in (helpers_keys.create(db.conn, ("admin", "read")), helpers_keys.create(db.conn, ("admin",), "t")):
        for who in (conn, operator):
            who.execute("SELECT set_config('immutable.proof', encode(sha256(convert_to(%s, 'UTF8')), 'hex'), false)", [key["key"]])
            for call in CALLS:
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="no API key opens them"):
                    who.execute(f"SELECT immutable.{call}")
    conn.execute("RESET immutable.proof")
    for call in CALLS:
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            conn.execute(f"SELECT immutable.{call}")


def test_a_caller_s_search_path_is_not_used(db):
    id = create(db.conn)
    record(db.conn, "a")
    role = db.create_role("IN ROLE immutable_deliverer")
    db.conn.execute(f"GRANT CREATE, TEMP ON DATABASE {db.name} TO {role}")
    conn = db.connect(role)
    conn.execute("CREATE SCHEMA mine")
    for kind in ("uuid", "timestamptz", "text", "bigint"):
        conn.execute(f"CREATE FUNCTION mine.trap({kind}, {kind}) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE ''trapped''; END'")
        for operator in ("=", "<", ">"):
            conn.execute(f"CREATE OPERATOR mine.{operator} (LEFTARG = {kind}, RIGHTARG = {kind}, FUNCTION = mine.trap)")
    conn.execute("CREATE TEMP TABLE streams (x int)")
    conn.execute("SET search_path = mine, pg_temp, pg_catalog")
    assert due(conn)[0] == "active"
    taken = take(conn, id)
    assert settle(conn, id, taken, "refused", 0, "x") is True and settle(conn, id, taken, "delivered", 1) is False


def test_a_tenant_s_stream_has_that_tenant_alone(db):
    conn = db.conn
    ids = {tenant: create(conn, f"of {tenant}", tenant_id=tenant, filters={"action": "x*"}) for tenant in ("t", "", None)}
    same, = conn.execute("SELECT gen_random_uuid()").fetchone()
    for tenant in ("t", "u", ""):
        record(conn, f"x.{tenant}", tenant=tenant, id=same)
    assert {tenant: actions({"items": deliver(conn, id)}) for tenant, id in ids.items()} == {
        "t": ["x.t"], "": ["x."], None: ["x.t", "x.u", "x."]}
    # Two tenants have an event of the same id: acknowledging one does not acknowledge the other.
    update(conn, ids[None], start="-infinity")
    taken = take(conn, ids[None])
    settle(conn, ids[None], taken, "retry", 1, "x")
    assert actions(take(conn, ids[None])) == ["x.u", "x."]


def test_what_is_erased_is_not_delivered(db):
    conn = db.conn
    id = create(conn, filters={"action": "x"})
    record(conn, "x", actor="ann@example.com", actor_name="Ann", metadata=Jsonb({"email": "ann@example.com"}))
    taken = take(conn, id)
    assert "ann@example.com" in str(taken["items"])
    settle(conn, id, taken, "retry", 0, "no answer")
    conn.execute("SELECT immutable.erase_subject('t', 'ann@example.com', 'ticket')").fetchall()
    taken = take(conn, id)
    assert len(taken["items"]) == 1 and "ann" not in str(taken["items"][0]).lower()
    settle(conn, id, taken, "delivered", 1)


def test_a_filter_that_names_an_erased_person(db):
    conn = db.conn
    ids = [create(conn, f"{tenant} {actor}", tenant_id=tenant, filters={"actor_id": actor, "action": "x"})
           for tenant, actor in (("t", "ann"), (None, "ann"), ("u", "ann"), ("t", "bob"))]
    for tenant in "tu":
        for actor in ("ann", "bob"):
            record(conn, "x", tenant=tenant, actor=actor)
    eraser = db.connect(db.create_role("IN ROLE immutable_eraser"))
    eraser.execute("SELECT immutable.erase_subject('t', 'ann', 'ticket')").fetchall()
    assert [stream(conn, id)["enabled"] for id in ids] == [False, False, True, True]
    for id in ids[:2]:
        shown = stream(conn, id)
        assert shown["filters"] == {"actor_id": None, "action": "x"} and "erased" in shown["reason"]
        assert take(conn, id) is None
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="was erased"):
            update(conn, id, enabled=True)
    assert [len(deliver(conn, id)) for id in ids[2:]] == [1, 1]
    assert update(conn, ids[0], filters={"action": "x"}, enabled=True)["state"] == "active"
    assert len(deliver(conn, ids[0])) == 2
    # Nothing of the tables has the value of the tenant's person; another tenant's filter stays.
    text = "".join(str(row) for table in TABLES for row in conn.execute(f"SELECT x::text FROM immutable.{table} x"))
    assert text.count('""ann""') == 1


def test_damaged_streams_are_passed_over(db):
    conn = db.conn
    conn.execute("SET immutable.allow_ddl = on")
    conn.execute("ALTER TABLE immutable.streams ALTER name DROP NOT NULL, ALTER destination DROP NOT NULL, ALTER filters DROP NOT NULL")
    good = create(conn, "good", filters={"action": "x"})
    changes = ("destination = '[]'", "destination = NULL", "destination = '[[[[[]]]]]'", "filters = NULL", "filters = '[]'", "name = NULL",
               "format = repeat('x', 70000)", "filters = '{\"nonsense\": 1}'", "destination = jsonb_build_object('x', repeat('x', 100000))")
    ids = [create(conn, f"bad {n}") for n in range(len(changes))]
    for id, change in zip(ids, changes):
        conn.execute(f"UPDATE immutable.streams SET {change} WHERE id = %s", [id])
        assert stream(conn, id)["id"] == id, change
        assert take(conn, id) is None, change
        assert stream(conn, id)["state"] == "error", change
    assert due(conn)[1][good] is True
    record(conn, "x")
    assert actions({"items": deliver(conn, good)}) == ["x"]
    for id in ids:
        conn.execute("SELECT immutable.delete_stream(%s)", [id])
    # Positions: the stream fails, and says what to do.
    for change in ("mark = 'x'", "mark = '99999999999:99999999999:'", "mark = ''", "mark = '1:2:3'"):
        conn.execute(f"UPDATE immutable.stream_positions SET {change}, retry_at = NULL")
        assert take(conn, good) is None, change
        shown = stream(conn, good)
        assert shown["state"] == "error" and "immutable.update_stream()" in shown["last_error"], change
        assert conn.execute("SELECT problems FROM immutable.status()").fetchone()[0], change
        assert update(conn, good, start="now")["state"] == "active"
    record(conn, "x", "x")
    taken = take(conn, good)
    conn.execute("UPDATE immutable.stream_positions SET pending = 'x / //// nonsense', acknowledged = 'a b c'")
    assert settle(conn, good, taken, "refused", 0, "x") is True
    assert settle(conn, good, taken, "delivered", 2) is True
    settle(conn, good, taken, "released")
    conn.execute("UPDATE immutable.stream_positions SET pending = '', acknowledged = 'a b c'")
    assert len(deliver(conn, good)) == 2
    # An event that is damaged is delivered as it is shown, and keeps nothing back.
    record(conn, "x")
    helpers_log.drop_checks(conn)
    with helpers_log.behind_triggers(conn):
        conn.execute("UPDATE immutable.events SET salt = '\\x00', event_hash = '\\x' WHERE action = 'x'")
    taken = take(conn, good)
    assert taken["items"][0]["document"] is None and taken["items"][0]["json"]["action"] == "x"


def test_a_dump_has_streams_and_dead_letters_and_no_positions(db, server):
    conn = db.conn
    id = create(conn)
    record(conn, "a")
    settle(conn, id, take(conn, id), "refused", 1, "no")
    dump = server.run("pg_dump", "-d", db.name).stdout
    assert "COPY immutable.streams" in dump and "COPY immutable.dead_letters" in dump and "stream_positions" not in dump
    reader = db.create_role("IN ROLE pg_read_all_data")
    for table in ("streams", "dead_letters"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.connect(reader).execute(f"TABLE immutable.{table}")
    name = f"restored_{os.getpid()}"
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        env = {**os.environ, "PGHOST": server.host, "PGPORT": server.port, "PGUSER": "postgres", "PGOPTIONS": "-c immutable.restore=on"}
        subprocess.run([server.bin / "psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", name], env=env, input=dump, text=True, check=True,
                       stdout=subprocess.DEVNULL)
        with server.connect(name) as restored:
            assert due(restored) == ("paused", {}) and take(restored, id) is None
            assert stream(restored, id)["state"] == "paused" and stream(restored, id)["dead_letters"] == 1
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="paused"):
                restored.execute("SELECT immutable.test_stream(%s)", [id])
            record(restored, "while paused")
            assert due(restored)[0] == "paused"
            assert restored.execute("SELECT immutable.resume_maintenance()").fetchone() == (True,)
            record(restored, "after")
            assert actions({"items": deliver(restored, id)})[-1] == "after"
            assert "while paused" not in actions({"items": deliver(restored, id)})
            # What came meanwhile is had by a start.
            update(restored, id, start="-infinity")
            assert {"a", "while paused", "after"} <= set(actions({"items": deliver(restored, id)}))
            restored.execute("SELECT immutable.replay_dead_letters(%s)", [id])
            assert actions(take(restored, id)) == ["a"] and len(dead_letters(restored)) == 1
    finally:
        with server.connect() as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_distributed_log_has_no_streams(db):
    db.conn.execute("SET allow_system_table_mods = on")
    db.conn.execute("CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass)")
    db.conn.execute("INSERT INTO pg_catalog.pg_dist_partition VALUES ('immutable.events')")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="streams of a distributed log are not supported"):
        create(db.conn)
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        due(db.conn)


def test_nothing_is_written_where_nothing_may_be(db):
    id = create(db.conn)
    with db.connect() as conn:
        conn.execute("SET default_transaction_read_only = on")
        for call in (f"update_stream('{id}')", f"delete_stream('{id}')", f"test_stream('{id}')", f"take_delivery('{id}', 'w')",
                     f"settle_delivery('{id}', 1, 'retry')", f"replay_dead_letters('{id}')"):
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                conn.execute(f"SELECT immutable.{call}")
    # A log at rest is not written, however often it is asked.
    deliver(db.conn, id)
    due(db.conn)
    for _ in range(3):
        with db.conn.transaction():
            due(db.conn)
            assert take(db.conn, id) is None
            # The log sequence number of the server also grows by what others do there.
            assert db.conn.execute("SELECT pg_current_xact_id_if_assigned()").fetchone() == (None,)


def test_a_change_that_waits_for_an_erasure_brings_nothing_back(db):
    conn = db.conn
    ids = [create(conn, name, filters={"actor_id": "ann", "action": "x"}) for name in ("renamed", "enabled")]
    record(conn, "x")
    eraser = db.connect(autocommit=False)
    eraser.execute("SELECT immutable.erase_subject('t', 'ann', 'ticket')").fetchall()
    with concurrent.futures.ThreadPoolExecutor() as executor:
        calls = [executor.submit(update, db.connect(), id, **changes) for id, changes in zip(ids, ({"name": "y"}, {"enabled": True}))]
        wait_for(conn, "SELECT count(*) = 2 FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
        eraser.commit()
        assert calls[0].result()["enabled"] is False
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="was erased"):
            calls[1].result()
    for id in ids:
        shown = stream(conn, id)
        assert (shown["filters"], shown["enabled"]) == ({"actor_id": None, "action": "x"}, False)


def test_an_erasure_that_waits_for_a_change_takes_what_it_left(db):
    conn = db.conn
    ids = [create(conn, f"of {n}", filters={"actor_id": "ann", "action": "x"}) for n in range(2)]
    record(conn, "x")
    other = db.connect(autocommit=False)
    update(other, ids[0], filters={"actor_id": "bob"})
    other.execute("SELECT immutable.delete_stream(%s)", [ids[1]])
    with concurrent.futures.ThreadPoolExecutor() as executor:
        erasing = executor.submit(db.connect().execute, "SELECT immutable.erase_subject('t', 'ann', 'ticket')")
        wait_for(conn, "SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
        other.commit()
        erasing.result()
    assert (stream(conn, ids[0])["filters"], stream(conn, ids[0])["enabled"], stream(conn, ids[1])) == ({"actor_id": "bob"}, True, None)


def test_a_dead_letter_that_somebody_put_there_opens_no_other_tenant(db):
    conn = db.conn
    streams = {content: create(conn, content, tenant_id="t", content=content) for content in ("events", "alerts")}
    record(conn, "x", tenant="u")
    with helpers_log.behind_triggers(conn):
        conn.execute("INSERT INTO immutable.alerts (id, rule_id, rule_name, rule_type, tenant_id, event_id, is_of_actor, reason, triggered_at) "
                     "SELECT id, id, 'r', 'repeated_action', tenant_id, id, false, 'x', now() FROM immutable.events WHERE action = 'x'")
        for content, id in streams.items():
            conn.execute("INSERT INTO immutable.dead_letters SELECT gen_random_uuid(), %s, %s, tenant_id, id, 'x', 1, now(), now() "
                         "FROM immutable.events WHERE action = 'x'", [id, content])
    for id in streams.values():
        assert take(conn, id) is None
        assert [letter["replay_at"] for letter in dead_letters(conn, id)] == [None]
