"""REINDEX, VACUUM FULL and CLUSTER beside the log's functions. Such a command locks a table, and then its indexes. So a
function that is to write a table must lock it before it reads anything of it: if it read first, it would hold what the
command waits for, while it waits for the command."""

import concurrent.futures
import time

import pytest

from conftest import Database
from helpers_log import behind_triggers
from helpers_sequencing import CALL, checkpoint, log_key, parse, signed, tlog
from helpers_servers import record, rows

TREE = ["tree", "tree_runs", "tree_tiles", "tree_chunks", "tree_notes", "tree_cosignatures", "witnesses", "log_keys",
        "log_secrets", "tree_position", "tree_pending"]
TABLES = ["events", "event_targets", "log", "cluster", "viewer_keys", "revocations", "tenant_grants", *TREE]

WITNESS = tlog.SignerKey("witness.example/w", bytes(range(32)), tlog.COSIGNATURE)
OTHER = tlog.SignerKey("witness.example/x", bytes(range(1, 33)), tlog.COSIGNATURE)


class Locks:
    """Calls functions while other sessions have locked all tables as REINDEX does, and release one after the other."""

    def __init__(self, db):
        self.db = db
        self.lockers = {table: db.connect(autocommit=False) for table in TABLES}

    def call(self, statement, *values, commit=False):
        """Calls the function, and gives the tables for which it waits. It must not have a lock on such a table or its
        indexes by then. The statement is rolled back, unless it commits by itself."""
        for table, locker in self.lockers.items():
            locker.execute(f"LOCK TABLE immutable.{table} IN SHARE MODE")
        waited, held = set(), []
        # A session of its own, because what a session knows of a table from before, it does not read again.
        with self.db.server.connect(self.db.name, autocommit=commit) as conn, \
                concurrent.futures.ThreadPoolExecutor() as executor:
            calling = executor.submit(conn.execute, statement, values)
            try:
                while not calling.done():
                    for table in self.waiting(conn.info.backend_pid):
                        waited.add(table)
                        held += self.held(conn.info.backend_pid, table)
                        self.lockers[table].rollback()
            finally:
                for locker in self.lockers.values():
                    locker.rollback()
            calling.result()
            conn.rollback()
        assert held == [], "it waits for a table of which it has a lock already"
        return waited

    def waiting(self, pid):
        """The tables that it waits for: one, or none yet."""
        return [table for table, in rows(self.db.conn, f"SELECT c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
                                         f"WHERE l.pid = {pid} AND NOT l.granted")]

    def held(self, pid, table):
        return rows(self.db.conn, f"""
            SELECT '{table}', l.relation::regclass::text, l.mode FROM pg_locks l
            WHERE l.pid = {pid} AND l.granted AND (l.relation = 'immutable.{table}'::regclass
              OR l.relation IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'immutable.{table}'::regclass))""")


@pytest.fixture(scope="module")
def log(server):
    """A log with events of several kinds, a tree, a witness, and a checkpoint that it has cosigned."""
    database = Database(server)
    conn = database.conn
    for n in range(3):
        record(conn, f"a.{n}", targets='[{"type": "t", "id": "u1"}]')
    conn.execute("SELECT immutable.add_witness(%s)", [str(WITNESS.verifier)])
    checkpoint(conn)
    conn.execute("CREATE ROLE locks_reader LOGIN")
    yield database
    database.close()
    with server.connect() as admin:
        admin.execute("DROP ROLE locks_reader")


@pytest.fixture(scope="module")
def locks(log):
    return Locks(log)


def note_of(log):
    (note,), = rows(log.conn, "SELECT note FROM immutable.tree_notes ORDER BY size DESC LIMIT 1")
    return note


CHECKPOINT = {"tree", "tree_runs", "tree_chunks", "tree_notes", "tree_position"}


def test_a_checkpoint(log, locks):
    record(log.conn)
    assert CHECKPOINT <= locks.call(CALL, commit=True)


def test_the_first_checkpoint(db):
    record(db.conn)
    assert {*CHECKPOINT, "events", "log_keys", "log_secrets"} <= Locks(db).call(CALL, commit=True)


def stolen(log):
    """The log's own key."""
    (secret,), = rows(log.conn, "SELECT secret FROM immutable.log_secrets")
    return tlog.SignerKey(parse(note_of(log)).origin, tlog.decode(secret.split("+", 4)[4], "key")[1:])


def fork(log):
    return signed(stolen(log), tlog.Checkpoint(parse(note_of(log)).origin, 1, b"f" * 32).text())


def cosignature(log):
    return WITNESS.sign(tlog.read_note(note_of(log).encode()).text, int(time.time()))


def damage(log):
    with behind_triggers(log.conn):
        log.conn.execute("UPDATE immutable.tree_chunks SET hashes = hashes || hashes")


def mend(log):
    log.conn.execute("SELECT immutable.rebuild_tiles()")


CALLS = {
    "add_checkpoint": ("immutable.add_checkpoint(%s)", lambda log: [note_of(log)], {"tree_notes"}),
    "add_log_key": ("immutable.add_log_key(%s)", lambda log: [str(log_key(parse(note_of(log)).origin).verifier)], {"log_keys", "events"}),
    "add_witness": ("immutable.add_witness(%s)", lambda log: [str(OTHER.verifier)], {"witnesses", "events"}),
    "remove_witness": ("immutable.remove_witness(%s)", lambda log: [str(WITNESS.verifier)], {"witnesses", "events"}),
    "add_cosignature": ("immutable.add_cosignature(%s, %s)", lambda log: [parse(note_of(log)).size, cosignature(log)], {"tree_cosignatures"}),
    "rotate_log_key": ("immutable.rotate_log_key()", lambda log: [], {"log_keys", "log_secrets", "events"}),
    "resume": ("immutable.resume(%s)", lambda log: [note_of(log)], {"tree_position", "events"}),
    "begin_incarnation": ("immutable.begin_incarnation('r', %s)", lambda log: [note_of(log)],
                          {"tree", "log_keys", "log_secrets", "tree_position", "events"}),
    "report_checkpoint": ("immutable.report_checkpoint(%s)", lambda log: [fork(log)], {"tree_position", "events"}),
    "rebuild_tiles": ("immutable.rebuild_tiles()", lambda log: [], {"tree_chunks", "events"}),
    "create_viewer_token": ("immutable.create_viewer_token('t')", lambda log: [], {"viewer_keys"}),
    "rotate_viewer_key": ("immutable.rotate_viewer_key()", lambda log: [], {"viewer_keys", "events"}),
    "revoke_viewer_token": ("immutable.revoke_viewer_token('a jti')", lambda log: [], {"revocations", "events"}),
    "revoke_viewer_tokens": ("immutable.revoke_viewer_tokens('t', 'u1')", lambda log: [], {"revocations", "events"}),
    "grant_tenant": ("immutable.grant_tenant('locks_reader', 't')", lambda log: [], {"tenant_grants", "events"}),
    "revoke_tenant": ("immutable.revoke_tenant('locks_reader')", lambda log: [], {"tenant_grants", "events"}),
    "erase": ("immutable.erase(%s, 't', '{targets.0}', 'r')", lambda log: [
        rows(log.conn, "SELECT id FROM immutable.events WHERE action = 'a.1'")[0][0]], {"events", "event_targets"}),
    "erase_subject": ("immutable.erase_subject('t', 'u1', 'r', dry_run => false)", lambda log: [], {"events", "event_targets"}),
    "record_restore": ("immutable.record_restore('r')", lambda log: [], {"cluster", "events"}),
    "track": ("immutable.track('u1', 'a', tenant_id => 't', targets => '[{\"type\": \"t\", \"id\": \"u1\"}]')", lambda log: [],
              {"events", "event_targets"}),
    "track with a key": ("immutable.track('u1', 'a', tenant_id => 't', idempotency_key => 'k', targets => "
                         "'[{\"type\": \"t\", \"id\": \"u1\"}]')", lambda log: [], {"events", "event_targets"}),
}

BEFORE = {"rebuild_tiles": (damage, mend),
          "revoke_tenant": (lambda log: log.conn.execute("SELECT immutable.grant_tenant('locks_reader', 't')"),
                            lambda log: log.conn.execute("SELECT immutable.revoke_tenant('locks_reader')"))}


@pytest.mark.parametrize("name", CALLS)
def test_a_function(log, locks, name):
    call, values, written = CALLS[name]
    before, after = BEFORE.get(name, (lambda log: None, lambda log: None))
    before(log)
    try:
        waited = locks.call(f"SELECT {call}", *values(log))
    finally:
        after(log)
    assert written <= waited


@pytest.mark.parametrize("call", ["track('u1', 'a', tenant_id => 't')", "record_restore('r')", "rotate_viewer_key()"])
def test_the_first_event(locks_of_no_event, call):
    """It makes the identity of the log."""
    assert {"events", "log"} <= locks_of_no_event.call(f"SELECT immutable.{call}")


@pytest.fixture(scope="module")
def locks_of_no_event(server):
    database = Database(server)
    yield Locks(database)
    database.close()
