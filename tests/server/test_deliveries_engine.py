"""The server program delivers: gap-free and in order, whatever is killed, and whatever a receiver answers."""

import collections
import random
import re
import threading
import time

import pytest

from helpers_alerts import Event, at, evaluated, rule
from helpers_receiver import SECRET, Killable, Receiver, until
from helpers_streams import create, dead_letters, record, stream, update


@pytest.fixture
def receiver():
    made = []

    def make(*answer):
        made.append(Receiver(*answer))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def deliverer(program, db, tmp_path):
    """deliverer(flag=value, …) starts a program that delivers what the streams of the test's database have."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "siem").write_text(SECRET + "\n")
    login = db.create_role("IN ROLE immutable_deliverer")

    def make(**flags):
        return program(**{"delivery_database": db.server.dsn(db.name, login), "secrets_dir": secrets, "delivery_lease": 2,
                          "delivery_retry": "0.05,0.1", **flags})

    make.secrets = secrets
    return make


def webhook(conn, url, name="siem", **options):
    return create(conn, name, {"type": "webhook", "url": url, "secret": "siem"}, **{"filters": {"action": "e.*"}, **options})


def test_what_a_receiver_answers(db, receiver, deliverer):
    """500 and 429 are tried again, 400 is a dead letter, and a receiver that hangs up is asked again. The order stays."""
    failing = {"e.2": [(500, {}), (503, {"retry-after": "0"})], "e.3": [(429, {"retry-after": "1"})], "e.4": [(None, {})] * 4,
               "e.5": [(400, {})] * 2, "e.6": [(302, {"location": "http://127.0.0.1:1/"})]}
    names, times = {}, collections.defaultdict(list)

    def answer(id, number):
        times[names[id]].append(time.monotonic())
        answers = failing.get(names[id], [])
        return answers[number - 1] if number <= len(answers) else (200, {})

    hook = receiver(answer)
    id = webhook(db.conn, hook.url)
    record(db.conn, *[f"e.{n}" for n in range(1, 10)], "other")
    names.update(db.conn.execute("SELECT id::text, action FROM immutable.events").fetchall())
    program = deliverer()
    until(lambda: len(hook.got) == 8)
    assert hook.actions() == [f"e.{n}" for n in (1, 2, 3, 4, 6, 7, 8, 9)]
    assert times["e.3"][1] - times["e.3"][0] > 0.9, "it waits as long as it was asked to"
    assert len(times["e.1"]) == len(times["e.7"]) == 1
    letter, = until(lambda: dead_letters(db.conn, id))
    assert names[letter["item_id"]] == "e.5" and "400" in letter["error"]
    # Refused again, and then taken.
    for expected in (2, None):
        db.conn.execute("SELECT immutable.replay_dead_letters(%s)", [id])
        until(lambda: [letter["attempts"] for letter in dead_letters(db.conn)] == ([expected] if expected else []))
    assert hook.actions()[-1] == "e.5"
    shown = stream(db.conn, id)
    assert shown["state"] == "active" and shown["delivered"] == 9
    figures = dict(re.findall(r'^immutable_(delivery_refused_total|delivered_items_total|stream_state)\{stream="[^"]+"\} (\d+)',
                              program.get("/metrics").text, re.M))
    assert figures == {"delivered_items_total": "9", "delivery_refused_total": "2", "stream_state": "0"}
    assert program.stop() == 0


def test_errors_are_shown_and_tries_go_on(db, receiver, deliverer):
    broken = threading.Event()
    hook = receiver(lambda id, number: (200, {}) if broken.is_set() else (500, {}))
    id = webhook(db.conn, hook.url)
    lost = webhook(db.conn, hook.url, "lost", filters={"action": "f.*"})
    update(db.conn, lost, destination={"type": "webhook", "url": hook.url, "secret": "missing"})
    wrong = webhook(db.conn, hook.url, "wrong", format="cef", filters={"action": "f.*"})
    record(db.conn, "e.1", "f.1")
    deliverer()
    until(lambda: all(stream(db.conn, each)["state"] == "error" for each in (id, lost, wrong)))
    assert "500" in stream(db.conn, id)["last_error"] and "missing" in stream(db.conn, lost)["last_error"]
    assert "cef" in stream(db.conn, wrong)["last_error"]
    # A secret is read when it is needed.
    broken.set()
    (deliverer.secrets / "missing").write_text(SECRET)
    update(db.conn, wrong, format="json")
    until(lambda: sorted(hook.actions()) == ["e.1", "f.1", "f.1"])
    until(lambda: all(stream(db.conn, each)["state"] == "active" for each in (id, lost, wrong)))


def test_a_receiver_that_wants_nothing_more(db, receiver, deliverer):
    hook = receiver(lambda id, number: (410, {}))
    id = webhook(db.conn, hook.url)
    record(db.conn, "e.1")
    deliverer()
    until(lambda: not stream(db.conn, id)["enabled"])
    assert "410" in stream(db.conn, id)["reason"] and sum(hook.tries.values()) == 1
    record(db.conn, "e.2")
    hook.answer = lambda id, number: (200, {})
    update(db.conn, id, enabled=True)
    until(lambda: hook.actions() == ["e.1", "e.2"])


def test_a_test_call_and_alerts(db, receiver, deliverer):
    hook = receiver()
    id = webhook(db.conn, hook.url, content="alerts", filters={})
    deliverer()
    update(db.conn, id, enabled=False)
    db.conn.execute("SELECT immutable.test_stream(%s)", [id])
    until(lambda: (stream(db.conn, id)["test"] or {}).get("finished_at"))
    assert stream(db.conn, id)["test"]["error"] is None and hook.got[0]["type"] == "alert.triggered"
    update(db.conn, id, enabled=True, destination={"type": "webhook", "url": hook.url, "secret": "none"})
    db.conn.execute("SELECT immutable.test_stream(%s)", [id])
    assert "none" in until(lambda: stream(db.conn, id)["test"]["error"])
    update(db.conn, id, destination={"type": "webhook", "url": hook.url, "secret": "siem"})
    rule(db.conn, "off_hours", "night")
    evaluated(db.conn, Event(at(600)), Event(at(600), actor="bob"))
    until(lambda: len(hook.got) == 3)
    stored = [str(id) for id, in db.conn.execute("SELECT id FROM immutable.alerts ORDER BY triggered_at, id")]
    assert [body["alert_id"] for body in hook.got[1:]] == stored
    until(lambda: db.conn.execute("SELECT bool_and(notified_at IS NOT NULL) FROM immutable.alerts").fetchone()[0])


def check(received, stored, kills, what):
    """Everything came, in the order of its lane, and again only where something was killed in between."""
    first, lanes = {}, collections.defaultdict(list)
    for when, id, tenant, lane, seq in received:
        if id in first:
            assert any(first[id] <= kill + 0.001 for kill in kills if kill <= when), f"{what}: {id} came twice for no reason"
        else:
            lanes[tenant, lane].append(seq)
        first[id] = when
    assert first.keys() == stored, f"{what}: {len(stored - first.keys())} did not come, {len(first.keys() - stored)} are unknown"
    for lane, seqs in lanes.items():
        assert seqs == sorted(seqs), f"{what}: lane {lane} came in another order"


def test_kill9_of_program_and_receiver(db, deliverer, tmp_path):
    """At random moments, while events are recorded: no gap, no other order, nothing again that was acknowledged."""
    seed = random.randrange(10**6)
    rng, kills, ends = random.Random(seed), [], threading.Event()
    hook = Killable(tmp_path)
    webhook(db.conn, hook.url)
    program = deliverer(delivery_lease=1)
    writers = [threading.Thread(target=write, args=[db.connect(), tenant, ends]) for tenant in "tuv"]
    for writer in writers:
        writer.start()
    try:
        for _ in range(8):
            time.sleep(rng.uniform(0.1, 0.7))
            if rng.random() < 0.5:
                program.stop(9)
                kills.append(time.time())
                program.start()
            else:
                hook.kill()
                kills.append(time.time())
                time.sleep(rng.uniform(0, 0.2))
                hook.start()
    finally:
        ends.set()
        for writer in writers:
            writer.join()
    stored = {str(id) for id, in db.conn.execute("SELECT id FROM immutable.events WHERE action = 'e.x'")}
    assert len(stored) > 100
    until(lambda: stored <= {id for _, id, *_ in hook.got()}, what=f"what was recorded (seed {seed})")
    until(lambda: db.conn.execute("SELECT pending_kind IS NULL FROM immutable.stream_positions").fetchone()[0])
    before = len(hook.got())
    program.stop()
    program.start()
    record(db.conn, "e.last")
    until(lambda: len(hook.got()) > before)
    received = hook.got()
    hook.kill()
    assert len(received) == before + 1, "what was acknowledged came again"
    check(received[:-1], stored, kills, f"seed {seed}")


def write(conn, tenant, ends):
    while not ends.is_set():
        with conn.transaction():
            for _ in range(3):
                record(conn, "e.x", tenant=tenant)
        time.sleep(0.01)


def test_two_programs_share_the_streams(db, receiver, deliverer):
    hooks = [receiver() for _ in range(3)]
    for n, hook in enumerate(hooks):
        webhook(db.conn, hook.url, f"hook {n}")
    programs = [deliverer(), deliverer()]
    expected = [f"e.{n}" for n in range(120)]
    for begin in range(0, 120, 20):
        record(db.conn, *expected[begin:begin + 20])
    until(lambda: all(len(hook.got) >= 120 for hook in hooks))
    # One is stopped while there is work, and says so: nothing is repeated.
    ends = threading.Event()
    writer = threading.Thread(target=write, args=[db.connect(), "t", ends])
    writer.start()
    time.sleep(0.3)
    assert programs[0].stop() == 0
    ends.set()
    writer.join()
    total, = db.conn.execute("SELECT count(*) FROM immutable.events WHERE action LIKE 'e.%'").fetchone()
    until(lambda: all(len(hook.got) >= total for hook in hooks))
    time.sleep(0.3)
    for hook in hooks:
        assert hook.actions()[:120] == expected and len(hook.got) == total
        seqs = [body["data"]["integrity"]["seq"] for body in hook.got]
        assert seqs == sorted(set(seqs))


def test_a_slow_receiver_delays_no_writer_and_no_other_stream(db, receiver, deliverer):
    """It answers nothing at all, and the lease is kept meanwhile."""
    hangs = threading.Event()
    slow = receiver(lambda id, number: (200, {}) if hangs.wait(5) else (200, {}))
    fast = receiver()
    id = webhook(db.conn, slow.url, "slow")
    webhook(db.conn, fast.url, "fast")
    record(db.conn, "e.0")
    deliverer(delivery_lease=1)
    deliverer(delivery_lease=1)
    until(lambda: sum(slow.tries.values()) == 1)
    begun = time.monotonic()
    record(db.conn, *[f"e.{n}" for n in range(1, 60)])
    until(lambda: len(fast.got) == 60)
    # No lock that a writer could wait for is held meanwhile, and no transaction is open.
    assert db.conn.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL "
                           "AND pid <> pg_backend_pid() AND usename LIKE 'test%'").fetchone() == (0,)
    time.sleep(max(0, begun + 1.5 - time.monotonic()))
    assert sum(slow.tries.values()) == 1, "the other program waits for the lease, which is kept"
    hangs.set()
    until(lambda: len(slow.got) == 60)
    assert max(slow.tries.values()) == 1 and stream(db.conn, id)["failures"] == 0


def test_after_a_copy_nothing_is_delivered(db, server, receiver, deliverer):
    hook = receiver()
    id = webhook(db.conn, hook.url)
    program = deliverer()
    record(db.conn, "e.1")
    until(lambda: hook.actions() == ["e.1"])
    # As if the database were a copy of another.
    db.conn.execute("CALL immutable.run_maintenance()")
    db.conn.execute("UPDATE immutable.maintenance_position SET database = 1")
    record(db.conn, "e.2")
    until(lambda: "nothing is delivered" in program.log.read_text())
    assert stream(db.conn, id)["state"] == "paused" and "resume_maintenance" in stream(db.conn, id)["reason"]
    assert any("nothing is delivered" in problem for problem in db.conn.execute("SELECT problems FROM immutable.status()").fetchone()[0])
    assert db.conn.execute("SELECT immutable.resume_maintenance()").fetchone() == (True,)
    record(db.conn, "e.3")
    until(lambda: hook.actions() == ["e.1", "e.3"])
