"""track() and track_batch() as applications call them: through a driver, at the same time, and what a batch costs others."""

import concurrent.futures
import json
import re
import threading
import uuid

import psycopg
import pytest
from psycopg.types.json import Json, Jsonb


def subtransactions(db):
    """How many subtransactions a snapshot has to list now, and whether there are too many to list."""
    with db.connect() as later:
        later.execute("SELECT pg_current_xact_id()")  # snapshots list what is older than the last that has ended
    with db.connect(autocommit=False) as conn:
        snapshot, = conn.execute("SELECT pg_read_file('pg_snapshots/' || pg_export_snapshot())").fetchone()
    counted = re.search(r"^sxcnt:(\d+)$", snapshot, re.M)
    return int(counted[1]) if counted else 0, "sof:1" in snapshot.split()


def batch(events, **fields):
    return [{"tenant_id": "t", "actor_id": "u", "action": f"n{n}", **fields} for n in range(events)]


def statuses(conn, events):
    answer, = conn.execute("SELECT immutable.track_batch(%s)", [events]).fetchone()
    return [event["status"] for event in answer["events"]]


@pytest.mark.parametrize("events", [1, 60, 65, 100])
def test_a_batch_takes_one_subtransaction(db, events):
    """More than 64 of one transaction, and everybody's snapshots overflow: each has to look into pg_subtrans then."""
    with db.connect(autocommit=False) as conn:
        for done in range(1, 4):
            assert statuses(conn, Jsonb(batch(events))) == ["recorded"] * events
            assert subtransactions(db) == (done, False)
        conn.commit()


def test_each_refused_event_takes_one_more_subtransaction(db):
    with db.connect(autocommit=False) as conn:
        # refused before anything is written: it does not break the run
        assert set(statuses(conn, Jsonb(batch(100, unknown=1)))) == {"error"}
        assert subtransactions(db) == (0, False)
        mixed = [event if n % 2 else {**event, "version": "x"} for n, event in enumerate(batch(100))]
        assert statuses(conn, Jsonb(mixed)) == ["error", "recorded"] * 50
        assert subtransactions(db) == (1, False)
        # refused by the trigger
        mixed = [event if n % 25 else {**event, "action": ""} for n, event in enumerate(batch(100))]
        assert statuses(conn, Jsonb(mixed)) == (["error"] + ["recorded"] * 24) * 4
        assert subtransactions(db) == (5, False)
        assert set(statuses(conn, Jsonb(batch(100, metadata=1)))) == {"error"}
        assert subtransactions(db) == (5, False)
        # a used key costs nothing more
        assert statuses(conn, Jsonb(batch(3, idempotency_key="k"))) == ["recorded", "conflict", "conflict"]
        assert subtransactions(db) == (6, False)
        conn.commit()
    assert db.conn.execute("SELECT valid, events_checked FROM immutable.verify_chain('t')").fetchone() == (True, 50 + 96 + 1)


def test_the_largest_batch_that_can_be_set(db):
    db.conn.execute("SET immutable.max_batch = 10000")
    events = batch(5000)
    events[4999]["action"] = events[1234]["action"] = ""
    answers = statuses(db.conn, json.dumps(events))
    assert [n for n, status in enumerate(answers) if status != "recorded"] == [1234, 4999]
    found = db.conn.execute("SELECT action FROM immutable.events WHERE tenant_id = 't' ORDER BY created_at").fetchall()
    assert [action for action, in found] == [f"n{n}" for n in range(5000) if n not in (1234, 4999)]


def test_payloads_as_drivers_send_them(db):
    """psycopg gives str no type, and its wrappers json or jsonb."""
    role = db.create_role("IN ROLE immutable_writer")
    conn = db.connect(role)
    event = {"tenant_id": "t", "actor_id": "u", "action": "a"}
    for given in (json.dumps(event), Json(event), Jsonb(event)):
        assert conn.execute("SELECT immutable.track(%s)", [given]).fetchone()[0]["status"] == "recorded"
    for given in (json.dumps([event]), Json([event]), Jsonb([event]), json.dumps({"events": [event]})):
        assert statuses(conn, given) == ["recorded"]
    with pytest.raises(psycopg.errors.UniqueViolation) as error:
        for action in "ab":
            conn.execute("SELECT immutable.track(%s, %s, tenant_id => %s, idempotency_key => %s)", ["u", action, "t", "k"])
    assert "idempotency_key" in error.value.diag.message_primary and error.value.diag.message_hint
    # Python writes NaN and Infinity, and halves of surrogate pairs; neither loses the events beside it.
    odd = [event, {**event, "metadata": {"a": float("nan")}}, {**event, "metadata": {"a": float("inf")}},
           {**event, "actor_name": "\ud83d"}, {**event, "resource_name": "a\0b"}, {**event, "metadata": {"a": "BIG"}}, event]
    text = json.dumps(odd).replace('"BIG"', "1" + "0" * 200_000)
    answer, = conn.execute("SELECT immutable.track_batch(%s)", [text]).fetchone()
    assert [one["status"] for one in answer["events"]] == ["recorded"] + ["error"] * 5 + ["recorded"]
    assert [one["error"]["field"] for one in answer["events"][1:6]] == ["metadata", "metadata", "actor_name", "resource_name", "metadata"]
    assert all(one["error"]["hint"] for one in answer["events"][1:6])
    # An argument of another type: PostgreSQL's error says what to do, and a cast helps.
    for name, value in (("resource_id", uuid.uuid4()), ("resource_id", 7), ("metadata", Json({})), ("version", 2 ** 40)):
        with pytest.raises(psycopg.errors.UndefinedFunction) as error:
            conn.execute(f"SELECT immutable.track(actor_id => %s, action => %s, {name} => %s)", ["u", "a", value])
        assert "explicit type casts" in error.value.diag.message_hint
    conn.execute("SELECT immutable.track(actor_id => %s, action => %s, resource_id => %s::text, metadata => %s::jsonb)",
                 ["u", "a", str(uuid.uuid4()), Json({"a": 1})])


def test_a_cancelled_batch_stays_cancelled(db):
    """Cancelled while it waits for another session's key: the batch fails as a whole, and leaves nothing."""
    first = db.connect(autocommit=False)
    first.execute("SELECT immutable.track('u', 'a', tenant_id => 't', idempotency_key => 'k')")
    conn = db.connect(autocommit=False)
    conn.execute("SET LOCAL statement_timeout = '200ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        statuses(conn, Jsonb([*batch(2), *batch(1, idempotency_key="k")]))
    conn.rollback()
    first.rollback()
    assert statuses(conn, Jsonb(batch(1, idempotency_key="k"))) == ["recorded"]
    conn.commit()
    assert db.conn.execute("SELECT count(*) FROM immutable.events WHERE tenant_id = 't'").fetchone() == (1,)


def test_batches_with_the_same_keys_in_opposite_order(db):
    """One of two batches that wait for each other fails with a deadlock, and can be tried again; the error is not one event's answer."""
    barrier = threading.Barrier(2)
    keys = [f"k{n}" for n in range(40)]

    def record(order):
        conn = db.connect()
        for attempt in range(100):
            if attempt == 0:
                barrier.wait(30)
            try:
                events = [{"tenant_id": "t", "actor_id": "u", "action": "a", "idempotency_key": key} for key in order]
                return statuses(conn, Jsonb(events))
            except psycopg.errors.DeadlockDetected:
                continue
        raise AssertionError("never")
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        answers = [each.result(60) for each in [executor.submit(record, keys), executor.submit(record, keys[::-1])]]
    assert set(answers[0]) | set(answers[1]) <= {"recorded", "duplicate"}
    assert answers[0].count("recorded") + answers[1].count("recorded") == len(keys)
    assert db.conn.execute("SELECT valid FROM immutable.verify_chain('t')").fetchone() == (True,)


def test_batches_under_the_same_key_during_a_reindex(db):
    """What REINDEX CONCURRENTLY's new index refuses is found the second time, wherever in the batch it is."""
    db.unguard()
    db.conn.execute("CREATE UNIQUE INDEX remnant ON immutable.events (tenant_id, idempotency_key)")
    db.conn.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'immutable.remnant'::regclass")
    barrier = threading.Barrier(3)

    def record(connection):
        answers = []
        for number in range(150):
            barrier.wait(30)
            events = [*batch(number % 3), {"tenant_id": "t", "actor_id": "u", "action": "a", "idempotency_key": f"k{number}"}, *batch(1)]
            answer, = connection.execute("SELECT immutable.track_batch(%s)", [Jsonb(events)]).fetchone()
            assert {one["status"] for one in answer["events"]} <= {"recorded", "duplicate"}, answer
            answers.append(answer["events"][number % 3]["id"])
        return answers
    with concurrent.futures.ThreadPoolExecutor(3) as executor:
        first, *others = [each.result(120) for each in [executor.submit(record, db.connect()) for _ in range(3)]]
    assert all(other == first for other in others) and len(set(first)) == 150
    assert db.conn.execute("SELECT valid FROM immutable.verify_chain('t')").fetchone() == (True,)
