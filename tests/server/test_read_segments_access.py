"""Whoever reads sees the same before events are sealed and after: answers of all readers are compared as they are."""

import json

import psycopg
import pytest
from helpers_access import import_key, present, token
from helpers_keys import Tenants
from helpers_segments import check_whole, places, seal

FILTERS = [{}, {"actor_id": "u1"}, {"action": "a.*"}, {"target_type": "t"}, {"target_id": "mine3"}, {"tenant_id": "mine"},
           {"tenant_id": "rival", "actor_id": "u2"}, {"search": "a.b", "resource_id": "mine5"}]
ROWS = ["SELECT to_jsonb(e) FROM immutable.events e ORDER BY e.tenant_id, e.lane, e.seq",
        "SELECT to_jsonb(t) FROM immutable.event_targets t ORDER BY t.tenant_id, t.event_id, t.position",
        "SELECT to_jsonb(a) FROM immutable.activity a ORDER BY a.created_at, a.id",
        "SELECT to_jsonb(h) FROM immutable.heads() h ORDER BY h.tenant_id, h.lane",
        "SELECT jsonb_build_array(v.valid, v.events_checked, v.events_total) FROM immutable.verify_chain() v"]


def ask(conn, statement, *arguments):
    """The values of the first column, or the SQLSTATE."""
    try:
        return [value for value, in conn.execute(statement, arguments)]
    except psycopg.Error as error:
        return error.sqlstate


def pages(conn, given, order, count):
    """All pages with all that they say, or the SQLSTATE."""
    names = "".join(f"{name} => %s, " for name in given)
    statement = f'SELECT immutable.get_events({names}"limit" => 7, "order" => %s, "count" => %s, "cursor" => %s)'
    answers, cursor = [], None
    while True:
        answer = ask(conn, statement, *given.values(), order, count, cursor)
        if isinstance(answer, str):
            return answer
        answers += answer
        if not answer[0]["pagination"]["has_more"]:
            return answers
        cursor = answer[0]["pagination"]["next_cursor"]


def changes(conn, tenant, after=None, calls=100):
    """What changes() gives from a position, and the position behind it."""
    found = []
    for _ in range(calls):
        answer = ask(conn, "SELECT immutable.changes(%s, %s, 5)", tenant, after and json.dumps(after))
        if isinstance(answer, str):
            return answer, None
        found += answer[0]["data"]
        after = answer[0]["position"]
        if not answer[0]["has_more"]:
            break
    return found, after


def everything(conn, ids):
    """All that a caller is told, by what was asked."""
    said = {}
    for number, given in enumerate(FILTERS):
        for order, count in (("desc", "auto"), ("asc", "none")):
            said["page", number, order] = pages(conn, given, order, count)
        names = ", ".join(f"{name} => %s" for name in given)
        said["export", number] = ask(conn, f"SELECT immutable.export_events({names})", *given.values())
        if not isinstance(said["export", number], str):
            # The first line says when it was made, and the last one the sum of all.
            said["export", number] = said["export", number][1:-1]
    for tenant, id in ids.items():
        for of in (None, "mine", "rival", ""):
            said["event", tenant, of] = ask(conn, "SELECT immutable.get_event(%s, %s)", id, of)
    for tenant in (None, "mine", "rival", ""):
        said["changes", tenant] = changes(conn, tenant)[0]
    for statement in ROWS:
        said[statement] = ask(conn, statement)
    return said


@pytest.fixture
def readers(db):
    """Functions that open a connection of each kind of caller, by its name."""
    log = Tenants(db)
    import_key(db.conn)
    viewer, auditor = db.create_role("IN ROLE immutable_viewer"), db.create_role("IN ROLE immutable_auditor")
    keys = {name: log.key(*scopes, tenant_id=tenant)["proof"] for name, scopes, tenant in (
        ("key of mine", ["read", "export", "verify"], "mine"), ("key of all", ["read", "export", "verify"], None),
        ("key of no tenant", ["read"], ""), ("key that writes", ["write"], "mine"))}

    def shown(**given):
        made = token(**given)

        def connect():
            conn = db.connect(viewer)
            present(conn, made)
            return conn
        return connect
    # What the log records of the keys is a part of it, and the log must not change any more.
    return {
        "owner": db.connect, "auditor": lambda: db.connect(auditor), "viewer without a token": lambda: db.connect(viewer),
        "viewer of mine": shown(), "viewer of u1 of mine": shown(actor_id="u1"), "viewer of no tenant": shown(tenant_id=""),
        "viewer of nobody": shown(actor_id="nobody"), "server without a key": log.server,
        **{name: (lambda proof=proof: log.server(proof)) for name, proof in keys.items()}}, log.ids


def test_every_caller_is_told_the_same_as_before_sealing(db, readers):
    readers, ids = readers
    for part in range(10):
        db.conn.execute(
            "INSERT INTO immutable.events (tenant_id, actor_id, action, resource_id, targets) "
            "SELECT t, 'u' || i % 3, 'a.c', t || i, jsonb_build_array(jsonb_build_object('type', 't', 'id', t || i)) "
            "FROM unnest(ARRAY['rival', 'mine', '']) t, generate_series(1, 4) i")
    times = [at for at, in db.conn.execute("SELECT DISTINCT created_at FROM immutable.events ORDER BY 1")]
    opened = {name: connect() for name, connect in readers.items()}
    before = {name: everything(conn, ids) for name, conn in opened.items()}
    half = {name: changes(conn, "mine", calls=2) for name, conn in opened.items()}
    check_what_is_seen(before, ids)
    for step, at in enumerate([*times[-10:-1], None]):
        seal(db, at)
        if step in (0, 4, 9):
            for name, connect in readers.items():
                # With the plans from before, and with new ones.
                for conn in (opened[name], connect()):
                    after = everything(conn, ids)
                    assert [what for what in after if after[what] != before[name][what]] == [], (name, step)
                    rest, _ = changes(conn, "mine", half[name][1]) if half[name][1] else ("", None)
                    assert rest == "" or half[name][0] + rest == before[name]["changes", "mine"], (name, step)
    assert db.conn.execute("SELECT count(*) FROM immutable.segments WHERE replaces <> '{}'").fetchone()[0] > 0
    check_whole(db.conn)
    assert places(db.conn)["events"] < 15


def check_what_is_seen(said, ids):
    """The answers that are compared are not all empty, and each caller's are its own."""
    def seen(name):
        answer = said[name]["page", 0, "desc"]
        return answer[0]["pagination"]["total"] if isinstance(answer[0], dict) else answer
    everyone = seen("owner")
    assert everyone > 150 and seen("auditor") == everyone == seen("key of all")
    assert seen("viewer of mine") == seen("key of mine") == 52
    assert 0 < seen("viewer of u1 of mine") < 52 and seen("viewer of nobody") == 0
    assert seen("viewer of no tenant") == seen("key of no tenant") > 52
    assert seen("viewer without a token") == 0
    assert (seen("server without a key"), seen("key that writes")) == ("28000", "42501")
    assert said["key of mine"]["event", "rival", None] in ("42501", [None])
    assert said["viewer of u1 of mine"]["event", "rival", "rival"] == [None]
    assert len(said["viewer of u1 of mine"]["changes", "mine"]) == seen("viewer of u1 of mine")
