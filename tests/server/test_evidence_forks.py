"""The log never signs two checkpoints that do not extend each other: not after a crash, and not on a server that was
restored, promoted or copied, until somebody says how it goes on there."""

import hashlib
import os
import pathlib
import random
import shutil
import threading
import time

import psycopg
import pytest

from conftest import Cluster
from helpers_log import behind_triggers
from helpers_sequencing import CALL, HELD, check, check_notes, checkpoint, keys, parse, refused, tlog, tree_of
from helpers_servers import Copy, as_server, is_valid, record, rows, seams, wait_for, write_file
from test_evidence_checkpoint import many_events
from test_write_replica import caught_up
from test_write_restore import dump, restore, target  # noqa: F401

ROUNDS = 12


def create(server):
    conn = server.connect()
    conn.execute("CREATE EXTENSION immutable")
    record(conn)
    return conn


def held(conn):
    """Events come into the tree, and nothing is signed."""
    record(conn)
    notes = rows(conn, "SELECT * FROM immutable.tree_notes ORDER BY origin, size")
    diag = refused(conn, "55000", CALL)
    assert HELD in diag.message_primary and "The events are in the tree" in diag.message_detail
    assert "resume()" in diag.message_hint and "begin_incarnation()" in diag.message_hint
    refused(conn, "55000", CALL)
    tree = tree_of(conn)
    assert tree.missing == []
    assert rows(conn, "SELECT * FROM immutable.tree_notes ORDER BY origin, size") == notes
    return tree


def resume(conn, note):
    conn.execute("SELECT immutable.resume(%s)", [note])
    metadata, = conn.execute("SELECT metadata FROM immutable.events WHERE action = 'immutable.signing_resumed' "
                             "ORDER BY created_at DESC LIMIT 1").fetchone()
    place = parse(note)
    assert metadata == {"origin": place.origin, "size": place.size, "root": tlog.encode(place.root)}
    return checkpoint(conn)


def begin_incarnation(conn, *arguments):
    """Another name and another key, and the same tree."""
    old, known = parse(rows(conn, "SELECT immutable.tree_head() || E'\\n\u2014 x aaaaaaaa\\n'")[0][0]), keys(conn)
    origin, = conn.execute(f"SELECT immutable.begin_incarnation({', '.join(['%s'] * len(arguments))})", arguments).fetchone()
    log_id, = conn.execute("SELECT log_id::text FROM immutable.log").fetchone()
    base, _, suffix = origin.rpartition("/")
    assert base == f"immutable/{log_id}" and len(bytes.fromhex(suffix)) == 8 and origin != old.origin
    metadata, = conn.execute("SELECT metadata FROM immutable.events WHERE action = 'immutable.incarnation_begun' "
                             "ORDER BY created_at DESC LIMIT 1").fetchone()
    vkey, = conn.execute("SELECT immutable.verifier_key()").fetchone()
    key = tlog.read_vkey(vkey)
    assert key.name == origin and key.public not in [other.public for other in known]
    assert metadata.items() >= {"reason": arguments[0], "origin": origin, "vkey": vkey, "old_origin": old.origin,
                                "old_size": old.size, "old_root": tlog.encode(old.root)}.items()
    note = checkpoint(conn)
    assert parse(note).origin == origin and parse(note).size > old.size
    return note


class Caller(threading.Thread):
    """Calls checkpoint() until the server is gone, and keeps every note it was given."""

    def __init__(self, server, number):
        super().__init__(daemon=True)
        self.conn = server.connect(options="-c synchronous_commit=off")
        self.number, self.notes = number, []

    def run(self):
        try:
            while True:
                record(self.conn, tenant=f"t{self.number}")
                self.notes.append(checkpoint(self.conn))
        except psycopg.OperationalError:
            pass


def test_a_kill_right_after_a_checkpoint_loses_no_signed_event(cluster):
    """With synchronous_commit = off, where what was recorded may be lost."""
    server = cluster(synchronous_commit="off", wal_writer_delay="10s", autovacuum_naptime="1s")
    create(server).close()
    notes, randomly = [], random.Random(7)
    for _ in range(ROUNDS):
        callers = [Caller(server, number) for number in range(3)]
        before = len(notes)
        for caller in callers:
            caller.start()
        while sum(len(caller.notes) for caller in callers) < randomly.randint(1, 30):
            time.sleep(0.001)
        server.kill9()
        for caller in callers:
            caller.join(30)
            notes += caller.notes
        assert len(notes) > before
        server.start()
        with server.connect() as conn:
            # What was signed is there, before anything more is.
            check_notes(tree_of(conn), notes, keys(conn))
            record(conn, tenant="after")
            notes.append(checkpoint(conn))
            check(conn, notes)
            assert is_valid(conn)


def call(conn):
    try:
        checkpoint(conn)
    except psycopg.OperationalError:
        pass


def test_a_kill_in_a_first_checkpoint(cluster):
    """It goes on where it was, and what it had not finished was never signed."""
    server = cluster(synchronous_commit="off")
    conn = create(server)
    many_events(conn, 90_000, 11)
    conn.execute("CHECKPOINT")
    size = "SELECT coalesce(max(size), 0) FROM immutable.tree"
    unfinished, randomly = [], random.Random(8)
    for n in range(12):
        begun, = conn.execute(size).fetchone()
        thread = threading.Thread(target=call, args=[server.connect()])
        thread.start()
        if n:
            # Something more is committed.
            while thread.is_alive() and conn.execute(size).fetchone()[0] == begun:
                pass
        time.sleep(randomly.random() * 0.02)
        server.kill9()
        thread.join(30)
        server.start()
        conn = server.connect()
        if rows(conn, "SELECT count(*) FROM immutable.tree_notes") != [(0,)]:
            break
        if rows(conn, "SELECT count(*) FROM immutable.tree") == [(1,)]:
            unfinished.append(len(tree_of(conn)))
    # On a busy machine the first call may have finished before it was killed, or have everything but the note.
    (events,), = rows(conn, "SELECT count(*) FROM immutable.events")
    assert unfinished == sorted(unfinished) and all(size <= events for size in unfinished)
    note = checkpoint(conn)
    assert len(check(conn, [note])) >= 90_001
    assert rows(conn, "SELECT count(*) FROM immutable.events WHERE action = 'immutable.tree_begun'") == [(1,)]
    assert rows(conn, "SELECT size FROM immutable.tree_notes") == [(parse(note).size,)]


def test_out_of_disk(cluster):
    """A file that cannot grow: no step is committed by half."""
    server = cluster()
    conn = create(server)
    first = checkpoint(conn)
    many_events(conn, 200_000)
    caller = server.connect()
    # The limit is for this backend alone; WAL segments, of 16 MB, stay possible.
    size = rows(conn, "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'immutable.tree_tiles'::regclass")[0][0]
    assert size < 1 << 20
    conn.execute("ALTER SYSTEM SET wal_recycle = off")
    as_server("prlimit", "--pid", caller.info.backend_pid, f"--fsize={3 << 20}")
    with pytest.raises(psycopg.Error) as raised:
        caller.execute("SET synchronous_commit = off")
        checkpoint(caller)
    assert "could not" in str(raised.value) or "terminat" in str(raised.value) or "closed" in str(raised.value)
    deadline = time.monotonic() + 60
    while True:
        try:
            # Where the limit ended the backend, the server may be about to restart.
            conn = server.connect()
            tree_of(conn)
            break
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.5)
    check(conn, [first, checkpoint(conn)])


def fill(db):
    for tenant in ("", "t", "o'x\\y"):
        for n in range(150):
            record(db.conn, f"a.{n}", tenant)
    notes = [checkpoint(db.conn)]
    record(db.conn, "later")
    notes.append(checkpoint(db.conn))
    notes.append(cosign(db.conn, notes[0]))
    return notes


def cosign(conn, note):
    """A witness's line that is stored, so that the checkpoint is kept."""
    place = parse(note)
    key = tlog.SignerKey("witness.example/w", bytes(range(32)), tlog.COSIGNATURE)
    line = key.sign(tlog.read_note(note.encode()).text, int(time.time()))
    with behind_triggers(conn):
        conn.execute("INSERT INTO immutable.witnesses VALUES (%s, %s, now(), 'x') ON CONFLICT DO NOTHING",
                     [str(key.verifier), key.verifier.name])
        conn.execute("INSERT INTO immutable.tree_cosignatures (origin, size, vkey, witness, cosigned_at, line) "
                     "VALUES (%s, %s, %s, %s, now(), %s)", [place.origin, place.size, str(key.verifier), key.verifier.name, line])
    (stored,), = rows(conn, f"SELECT note FROM immutable.checkpoints WHERE size = {place.size}")
    assert stored == note + line
    return stored


RESTORED = ["tree", "tree_runs", "tree_tiles", "tree_chunks", "tree_notes", "tree_cosignatures", "witnesses", "log_keys"]
OWN = ["log_secrets", "tree_position", "tree_pending"]


def compare(there, here):
    for table in RESTORED:
        query = f"SELECT t::text FROM immutable.{table} t ORDER BY 1"
        assert rows(here, query) == rows(there, query) != [], table
    for table in OWN:
        assert rows(here, f"SELECT * FROM immutable.{table}") == []


FORMS = {"plain": [], "inserts": ["--column-inserts"], "custom": ["-F", "c"], "directory": ["-F", "d"]}


@pytest.mark.parametrize("form", FORMS)
def test_a_dump_has_the_tree_and_no_key(db, server, target, tmp_path, form):  # noqa: F811
    notes = fill(db)
    secret, = db.conn.execute("SELECT secret FROM immutable.log_secrets").fetchone()
    path = dump(db, tmp_path / "dump", *FORMS[form])
    if form in ("plain", "inserts"):
        assert "PRIVATE" not in path.read_text() and secret[-20:] not in path.read_text()
        restore(server, "psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", target, "-f", path)
    else:
        restore(server, "pg_restore", "-e", "-d", target, "-j", "4", path)
    with server.connect(target) as restored:
        compare(db.conn, restored)
        held(restored)
        check_notes(tree_of(restored), notes, keys(restored))
        diag = refused(restored, "55000", "SELECT immutable.resume(%s)", [notes[1]])
        assert "private key" in diag.message_primary and "begin_incarnation" in diag.message_hint
        notes.append(begin_incarnation(restored, "the server burned", notes[1]))
        assert rows(restored, "SELECT metadata ->> 'note' FROM immutable.events WHERE action = 'immutable.incarnation_begun'") == [(notes[1],)]
        record(restored)
        notes.append(checkpoint(restored))
        check(restored, notes)
    # The log that was dumped goes on under its own name.
    record(db.conn)
    checkpoint(db.conn)
    check(db.conn, notes[:3])


def test_sections_and_data_alone(db, server, target, tmp_path):  # noqa: F811
    notes = fill(db)
    path = dump(db, tmp_path / "dump", "-F", "c")
    for section in ("pre-data", "data", "post-data"):
        restore(server, "pg_restore", "-e", "-d", target, f"--section={section}", path)
    with server.connect(target) as restored:
        compare(db.conn, restored)
        restored.execute("SET immutable.allow_ddl = on; SET immutable.restore = on; DROP EXTENSION immutable; "
                         "CREATE EXTENSION immutable")
    restore(server, "pg_restore", "-e", "-d", target, "--data-only", path)
    with server.connect(target) as restored:
        compare(db.conn, restored)
        held(restored)
        begin_incarnation(restored, "restored")
        check(restored, notes)


@pytest.mark.parametrize("lost", [["tree"], ["tree_runs"], ["tree_tiles"], ["tree_chunks"], ["tree", "tree_runs", "tree_tiles", "tree_chunks"]])
def test_a_part_of_the_tree_is_not_signed(db, server, target, tmp_path, lost):  # noqa: F811
    notes = fill(db)
    path = dump(db, tmp_path / "dump", "-F", "c", *(f"--exclude-table-data=immutable.{table}" for table in lost))
    restore(server, "pg_restore", "-e", "-d", target, path)
    with server.connect(target) as restored:
        record(restored)
        if len(lost) == 1:
            diag = refused(restored, "XX001", CALL)
            assert "the stored tree of the log is damaged" in diag.message_primary and diag.message_hint
            if lost[0] in ("tree_tiles", "tree_chunks"):
                for function in ("resume", "report_checkpoint"):
                    refused(restored, "XX001", f"SELECT immutable.{function}(%s)", [notes[1]])
                assert rows(restored, "SELECT count(*) FROM immutable.events WHERE action = 'immutable.fork_reported'") == [(0,)]
            assert rows(restored, "SELECT count(*) FROM immutable.tree_notes") == [(2,)]
        else:
            # The tree begins anew, under a name that nobody else has.
            note = checkpoint(restored)
            origin = parse(note).origin
            assert origin.startswith(parse(notes[0]).origin + "/") and tlog.read_vkey(
                rows(restored, "SELECT immutable.verifier_key()")[0][0]).name == origin
            assert tree_of(restored).missing == []


def test_the_key_file_comes_along(db, server, target, tmp_path):  # noqa: F811
    """Where the keys are in a file, a restored log may resume: whoever says so answers for it."""
    place = pathlib.Path(os.environ["IMMUTABLE_CLUSTERS"]) / f"keys_{os.getpid()}"
    write_file(place, "11" * 32 + "\n")
    place.chmod(0o600)
    try:
        db.conn.execute(f"ALTER SYSTEM SET immutable.log_key_file = '{place}'")
        db.conn.execute("SELECT pg_reload_conf()")
        conn = db.connect()
        wait_for(conn, f"SELECT current_setting('immutable.log_key_file') = '{place}'")
        db.conn.execute("SELECT 1")
        notes = fill(db)
        assert rows(db.conn, "SELECT * FROM immutable.log_secrets") == []
        path = dump(db, tmp_path / "dump", "-F", "c")
        restore(server, "pg_restore", "-e", "-d", target, path)
        with server.connect(target) as restored:
            for note, state in ((notes[1].replace("immutable/", "other/"), "22023"), ("x", "22023"), (None, "22004"),
                                (tlog.Checkpoint(*parse(notes[1])[:2], b"0" * 32).text() + "\n" + notes[1].split("\n\n")[1], "22023")):
                refused(restored, state, "SELECT immutable.resume(%s)", [note])
            held(restored)
            notes.append(resume(restored, notes[1]))
            check(restored, notes)
            diag = refused(restored, "55000", "SELECT immutable.begin_incarnation('with the old key')")
            assert "before" in diag.message_primary and "new key" in diag.message_hint
    finally:
        db.conn.execute("ALTER SYSTEM RESET immutable.log_key_file")
        db.conn.execute("SELECT pg_reload_conf()")
        place.unlink()


def test_a_standby_that_has_everything(cluster):
    primary = cluster(wal_level="replica")
    writer = create(primary)
    notes = [checkpoint(writer)]
    copy = Copy(primary)
    try:
        copy.begin()
        many_events(writer, 600, 3)
        notes.append(checkpoint(writer))
        standby = copy.connect()
        caught_up(writer, standby)
        assert rows(standby, "SELECT immutable.tree_head(), immutable.verifier_key()") == rows(
            writer, "SELECT immutable.tree_head(), immutable.verifier_key()")
        for statement in (CALL, "SELECT immutable.resume('x')", "SELECT immutable.begin_incarnation('x')",
                          "SELECT immutable.rotate_log_key()", "SELECT immutable.report_checkpoint('x')",
                          "SELECT immutable.add_checkpoint('x')", "SELECT immutable.add_log_key('x')"):
            refused(standby, "25006", statement)
        writer.close()
        primary.stop("immediate")
        standby.execute("SELECT pg_promote()")
        wait_for(standby, "SELECT NOT pg_is_in_recovery()")
        held(standby)
        notes.append(resume(standby, notes[-1]))
        check(standby, notes)
        assert parse(notes[-1]).origin == parse(notes[0]).origin
        # Also when everything stops and starts again.
        copy.stop()
        copy.start()
        with copy.connect() as conn:
            record(conn)
            notes.append(checkpoint(conn))
            check(conn, notes)
    finally:
        copy.destroy()


def test_a_standby_that_misses_what_was_signed(cluster):
    primary = cluster(wal_level="replica")
    writer = create(primary)
    notes = [checkpoint(writer)]
    copy = Copy(primary)
    try:
        copy.begin()
        standby = copy.connect()
        caught_up(writer, standby)
        standby.close()
        copy.stop()
        record(writer, "lost")
        lost = checkpoint(writer)
        writer.close()
        primary.stop("immediate")
        copy.start()
        standby = copy.connect()
        standby.execute("SELECT pg_promote()")
        wait_for(standby, "SELECT NOT pg_is_in_recovery()")
        held(standby)
        refused(standby, "55000", "SELECT immutable.resume(%s)", [lost])
        # In the place of the lost event is another one: that would be the fork.
        many_events(standby, 5)
        tree = held(standby)
        assert parse(lost).size <= len(tree) and parse(lost).root != tree.root(parse(lost).size)
        refused(standby, "55000", "SELECT immutable.resume(%s)", [lost])
        notes.append(begin_incarnation(standby, "an event was lost", lost))
        check(standby, notes)
    finally:
        copy.destroy()


def test_a_copied_directory_is_found_by_another_note(cluster):
    """Nothing shows the copy that it is one. The notes of both that somebody outside compares do."""
    first = cluster(wal_level="replica")
    writer = create(first)
    notes = [checkpoint(writer)]
    writer.execute("CHECKPOINT")
    first.stop()
    second = Copy.__new__(Copy)
    Cluster.__init__(second, first.major)
    try:
        second.stop()
        shutil.rmtree(second.data)
        as_server("cp", "-a", first.data, second.data)
        configuration = second.data / "postgresql.conf"
        configuration.write_text(configuration.read_text().replace(str(first.host), str(second.host)))
        first.start()
        second.start()
        here, there = first.connect(), second.connect()
        record(here, "here")
        record(there, "there")
        ours, theirs = checkpoint(here), checkpoint(there)
        assert parse(ours)[:2] == parse(theirs)[:2] and parse(ours).root != parse(theirs).root
        # Each one's own, and what both extend, fits.
        for note in (notes[0], ours):
            assert rows(here, "SELECT immutable.report_checkpoint(%s)".replace("%s", f"'{note}'")) == [(True,)]
        assert checkpoint(here) == ours
        assert here.execute("SELECT immutable.report_checkpoint(%s)", [theirs]).fetchone() == (False,)
        metadata, = here.execute("SELECT metadata FROM immutable.events WHERE action = 'immutable.fork_reported'").fetchone()
        assert (metadata["size"], metadata["own_size"]) == (parse(theirs).size, parse(ours).size)
        held(here)
        refused(here, "55000", "SELECT immutable.resume(%s)", [theirs])
        begin_incarnation(here, "there was a copy", theirs)
        check(here, [notes[0], ours])
        # A note from the future of the other one is none of ours.
        assert there.execute("SELECT immutable.report_checkpoint(%s)", [ours]).fetchone() == (False,)
        held(there)
    finally:
        second.destroy()


def test_a_database_made_from_a_template_does_not_sign(db, server):
    record(db.conn)
    notes = [checkpoint(db.conn)]
    for conn in db.connections:
        conn.close()
    name = f"{db.name}_copy"
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {db.name}")
        try:
            with server.connect(name) as copy:
                held(copy)
                begin_incarnation(copy, "a copy of its own")
                check(copy, notes)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    with server.connect(db.name) as conn:
        record(conn)
        notes.append(checkpoint(conn))
        check(conn, notes)


def test_copies_from_before_the_first_checkpoint_take_other_names(db, server):
    record(db.conn)
    for conn in db.connections:
        conn.close()
    name = f"{db.name}_copy"
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {db.name}")
        try:
            with server.connect(name) as copy, server.connect(db.name) as original:
                here, there = checkpoint(copy), checkpoint(original)
                assert parse(here).origin.startswith(parse(there).origin + "/") and len(seams(copy)) == 1
                check(copy, [here])
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("published", ["events", "all"])
def test_a_subscriber(cluster, published):
    """A copy signs nothing. When it takes over, it has no key and no place; without the tree, it begins one of its own."""
    publisher, subscriber = cluster(wal_level="logical"), cluster()
    there, here = create(publisher), subscriber.connect()
    notes = [checkpoint(there)]
    tables = "ALL TABLES" if published == "all" else "TABLE immutable.log, immutable.events, immutable.event_targets"
    there.execute(f"CREATE PUBLICATION audit FOR {tables}")
    here.execute("CREATE EXTENSION immutable")
    here.execute(f"CREATE SUBSCRIPTION audit CONNECTION '{publisher.dsn()}' PUBLICATION audit")
    wait_for(here, "SELECT count(*) > 0 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel")
    for n in range(3):
        many_events(there, 100, 3)
        notes.append(checkpoint(there))
    there.execute("SELECT immutable.rotate_log_key(0)")
    notes += [checkpoint(there), checkpoint(there)]
    lsn, = there.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    record(there)
    wait_for(there, f"SELECT confirmed_flush_lsn > '{lsn}' FROM pg_replication_slots WHERE slot_name = 'audit'")
    wait_for(here, "SELECT count(*) = %d FROM immutable.events" % there.execute("SELECT count(*) FROM immutable.events").fetchone())
    assert rows(here, "SELECT * FROM immutable.log_secrets") == rows(here, "SELECT * FROM immutable.tree_position") == []
    for statement in (CALL,):
        diag = refused(here, "25006", statement)
        assert "DROP SUBSCRIPTION" in diag.message_hint
    here.execute("DROP SUBSCRIPTION audit")
    if published == "all":
        held(here)
        begin_incarnation(here, "taken over")
        check(here, notes)
    else:
        note = checkpoint(here)
        assert parse(note).origin.startswith(parse(notes[0]).origin + "/")
        check(here, [note])
    for conn in (there, here):
        conn.close()


def test_point_in_time_recovery(cluster):
    archive = pathlib.Path(os.environ["IMMUTABLE_CLUSTERS"]) / f"archive_of_notes_{os.getpid()}"
    shutil.rmtree(archive, ignore_errors=True)
    archive.mkdir()
    if os.geteuid() == 0:
        shutil.chown(archive, "postgres")
    primary = cluster(archive_mode="on", archive_command=f"cp %p {archive}/%f", wal_level="replica")
    copy = None
    try:
        conn = create(primary)
        copy = Copy(primary)
        notes = [checkpoint(conn)]
        record(conn, "kept")
        notes.append(checkpoint(conn))
        conn.execute("SELECT pg_create_restore_point('here')")
        record(conn, "lost")
        lost = checkpoint(conn)
        conn.execute("SELECT pg_switch_wal()")
        wait_for(conn, "SELECT last_archived_wal IS NOT NULL AND archived_count >= 2 FROM pg_stat_archiver")
        conn.close()
        primary.stop()
        (copy.data / "standby.signal").unlink()
        write_file(copy.data / "recovery.signal")
        copy.begin(restore_command=f"cp {archive}/%f %p", recovery_target_name="here", recovery_target_action="promote",
                   archive_mode="off")
        with copy.connect() as restored:
            wait_for(restored, "SELECT NOT pg_is_in_recovery()")
            held(restored)
            diag = refused(restored, "55000", "SELECT immutable.resume(%s)", [lost])
            assert "does not extend" in diag.message_primary
            # Not even after as many events as were lost.
            many_events(restored, 10)
            held(restored)
            refused(restored, "55000", "SELECT immutable.resume(%s)", [lost])
            # Whoever says that nothing was lost is believed, as long as nothing contradicts it.
            notes.append(begin_incarnation(restored, "recovered to a point in time", lost))
            check(restored, notes)
    finally:
        if copy:
            copy.destroy()
        shutil.rmtree(archive, ignore_errors=True)


def test_checkpoints_of_events_that_were_lost_do_not_hide_those_of_today(db):
    """After a recovery that lost events, the notes of the old name are larger than any of today."""
    conn = db.conn
    record(conn)
    conn.execute("CALL immutable.checkpoint(NULL)")
    origin, secret = conn.execute("SELECT t.origin, s.secret FROM immutable.tree t, immutable.log_secrets s").fetchone()
    key = tlog.SignerKey(origin, tlog.decode(secret.split("+", 4)[4], "the key")[1:])
    with behind_triggers(conn):
        for size in range(1000, 1040):
            root = hashlib.sha256(str(size).encode()).digest()
            text = tlog.Checkpoint(origin, size, root).text()
            conn.execute("INSERT INTO immutable.tree_notes VALUES (%s, %s, %s, now(), %s)",
                         [origin, size, root, f"{text}\n{key.sign(text)}"])
    conn.execute("SELECT immutable.begin_incarnation('events were lost')")
    conn.execute("CALL immutable.checkpoint(NULL)")
    size, = conn.execute("SELECT size FROM immutable.tree").fetchone()
    assert conn.execute("SELECT valid, checkpoint_size FROM immutable.verify_chain()").fetchone() == (True, size)
