"""The keys that sign checkpoints: where they are, who sees them, and how one follows another."""

import os
import pathlib

import pytest

from helpers_log import behind_triggers
from helpers_sequencing import CALL, HELD, check, checkpoint, keys, log_key, parse, refused, signed, tlog
from helpers_servers import record, rows, wait_for, write_file

SECRETS = ["11" * 32, "22" * 32, "33" * 32]


class Keys:
    """A server whose keys are in a file."""

    def __init__(self, make):
        self.server = make(log_statement="all", log_min_duration_statement="0", log_min_messages="debug1",
                           log_error_verbosity="verbose")
        self.conn = self.server.connect()
        self.conn.execute("CREATE EXTENSION immutable")
        record(self.conn)
        self.file = self.server.data.parent / "log_keys"

    def write(self, *lines, mode=0o600):
        write_file(self.file, "".join(f"{line}\n" for line in lines))
        self.file.chmod(mode)
        self.use(self.file)

    def use(self, name):
        literal = str(name).replace("'", "''")
        self.conn.execute(f"ALTER SYSTEM SET immutable.log_key_file = '{literal}'")
        self.conn.execute("SELECT pg_reload_conf()")
        wait_for(self.conn, f"SELECT current_setting('immutable.log_key_file') = '{literal}'")

    def signers(self, note):
        """The seeds, by their first digit, of the keys that signed."""
        lines = tlog.open_note(tlog.read_note(note.encode()), keys(self.conn))
        by_public = {tlog.SignerKey("x", bytes.fromhex(secret)).verifier.public: secret[0] for secret in SECRETS}
        return [by_public[line.key.public] for line in lines]


@pytest.fixture
def files(cluster):
    return Keys(cluster)


def named(secret, origin="any.name"):
    return tlog.SignerKey(origin, bytes.fromhex(secret)).skey()


def test_files_that_cannot_be_used(files):
    conn, state = files.conn, pathlib.Path(files.file).parent
    directory, fifo, loose = state / "directory", state / "fifo", state / "loose"
    directory.mkdir()
    os.mkfifo(fifo)
    inside = files.server.data / "log_keys"
    link = state / "link"
    link.symlink_to(inside)
    for path in (inside, loose):
        write_file(path, SECRETS[0] + "\n")
        path.chmod(0o600)
    cases = {"relative": ("not absolute", "log_keys"), "missing": ("No such file", state / "none"),
             "directory": ("no plain file", directory), "FIFO": ("no plain file", fifo), "device": ("no plain file", "/dev/zero"),
             "inside": ("in the data directory", inside), "link inside": ("in the data directory", link),
             "dots": ("in the data directory", f"{state}/../{state.name}/data/log_keys")}
    for case, (why, name) in cases.items():
        files.use(name)
        diag = refused(conn, "55000", CALL)
        assert "immutable.log_key_file" in diag.message_primary and why in diag.message_primary and diag.message_hint, case
    for mode in (0o640, 0o604, 0o620, 0o601):
        loose.chmod(mode)
        files.use(loose)
        assert "chmod 600" in refused(conn, "55000", CALL).message_hint
    for lines, why in (([], "has no key"), (["", "# only a comment"], "has no key"), (["x"], "number 1 is malformed"),
                       ([SECRETS[0][:-1]], "number 1 is malformed"), ([SECRETS[0], "", SECRETS[1] + "00"], "number 2 is malformed"),
                       ([named(SECRETS[0])[:-4]], "malformed"), ([named(SECRETS[0]).replace("+", "-")], "malformed"),
                       (["\x00\x01"], "malformed"), (["# " + "x" * 70_000], "more than 64 kB")):
        files.write(*lines)
        diag = refused(conn, "55000", CALL)
        assert why in diag.message_primary and diag.message_hint, lines
        assert SECRETS[0][:10] not in str(diag.message_primary) + str(diag.message_hint) + str(diag.message_detail)
    files.file.write_bytes(b"\xff\xfe\n")
    assert "no text" in refused(conn, "55000", CALL).message_primary
    assert rows(conn, "SELECT count(*) FROM immutable.tree") == [(0,)]
    # And one that can.
    files.write("# the key of the log", "", f"  {SECRETS[0]}  ")
    check(conn, [checkpoint(conn)])
    link.unlink()


@pytest.mark.parametrize("form", ["digits", "named"])
def test_a_file_with_a_key(files, form):
    files.write(SECRETS[0] if form == "digits" else named(SECRETS[0]))
    conn = files.conn
    notes = [checkpoint(conn)]
    assert files.signers(notes[0]) == ["1"]
    assert rows(conn, "SELECT * FROM immutable.log_secrets") == []
    diag = refused(conn, "55000", "SELECT immutable.rotate_log_key()")
    assert "Add a line" in diag.message_hint
    # Without it nothing is signed, but what is signed is given.
    files.write(SECRETS[1])
    assert checkpoint(conn) == notes[0]
    record(conn)
    assert "private key" in refused(conn, "55000", CALL).message_primary
    files.file.unlink()
    refused(conn, "55000", CALL)
    files.use("")
    assert HELD in refused(conn, "55000", CALL).message_primary
    files.write(SECRETS[0])
    notes.append(checkpoint(conn))
    check(conn, notes)


def test_rotation_in_a_file(files):
    conn = files.conn
    files.write(SECRETS[0])
    notes = [checkpoint(conn)]
    files.write(SECRETS[1], SECRETS[0])
    announced = checkpoint(conn)
    assert announced == notes[0]
    assert rows(conn, "SELECT actor_type FROM immutable.events WHERE action = 'immutable.log_key_announced'") == [("extension",)]
    notes.append(checkpoint(conn))
    assert files.signers(notes[-1]) == ["1"]
    record(conn)
    notes.append(checkpoint(conn))
    assert files.signers(notes[-1]) == ["2", "1"]
    # The old key is removed too early.
    files.write(SECRETS[1])
    record(conn)
    refused(conn, "55000", CALL)
    with behind_triggers(conn):
        conn.execute("UPDATE immutable.log_keys SET signs_until = now() WHERE signs_until IS NOT NULL")
    notes.append(checkpoint(conn))
    assert files.signers(notes[-1]) == ["2"]
    assert rows(conn, "SELECT count(*) FROM immutable.events WHERE action = 'immutable.log_key_announced'") == [(1,)]
    # Another log's file announces nothing.
    files.write(SECRETS[2])
    record(conn)
    refused(conn, "55000", CALL)
    assert rows(conn, "SELECT count(*) FROM immutable.log_keys") == [(2,)]
    files.write(SECRETS[1])
    notes.append(checkpoint(conn))
    check(conn, notes)
    assert rows(conn, "SELECT immutable.verifier_key()") == [
        (str(tlog.SignerKey(parse(notes[0]).origin, bytes.fromhex(SECRETS[1])).verifier),)]


def test_no_secret_in_logs_errors_views_and_dumps(files):
    """The server logs all that it can log."""
    conn = files.conn
    files.use("")
    notes = [checkpoint(conn)]
    conn.execute("SELECT immutable.rotate_log_key(0)")
    own = [secret.split("+", 4)[4] for secret, in rows(conn, "SELECT secret FROM immutable.log_secrets")]
    assert len(own) == 2
    files.write(named(SECRETS[0]), SECRETS[1], SECRETS[1][:-1])
    for _ in range(2):
        refused(conn, "55000", CALL)
    files.write(named(SECRETS[0]), SECRETS[1])
    record(conn)
    refused(conn, "55000", CALL)
    conn.execute("SELECT immutable.begin_incarnation('a new key')")
    notes += [checkpoint(conn), checkpoint(conn)]
    seen = files.server.run("pg_dump", "-d", "postgres").stdout + "".join(
        str(row) for view in ("pg_stat_activity", "pg_settings", "pg_prepared_statements")
        for row in rows(conn, f"SELECT * FROM {view}"))
    seen += files.server.log.read_text(errors="replace")
    assert CALL in seen
    for secret in [*own, SECRETS[0], SECRETS[1], named(SECRETS[0]).split("+")[4], SECRETS[1][:20]]:
        assert secret not in seen
    check(conn, notes)


def test_who_sees_the_name_of_the_file(files):
    files.write(SECRETS[0])
    files.conn.execute("CREATE ROLE plain LOGIN IN ROLE immutable_maintainer, immutable_auditor")
    with files.server.connect(user="plain") as conn:
        note = checkpoint(conn)  # the library is loaded
        refused(conn, "42501", "SHOW immutable.log_key_file")
        assert conn.execute("SELECT setting FROM pg_settings WHERE name = 'immutable.log_key_file'").fetchone() is None
        refused(conn, "55P02", "SET immutable.log_key_file = '/tmp/mine'")
    # Before the library is loaded, PostgreSQL takes any value.
    for first in ("SET immutable.log_key_file = '/tmp/mine'", "SET immutable.log_key_file = ''", "SET immutable.sign_checkpoints = off"):
        with files.server.connect(user="plain") as conn:
            conn.execute(first)
            record(files.conn)
            assert checkpoint(conn) != note
            refused(conn, "42501", "SHOW immutable.log_key_file")
            note = checkpoint(conn)
    # A value in the startup packet hides the file's from the session, which then has no key.
    with files.server.connect(user="plain", options="-c immutable.log_key_file=/tmp/mine") as conn:
        assert checkpoint(conn) == note
        record(files.conn)
        assert "a private key that has to sign is not here" in refused(conn, "55000", CALL).message_primary
    note = checkpoint(files.conn)
    assert files.signers(note) == ["1"] and rows(files.conn, "SELECT * FROM immutable.log_secrets") == []
    check(files.conn, [note])


def test_rotation(db):
    conn = db.conn
    record(conn)
    notes = [checkpoint(conn)]
    for days in (-1, 3651):
        assert refused(conn, "22023", "SELECT immutable.rotate_log_key(%s)", [days]).message_primary.startswith("overlap_days")
    old, = conn.execute("SELECT immutable.verifier_key()").fetchone()
    with conn.transaction(force_rollback=True):
        conn.execute("SELECT immutable.rotate_log_key()")
    assert rows(conn, "SELECT count(*) FROM immutable.log_secrets") == [(1,)]
    new, = conn.execute("SELECT immutable.rotate_log_key(10)").fetchone()
    assert "CALL" in refused(conn, "55000", "SELECT immutable.rotate_log_key()").message_hint.replace("Call immutable.checkpoint()", "CALL")
    assert conn.execute("SELECT immutable.verifier_key()").fetchone() == (old,)

    def signers(note):
        return [str(line.key) for line in tlog.open_note(tlog.read_note(note.encode()), keys(conn))]
    notes.append(checkpoint(conn))
    assert signers(notes[-1]) == [old]
    assert conn.execute("SELECT immutable.verifier_key()").fetchone() == (new,)
    record(conn)
    notes.append(checkpoint(conn))
    assert signers(notes[-1]) == [new, old]
    assert rows(conn, "SELECT extract(day FROM signs_until - now())::int IN (9, 10) FROM immutable.log_keys WHERE vkey = '%s'" % old) == [(True,)]
    with behind_triggers(conn):
        conn.execute("UPDATE immutable.log_keys SET signs_until = now() WHERE vkey = %s", [old])
    third, = conn.execute("SELECT immutable.rotate_log_key(0)").fetchone()
    notes.append(checkpoint(conn))
    record(conn)
    notes.append(checkpoint(conn))
    assert [signers(note) for note in notes[-2:]] == [[new], [third]]
    check(conn, notes)
    assert len({parse(note).origin for note in notes}) == 1


def test_a_signer_outside_of_the_database(db):
    conn = db.conn
    record(conn)
    notes = [checkpoint(conn)]
    origin = parse(notes[0]).origin
    key, stranger = log_key(origin), log_key(origin, 7)
    for vkey, state in ((None, "22004"), ("x", "22023"), (str(log_key("other").verifier), "22023"),
                        (str(tlog.SignerKey(origin, bytes(32), tlog.COSIGNATURE).verifier), "22023"),
                        (conn.execute("SELECT immutable.verifier_key()").fetchone()[0], "42710")):
        refused(conn, state, "SELECT immutable.add_log_key(%s)", [vkey])
    conn.execute("SELECT immutable.add_log_key(%s)", [str(key.verifier)])
    refused(conn, "42710", "SELECT immutable.add_log_key(%s)", [str(key.verifier)])
    text, = conn.execute("SELECT immutable.tree_head()").fetchone()
    refused(conn, "22023", "SELECT immutable.add_checkpoint(%s)", [signed(key, text)])
    notes.append(checkpoint(conn))  # covers the announcement
    conn.execute("SET immutable.sign_checkpoints = off")
    for n in range(3):
        record(conn, tenant=f"t{n}")
        assert checkpoint(conn) == notes[-1]
        text, = conn.execute("SELECT immutable.tree_head()").fetchone()
        assert parse(signed(key, text)).size == parse(notes[1]).size + n + 1
        refused(conn, "22023", "SELECT immutable.add_checkpoint(%s)", [signed(stranger, text)])
        note = signed(key, text)
        conn.execute("SELECT immutable.add_checkpoint(%s)", [note])
        assert checkpoint(conn) == note
        notes.append(note)
    for size, root in ((parse(note).size + 1, b"r" * 32), (parse(note).size, b"r" * 32), (1, b"r" * 32)):
        wrong = signed(key, tlog.Checkpoint(origin, size, root).text())
        diag = refused(conn, "55000", "SELECT immutable.add_checkpoint(%s)", [wrong])
        assert "does not extend" in diag.message_primary
    spoiled = note[:-10] + "AAAA" + note[-6:]
    refused(conn, "22023", "SELECT immutable.add_checkpoint(%s)", [spoiled])
    longer = signed(key, text + "one more line\n")
    assert "three lines" in refused(conn, "22023", "SELECT immutable.add_checkpoint(%s)", [longer]).message_primary
    conn.execute("SET immutable.sign_checkpoints = on")
    record(conn)
    # The log does not have that key.
    refused(conn, "55000", CALL)
    check(conn, notes)


def test_a_checkpoint_is_kept_with_the_lines_of_the_log(db):
    """Those of witnesses are kept by add_cosignature(), and one that is there twice is not valid. Who gives a note again
    with other lines takes none away."""
    conn = db.conn
    record(conn)
    own = checkpoint(conn)
    text, witness = tlog.read_note(own.encode()).text, tlog.SignerKey("w", bytes(32), tlog.COSIGNATURE)
    conn.execute("SELECT immutable.add_witness(%s)", [str(witness.verifier)])
    key = log_key(parse(own).origin)
    conn.execute("SELECT immutable.add_log_key(%s)", [str(key.verifier)])
    own = checkpoint(conn)
    text, = conn.execute("SELECT immutable.tree_head()").fetchone()
    line = witness.sign(text, 1_800_000_000)
    conn.execute("SELECT immutable.add_cosignature(%s, %s)", [parse(own).size, line])
    cosigned, = conn.execute("SELECT note FROM immutable.checkpoints ORDER BY size DESC LIMIT 1").fetchone()
    assert cosigned == own + line
    strangers = "".join(log_key("stranger", n).sign(text) for n in range(1, 90))
    for given in (cosigned, own + strangers, own):
        conn.execute("SELECT immutable.add_checkpoint(%s)", [given])
        assert rows(conn, "SELECT note FROM immutable.checkpoints ORDER BY size DESC LIMIT 1") == [(cosigned,)]
    for given in (signed(key, text), own):
        conn.execute("SELECT immutable.add_checkpoint(%s)", [given])
        note, = conn.execute("SELECT note FROM immutable.checkpoints ORDER BY size DESC LIMIT 1").fetchone()
        assert sorted(note.splitlines()) == sorted((own + key.sign(text) + line).splitlines())
    # A stored note that is damaged is replaced.
    with behind_triggers(conn):
        conn.execute("UPDATE immutable.tree_notes SET note = 'x' WHERE size = %s", [parse(own).size])
    conn.execute("SELECT immutable.add_checkpoint(%s)", [own])
    assert rows(conn, "SELECT note FROM immutable.checkpoints ORDER BY size DESC LIMIT 1") == [(cosigned,)]
    check(conn, [own])


def test_a_signer_outside_from_the_first_checkpoint_on(db):
    """Until another key may sign, there is nothing to accept, and the error says what to do."""
    conn = db.conn
    record(conn)
    conn.execute("SET immutable.sign_checkpoints = off")
    assert checkpoint(conn) is None
    text, = conn.execute("SELECT immutable.tree_head()").fetchone()
    key = log_key(text.split("\n")[0])
    conn.execute("SELECT immutable.add_log_key(%s)", [str(key.verifier)])
    checkpoint(conn)
    diag = refused(conn, "22023", "SELECT immutable.add_checkpoint(%s)", [signed(key, text)])
    assert "immutable.sign_checkpoints = on" in diag.message_hint
    conn.execute("SET immutable.sign_checkpoints = on")
    first = checkpoint(conn)
    conn.execute("SET immutable.sign_checkpoints = off")
    record(conn)
    checkpoint(conn)
    text, = conn.execute("SELECT immutable.tree_head()").fetchone()
    conn.execute("SELECT immutable.add_checkpoint(%s)", [signed(key, text)])
    check(conn, [first, signed(key, text)])


def test_a_report_of_what_the_log_has_signed(db):
    conn = db.conn
    record(conn)
    notes = [checkpoint(conn)]
    record(conn)
    notes.append(checkpoint(conn))
    for note in notes:
        assert conn.execute("SELECT immutable.report_checkpoint(%s)", [note]).fetchone() == (True,)
    for note, state in ((None, "22004"), ("", "22023"), (signed(log_key("other"), parse(notes[0])._replace(origin="other").text()), "22023"),
                        (signed(log_key(parse(notes[0]).origin), parse(notes[0]).text()), "22023")):
        refused(conn, state, "SELECT immutable.report_checkpoint(%s)", [note])
    # Only what the log's own key has signed stops it, here with the key stolen.
    secret, = conn.execute("SELECT secret FROM immutable.log_secrets").fetchone()
    stolen = tlog.SignerKey(parse(notes[0]).origin, tlog.decode(secret.split("+", 4)[4], "key")[1:])
    for size in (1, 2, parse(notes[1]).size, 1000):
        note = signed(stolen, tlog.Checkpoint(parse(notes[0]).origin, size, b"f" * 32).text())
        assert conn.execute("SELECT immutable.report_checkpoint(%s)", [note]).fetchone() == (False,)
        record(conn)
        refused(conn, "55000", CALL)
        conn.execute("SELECT immutable.resume(%s)", [notes[-1]])
        notes.append(checkpoint(conn))
    assert rows(conn, "SELECT count(*) FROM immutable.events WHERE action = 'immutable.fork_reported'") == [(4,)]
    check(conn, notes)
