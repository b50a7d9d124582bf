"""The feed beneath alerts and deliveries: every committed event once, in the order of its lane, whatever else runs."""

import collections
import random
import threading

import psycopg
import pytest

from helpers_servers import Copy, wait_for

INSERT = "INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT %s, 'u', %s || n FROM generate_series(1, %s) n"


class Reader:
    """Keeps its mark, and what it was given."""

    def __init__(self, conn, mark=""):
        self.conn, self.mark, self.given, self.has_more = conn, mark, [], False

    def read(self, limit=1000):
        answer, = self.conn.execute("SELECT immutable.feed(%s, %s)", [self.mark, limit]).fetchone()
        self.mark, self.has_more = answer["mark"], answer["has_more"]
        assert len(answer["data"]) <= limit
        self.given += answer["data"]
        return [event["action"] for event in answer["data"]]

    def read_all(self, limits=(1000,)):
        """To the end of what was there when it began, in pieces of these sizes in turn."""
        actions = self.read(limits[0])
        for n in range(1, 100_000):
            if not self.has_more:
                return actions
            actions += self.read(limits[n % len(limits)])
        raise AssertionError("the feed does not end")

    def check(self, admin):
        """Every event of the log was given once, in the order of its lane."""
        stored = sorted(id for id, in admin.execute("SELECT id::text FROM immutable.events"))
        assert sorted(event["id"] for event in self.given) == stored
        self.check_order()

    def check_order(self):
        last = collections.defaultdict(int)
        for event in self.given:
            lane = event["tenant_id"], event["integrity"]["lane"]
            assert event["integrity"]["seq"] > last[lane], lane
            last[lane] = event["integrity"]["seq"]


def write(conn, tenant, action, count=1):
    conn.execute(INSERT, [tenant, action, count])


@pytest.fixture
def begun(db):
    """The first event makes the log's identity, and everybody waits for it."""
    write(db.conn, "first", "first")
    return db


@pytest.fixture
def reader(begun):
    reader = Reader(begun.conn)
    assert reader.read() == ["first1"]
    return reader


def test_it_begins_now_or_at_the_first_event(db, reader):
    write(db.conn, "t", "old")
    answer, = db.conn.execute("SELECT immutable.feed()").fetchone()
    assert answer["data"] == [] and answer["has_more"] is False
    behind = Reader(db.conn, answer["mark"])
    assert behind.read() == [] and behind.mark == answer["mark"]
    write(db.conn, "t", "new")
    assert behind.read() == ["new1"]
    assert behind.read() == []
    assert reader.read() == ["old1", "new1"]
    assert set(reader.given[1]) >= {"id", "actor", "action", "integrity"}


def test_an_older_transaction_holds_nothing_back_and_comes_later_once(db, reader):
    with db.connect(autocommit=False) as slow:
        write(slow, "t", "late", 2)
        write(db.conn, "t", "early")
        assert reader.read() == ["early1"]
        write(db.conn, "u", "more")
        assert reader.read() == ["more1"]
        slow.commit()
        assert reader.read() == ["late1", "late2"]
        assert reader.read() == []
    reader.check(db.conn)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_forgotten_prepared_transaction(db, server, reader, elsewhere):
    other = server.connect("postgres") if elsewhere else db.connect()
    other.execute("BEGIN")
    if elsewhere:
        other.execute("SELECT pg_current_xact_id()")
    else:
        write(other, "t", "prepared", 3)
    other.execute(f"PREPARE TRANSACTION '{db.name}'")
    for n in range(3):
        write(db.conn, "t", f"after{n}.")
        assert reader.read() == [f"after{n}.1"]
    # Even changes() of all tenants, which waits, does not see them.
    changes, = db.conn.execute("SELECT immutable.changes(NULL)").fetchone()
    assert [event["action"] for event in changes["data"]] == ["first1"]
    other.execute(f"COMMIT PREPARED '{db.name}'")
    other.close()
    assert reader.read(2) + reader.read() == ([] if elsewhere else ["prepared1", "prepared2", "prepared3"])
    reader.check(db.conn)


def test_what_is_rolled_back_never_comes(db, reader):
    with db.connect(autocommit=False) as conn:
        write(conn, "t", "kept")
        conn.execute("SAVEPOINT s")
        write(conn, "t", "gone", 3)
        conn.execute("ROLLBACK TO s")
        write(conn, "t", "too")
        conn.execute("SAVEPOINT r")
        write(conn, "u", "also")
        conn.execute("RELEASE r")
        assert reader.read() == []
        conn.commit()
        assert reader.read() == ["kept1", "too1", "also1"]
        write(conn, "t", "aborted")
        conn.rollback()
    assert reader.read() == []
    reader.check(db.conn)


def test_the_reader_s_own_transaction_comes_next_time(begun):
    db = begun
    with db.connect(autocommit=False) as conn:
        own = Reader(conn)
        own.read(), conn.commit()
        write(conn, "t", "own")
        # A transaction that began later and ended makes the own number look like one that has ended.
        write(db.conn, "u", "other")
        assert own.read() == ["other1"]
        mark = conn.execute("SELECT immutable.feed() ->> 'mark'").fetchone()[0]
        conn.commit()
        assert own.read() == ["own1"]
        assert Reader(conn, mark).read() == ["own1"]
        assert own.read() == []
        own.check(conn)


def test_lanes_come_in_order_although_transactions_began_in_another(db, reader):
    """In pieces of every size: the first transaction that began is the last one that wrote."""
    with db.connect(autocommit=False) as slow:
        slow.execute("SELECT pg_current_xact_id()")
        for n in range(20):
            write(db.conn, "t", f"{n}.")
        write(slow, "t", "last", 3)
        slow.commit()
    for size in (1, 2, 7, 22, 23, 24):
        each = Reader(db.conn)
        each.read_all((size,))
        each.check(db.conn)


def test_a_large_transaction_comes_in_pieces(db, reader):
    write(db.conn, "a", "before")
    with db.conn.transaction():
        for tenant in ("b", "c", "a"):
            write(db.conn, tenant, tenant, 40)
    write(db.conn, "c", "behind", 2)
    marks = set()
    while True:
        reader.read(7)
        marks.add(reader.mark)
        if not reader.has_more:
            break
        # What is written meanwhile comes behind.
        if len(marks) == 3:
            write(db.conn, "b", "meanwhile")
    assert len(marks) >= 18 and max(map(len, marks)) < 150
    reader.read_all((7,))
    reader.check(db.conn)
    assert [event["action"] for event in reader.given][-1] == "meanwhile1"


DAMAGED = ["x", "1:2", "1:2:3", "5:9:10", "5:9:6,6", "1:2:>", "5:9:>5:8:", "5:9:7>5:9:7,8", "5:9:@7/0/1/61",
                                  "5:9:>5:20:@7/0/1/61", "5:9:>5:20:@12/0/1", "5:9:>5:20:@12/0/1/zz", "5:9:>5:20:@12/0/1/ff",
                                  "5:9:>5:20:@12/0/1/00", "5:9:>5:20:@12/99999/1/61", "18446744073709551616:18446744073709551616:",
                                  " 5:9:", "5:9: ", "05:9:"]
FOREIGN = ["18446744073709551615:18446744073709551615:", "4000000000:4000000000:", "5:9:>4000000000:4000000000:"]


def test_a_damaged_mark_and_one_of_another_server(db):
    for mark in DAMAGED:
        with pytest.raises(psycopg.errors.DataCorrupted, match="a mark of the feed of events is damaged"):
            db.conn.execute("SELECT immutable.feed(%s)", [mark])
    for mark in FOREIGN:
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is not of this server's past") as raised:
            db.conn.execute("SELECT immutable.feed(%s)", [mark])
        assert "new mark" in raised.value.diag.message_hint


def test_who_may_read_it(db):
    for role in ("immutable_writer", "immutable_auditor", "immutable_viewer", "immutable_maintainer", "pg_monitor"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.connect(db.create_role(f"IN ROLE {role}")).execute("SELECT immutable.feed()")
    for limit in (0, -1, 10_001):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="limit must be from 1 to 10000"):
            db.conn.execute("SELECT immutable.feed('', %s)", [limit])


def test_it_reads_the_new_events_alone(db, reader):
    """Whatever the length of the log, and whatever the planner thinks of it."""
    write(db.conn, "t", "x", 3000)
    reader.read(5000)
    write(db.conn, "t", "y", 5)
    db.conn.execute("ANALYZE immutable.events")
    counts = "SELECT pg_stat_get_xact_numscans('immutable.events'::regclass), sum(pg_stat_get_xact_tuples_returned(indexrelid)) " \
        "FROM pg_index WHERE indrelid = 'immutable.events'::regclass"
    with db.conn.transaction():
        # What this session did before counts too.
        scans, tuples = db.conn.execute(counts).fetchone()
        assert reader.read() == [f"y{n}" for n in range(1, 6)]
        scans_now, tuples_now = db.conn.execute(counts).fetchone()
    assert scans_now == scans and tuples_now - tuples <= 20
    reader.check(db.conn)


class Writer(threading.Thread):
    """Transactions of every kind, on tenants that others write to as well."""

    def __init__(self, db, seed):
        super().__init__(daemon=True)
        self.conn, self.name_of = db.connect(), f"{db.name}_{seed}"
        self.random, self.left, self.failed = random.Random(seed), [], None

    def run(self):
        try:
            for n in range(40):
                self.transaction(n)
        except Exception as error:  # noqa: BLE001
            self.failed = error

    def transaction(self, n):
        self.conn.execute("BEGIN")
        if self.random.random() < 0.3:
            self.conn.execute("SELECT pg_current_xact_id()")
        for part in range(self.random.randint(1, 3)):
            self.conn.execute("SAVEPOINT s")
            write(self.conn, self.random.choice("tuv"), f"{n}.{part}.", self.random.choice((1, 1, 1, 2, 5, 30)))
            self.conn.execute("ROLLBACK TO s" if self.random.random() < 0.2 else "RELEASE s")
        end = self.random.random()
        if end < 0.05 and not self.left:
            name = f"{self.name_of}_{n}"
            self.conn.execute(f"PREPARE TRANSACTION '{name}'")
            self.left.append(name)
        else:
            self.conn.execute("ROLLBACK" if end < 0.2 else "COMMIT")


def test_random_writers_and_pieces_of_random_size(begun):
    db = begun
    readers = [Reader(db.conn) for _ in range(3)]
    writers = [Writer(db, seed) for seed in range(6)]
    chance = random.Random(1)
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        reader = chance.choice(readers)
        if chance.random() < 0.2:
            # A reader that fails, or dies, before it has kept its mark reads the same again.
            mark, count = reader.mark, len(reader.given)
            with db.conn.transaction(force_rollback=True):
                reader.read(chance.randint(1, 50))
            reader.mark = mark
            del reader.given[count:]
        reader.read(chance.choice((1, 3, 10, 50, 500)))
    for writer in writers:
        writer.join()
        assert writer.failed is None
        for name in writer.left:
            for reader in readers:
                reader.read_all((chance.randint(20, 100),))
            db.conn.execute(f"{chance.choice(('COMMIT', 'ROLLBACK'))} PREPARED '{name}'")
    for reader in readers:
        reader.read_all((chance.randint(5, 100), 30))
        reader.read_all()
        reader.check(db.conn)
    every = Reader(db.conn)
    every.read_all((13, 1, 40))
    every.check(db.conn)


def test_a_kill_between_read_and_commit_repeats_nothing(cluster):
    """The mark and what was made of the events are written in one transaction."""
    server = cluster()
    with server.connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
        conn.execute("CREATE TABLE mark (mark text); INSERT INTO mark VALUES ('')")
        conn.execute("CREATE TABLE got (id text PRIMARY KEY)")
        write(conn, "t", "x", 50)
    step = "WITH f AS MATERIALIZED (SELECT immutable.feed(m.mark, 20) f FROM mark m), " \
        "g AS (INSERT INTO got SELECT e ->> 'id' FROM f, jsonb_array_elements(f -> 'data') e) UPDATE mark SET mark = f ->> 'mark' FROM f"
    for n in range(2):
        conn = server.connect(autocommit=False)
        conn.execute(step)
        server.kill9()
        conn.close()
        server.start()
        with server.connect() as conn:
            conn.execute(step)
            assert conn.execute("SELECT count(*) FROM got").fetchone() == (20 * (n + 1),)
    with server.connect() as conn:
        conn.execute(step)
        assert conn.execute("SELECT count(*) = 50 FROM got").fetchone() == (True,)


def test_a_standby_and_what_is_promoted(cluster):
    server = cluster()
    with server.connect() as conn:
        conn.execute("CREATE EXTENSION immutable")
        write(conn, "t", "x")
        mark = conn.execute("SELECT immutable.feed() ->> 'mark'").fetchone()[0]
    standby = Copy(server)
    try:
        standby.begin()
        with standby.connect() as conn:
            wait_for(conn, "SELECT pg_is_in_recovery()")
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match="cannot be read on a standby"):
                conn.execute("SELECT immutable.feed(%s)", [mark])
    finally:
        standby.destroy()
