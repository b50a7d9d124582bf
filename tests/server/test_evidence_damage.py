"""What damages of a superuser's do to the tree: an event that does not follow the one that is in the tree before it waits, with
the reason, until it is repaired, and other lanes go on. What is in the tree never changes. Where the stored tree is damaged,
nothing is signed."""

import uuid

import psycopg
import pytest

from helpers_log import behind_triggers, drop_checks
from helpers_sequencing import CALL, check, check_notes, checkpoint, keys, parse, refused, tree_of
from helpers_servers import record, rows
from test_evidence_checkpoint import many_events

PENDING = "SELECT tenant_id, lane, seq, why FROM immutable.tree_pending ORDER BY 1, 2"
PLACE = "tenant_id = 't' AND lane = 0 AND seq"


class Log:
    """A log with a tree, three tenants and new events of each."""

    def __init__(self, db):
        self.db, self.conn = db, db.conn
        drop_checks(self.conn)
        for tenant in ("a", "t", "z"):
            for n in range(4):
                record(self.conn, f"{n}", tenant)
        self.notes = [checkpoint(self.conn)]
        for tenant in ("a", "t", "z"):
            for n in range(4):
                record(self.conn, f"new {n}", tenant)
        self.conn.execute("CREATE TABLE kept AS SELECT * FROM immutable.events")
        self.conn.execute("CREATE INDEX ON kept (id)")

    def damage(self, statement):
        # A trigger that fires for a replica too would set xact again.
        self.conn.execute("ALTER TABLE immutable.events DISABLE TRIGGER ALL")
        assert self.conn.execute(statement).rowcount > 0
        self.conn.execute("ALTER TABLE immutable.events ENABLE TRIGGER USER; "
                          "ALTER TABLE immutable.events ENABLE REPLICA TRIGGER \"~immutable_apply\"")

    def repair(self):
        with behind_triggers(self.conn):
            self.conn.execute("DELETE FROM immutable.events e USING kept k WHERE e.id = k.id AND e IS DISTINCT FROM k")
            self.conn.execute("INSERT INTO immutable.events SELECT * FROM kept k WHERE NOT EXISTS (SELECT FROM immutable.events e WHERE e.id = k.id)")

    def waits(self, seq, why, missing):
        """The other lanes are in the tree, and this one to where it is whole."""
        self.notes.append(checkpoint(self.conn))
        (tenant, lane, at, said), = rows(self.conn, PENDING)
        assert (tenant, lane, at) == ("t", 0, seq) and why in said
        tree = tree_of(self.conn)
        assert len(tree.missing) == missing and {place[0] for place in tree.missing} <= {"t"}
        check_notes(tree, self.notes, keys(self.conn))

    def heals(self):
        self.repair()
        self.notes.append(checkpoint(self.conn))
        assert rows(self.conn, PENDING) == []
        return check(self.conn, self.notes)


@pytest.fixture
def log(db):
    return Log(db)


DAMAGES = {
    "an event is gone": (f"DELETE FROM immutable.events WHERE {PLACE} = 6", 6, "seq 6 is missing", 2),
    "the first new one is gone": (f"DELETE FROM immutable.events WHERE {PLACE} = 5", 5, "seq 5 is missing", 3),
    "a broken link": (f"UPDATE immutable.events SET previous_event_hash = sha256('x') WHERE {PLACE} = 5", 5, "not the hash of the event before", 4),
    "a broken link later": (f"UPDATE immutable.events SET previous_event_hash = sha256('x') WHERE {PLACE} = 7", 7, "not the hash of the event before", 2),
    "no link": (f"UPDATE immutable.events SET previous_event_hash = NULL WHERE {PLACE} = 6", 6, "not the hash", 3),
    "a short link": (f"UPDATE immutable.events SET previous_event_hash = '\\x00' WHERE {PLACE} = 6", 6, "previous_event_hash is not 32 bytes", 3),
    "a short hash": (f"UPDATE immutable.events SET event_hash = '\\xabcd' WHERE {PLACE} = 6", 6, "event_hash is not 32 bytes", 3),
    "a long hash": (f"UPDATE immutable.events SET event_hash = event_hash || '\\x00' WHERE {PLACE} = 8", 8, "event_hash is not 32 bytes", 1),
    "a seq far away": (f"UPDATE immutable.events SET seq = 9223372036854775807 WHERE {PLACE} = 8", 8, "seq 8 is missing", 1),
    "a hole of many": (f"UPDATE immutable.events SET seq = seq + 1000000000 WHERE {PLACE} > 6", 7, "seq 7 is missing", 2),
    "a covered hash": (f"UPDATE immutable.events SET event_hash = sha256('x'), previous_event_hash = NULL WHERE {PLACE} = 5",
                       5, "not the hash of the event before", 4),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_an_event_that_does_not_follow_waits(log, case):
    statement, seq, why, missing = DAMAGES[case]
    log.damage(statement)
    log.waits(seq, why, missing)
    # And goes on waiting, while others are recorded.
    record(log.conn, tenant="a")
    log.waits(seq, why, missing)
    assert len(log.heals()) == 1 + 24 + 1 + len(rows(log.conn, "SELECT FROM immutable.events WHERE action LIKE 'immutable.%%' "
                                                     "AND action <> 'immutable.tree_begun'"))


def test_a_hash_that_was_forged_before_it_was_covered(log):
    """The tree has what was stored, as it cannot know better, and so shows it for ever: the lane does not go on."""
    log.damage(f"UPDATE immutable.events SET event_hash = sha256('x') WHERE {PLACE} = 6")
    log.waits(7, "not the hash of the event before", 2)
    log.repair()
    record(log.conn, tenant="a")
    log.notes.append(checkpoint(log.conn))
    assert [row[:3] for row in rows(log.conn, PENDING)] == [("t", 0, 7)]


def test_a_hash_that_is_null(log):
    log.conn.execute("ALTER TABLE immutable.events ALTER event_hash DROP NOT NULL")
    log.damage(f"UPDATE immutable.events SET event_hash = NULL WHERE {PLACE} = 7")
    log.waits(7, "event_hash is not 32 bytes", 2)
    log.heals()


def test_what_is_covered_never_changes(log):
    """A lane that was rewritten from a covered event on: the tree keeps what it has, and the lane waits."""
    before = rows(log.conn, "SELECT * FROM immutable.tree_runs ORDER BY 1")
    log.damage("UPDATE immutable.events SET event_hash = sha256(event_hash), previous_event_hash = sha256(previous_event_hash) "
               "WHERE tenant_id = 't' AND seq >= 3")
    log.notes.append(checkpoint(log.conn))
    assert [row[:3] for row in rows(log.conn, PENDING)] == [("t", 0, 5)]
    assert rows(log.conn, "SELECT * FROM immutable.tree_runs ORDER BY 1")[:len(before)] == before
    log.heals()


def test_a_tail_that_was_cut_off(log):
    log.damage(f"DELETE FROM immutable.events WHERE {PLACE} > 2")
    # Nothing new shows it; a comparison of all lanes does.
    log.notes.append(checkpoint(log.conn))
    assert rows(log.conn, PENDING) == []
    compare_all(log.conn)
    log.notes.append(checkpoint(log.conn))
    assert rows(log.conn, PENDING) == [("t", 0, 3, "the events that the tree has are no longer there")]
    log.heals()


def compare_all(conn):
    """As each day."""
    with behind_triggers(conn):
        conn.execute("UPDATE immutable.tree_position SET compared_at = now() - interval '25 hours'")


@pytest.mark.parametrize("xact", ["1", "3", "18446744073709551615", "9223372036854775808"])
def test_an_event_of_another_transaction(log, xact):
    """It comes with the next of its lane, and on the day's comparison at the latest."""
    log.damage(f"UPDATE immutable.events SET xact = '{xact}' WHERE {PLACE} >= 5")
    log.notes.append(checkpoint(log.conn))
    assert [place[0] for place in tree_of(log.conn).missing] == ["t"] * 4
    log.db.conn.execute("SELECT 1")
    compare_all(log.conn)
    log.notes.append(checkpoint(log.conn))
    check(log.conn, log.notes)


@pytest.mark.parametrize("xact", ["1", "18446744073709551615"])
def test_an_event_of_another_transaction_comes_with_the_next(log, xact):
    log.damage(f"UPDATE immutable.events SET xact = '{xact}' WHERE {PLACE} >= 5")
    log.notes.append(checkpoint(log.conn))
    record(log.conn, tenant="t")
    log.notes.append(checkpoint(log.conn))
    check(log.conn, log.notes)


def test_a_damaged_tenant(log):
    """Bytes that are no text of the database's encoding."""
    conn = log.conn
    conn.execute("CREATE CAST (bytea AS text) WITHOUT FUNCTION")
    log.damage(f"UPDATE immutable.events SET tenant_id = '\\xff'::bytea::text WHERE {PLACE} >= 5")
    log.notes.append(checkpoint(conn))
    (tenant, _, _, why), = rows(conn, PENDING)
    assert tenant == "" and why == "the tenant cannot be read"
    assert rows(conn, "SELECT sum(count) FROM immutable.tree_runs WHERE tenant_id IN ('a', 'z')") == [(16,)]
    log.notes.append(checkpoint(conn))
    log.repair()
    log.notes += [checkpoint(conn), checkpoint(conn)]
    check(conn, log.notes)


def test_the_first_checkpoint_of_a_damaged_log(db):
    """The tree vouches for nothing before it, and says so."""
    conn = db.conn
    for n in range(5):
        record(conn, f"{n}", "t")
    record(conn, tenant="u")
    with behind_triggers(conn):
        conn.execute("UPDATE immutable.events SET actor_id = 'forged' WHERE seq = 2")
        conn.execute("DELETE FROM immutable.events WHERE tenant_id = 't' AND seq = 4")
    note = checkpoint(conn)
    verified, = conn.execute("SELECT metadata -> 'verified' FROM immutable.events WHERE action = 'immutable.tree_begun'").fetchone()
    assert (verified["valid"], verified["events_checked"], verified["breaks_found"]) == (False, 5, 2)
    assert [row[:3] for row in rows(conn, PENDING)] == [("t", 0, 4)]
    assert parse(note).size == 3 + 1 + 1
    check_notes(tree_of(conn), [note], keys(conn))


def test_every_lane_is_damaged(db):
    """The smallest tree there can be is signed: it says nothing, and everything extends it."""
    conn = db.conn
    many_events(conn, 300, 300)
    conn.execute("SET immutable.sign_checkpoints = off")
    checkpoint(conn)
    many_events(conn, 300, 300)
    with behind_triggers(conn):
        conn.execute("UPDATE immutable.events SET previous_event_hash = sha256('x') WHERE seq = 2")
    conn.execute("SET immutable.sign_checkpoints = on")
    note = checkpoint(conn)
    assert rows(conn, "SELECT count(*) FROM immutable.tree_pending") == [(300,)] and parse(note).size == 301


TREES = {
    "size too large": "UPDATE immutable.tree SET size = size + 1",
    "size too small": "UPDATE immutable.tree SET size = size - 1",
    "size negative": "UPDATE immutable.tree SET size = -1",
    "size huge": "UPDATE immutable.tree SET size = 9223372036854775807",
    "another root": "UPDATE immutable.tree SET root = sha256('x')",
    "a short root": "UPDATE immutable.tree SET root = '\\x00'",
    "no head": "DELETE FROM immutable.tree",
    "a chunk is gone": "DELETE FROM immutable.tree_chunks",
    "a chunk is short": "UPDATE immutable.tree_chunks SET hashes = substr(hashes, 1, 31)",
    "a chunk is empty": "UPDATE immutable.tree_chunks SET hashes = ''",
    "a chunk of another place": "UPDATE immutable.tree_chunks SET first_index = first_index + 1",
    "another leaf in a chunk": "UPDATE immutable.tree_chunks SET hashes = set_byte(hashes, 0, 255 - get_byte(hashes, 0))",
    "no roots": "UPDATE immutable.tree_tiles SET root = ''",
    "other roots": "UPDATE immutable.tree_tiles SET root = sha256(root)",
    "tiles are gone": "DELETE FROM immutable.tree_tiles",
    "a run is gone": "DELETE FROM immutable.tree_runs WHERE first_index = (SELECT max(first_index) FROM immutable.tree_runs)",
    "a run in the middle is gone": "DELETE FROM immutable.tree_runs WHERE first_index = (SELECT max(first_index) FROM immutable.tree_runs WHERE tenant_id = 'a')",
    "a run is longer": "UPDATE immutable.tree_runs SET count = count + 1 WHERE tenant_id = 'a'",
    "a run is endless": "UPDATE immutable.tree_runs SET count = 9223372036854775807 WHERE tenant_id = 'a'",
    "a run of nothing": "UPDATE immutable.tree_runs SET count = 0 WHERE tenant_id = 'a'",
    "a run of less": "UPDATE immutable.tree_runs SET count = -5 WHERE tenant_id = 'a'",
    "runs of nobody": "DELETE FROM immutable.tree_runs",
}


@pytest.mark.parametrize("case", TREES)
def test_a_damaged_tree_is_not_signed(db, case):
    conn = db.conn
    many_events(conn, 600, 2)
    for n in range(3):
        record(conn, tenant="a")
    checkpoint(conn)
    with behind_triggers(conn):
        assert conn.execute(TREES[case]).rowcount > 0
    record(conn, tenant="a")
    compare_all(conn)
    before = [rows(conn, f"SELECT t::text FROM immutable.{table} t ORDER BY 1") for table in ("tree_notes", "tree_runs", "tree_tiles", "tree", "tree_chunks")]
    for _ in range(2):
        diag = refused(conn, "XX001", CALL)
        assert diag.message_hint
    assert before == [rows(conn, f"SELECT t::text FROM immutable.{table} t ORDER BY 1") for table in ("tree_notes", "tree_runs", "tree_tiles", "tree", "tree_chunks")]


@pytest.mark.parametrize("case", ["size too large", "size negative", "size huge", "another root", "a short root", "a chunk is gone",
                                  "other roots", "tiles are gone"])
def test_a_damaged_tree_is_not_signed_where_nothing_is_new(db, case):
    conn = db.conn
    many_events(conn, 600, 2)
    conn.execute("SET immutable.sign_checkpoints = off")
    checkpoint(conn)
    conn.execute("SET immutable.sign_checkpoints = on")
    with behind_triggers(conn):
        assert conn.execute(TREES[case]).rowcount > 0
    refused(conn, "XX001", CALL)
    assert rows(conn, "SELECT * FROM immutable.tree_notes") == []


@pytest.mark.parametrize("change", ["size = size + 5", "root = sha256('x')", "note = 'x'", "note = ''", "size = size - 1",
                                    "origin = 'other'", "note = replace(note, E'\\n\\n', E'\\n9\\n\\n')"])
def test_a_changed_note_never_leads_to_a_fork(db, change):
    conn = db.conn
    for n in range(5):
        record(conn)
    notes = [checkpoint(conn)]
    with behind_triggers(conn):
        conn.execute(f"UPDATE immutable.tree_notes SET {change}")
    for n in range(2):
        try:
            notes.append(checkpoint(conn))
        except (psycopg.errors.ObjectNotInPrerequisiteState, psycopg.errors.DataCorrupted):
            assert not change.startswith("origin")
        record(conn)
    check_notes(tree_of(conn), notes, keys(conn))


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "a\nb", "x" * 300, "other"])
def test_a_changed_origin_is_not_signed(db, origin):
    """The key's name is the old one."""
    conn = db.conn
    record(conn)
    checkpoint(conn)
    with behind_triggers(conn):
        conn.execute("UPDATE immutable.tree SET origin = %s", [origin])
    for _ in range(2):
        record(conn)
        with pytest.raises(psycopg.Error) as raised:
            checkpoint(conn)
        assert raised.value.sqlstate in ("55000", "XX001")
    assert rows(conn, "SELECT count(*) FROM immutable.tree_notes") == [(1,)]


@pytest.mark.parametrize("change", ["snapshot = 'x'", "snapshot = ''", "snapshot = '9:5:'", "snapshot = '1:18446744073709551615:'", "snapshot = NULL",
                                    "snapshot = '1:99999999999999999999999:5,x'", "compared_at = 'infinity'", "compared_at = '-infinity'",
                                    "timeline = 99", "database = 1", "system_identifier = 0"])
def test_a_damaged_position(db, change):
    conn = db.conn
    record(conn)
    notes = [checkpoint(conn)]
    with behind_triggers(conn):
        conn.execute(f"UPDATE immutable.tree_position SET {change}")
    record(conn, tenant=str(uuid.uuid4()))
    try:
        notes.append(checkpoint(conn))
    except psycopg.errors.ObjectNotInPrerequisiteState:
        assert change.split(" ")[0] in ("timeline", "database", "system_identifier")
    compare_all(conn)
    if len(notes) == 1:
        conn.execute("SELECT immutable.resume(%s)", [notes[0]])
    notes.append(checkpoint(conn))
    check(conn, notes)
